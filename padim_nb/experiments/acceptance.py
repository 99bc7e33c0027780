"""`padim-nb accept`: what a detector does with parts that are known, for the person who signs: one page and a JSON."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256 as new_sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from tqdm import tqdm

from ..data.images import load_image, load_mask
from ..data.layouts import MVTEC, Layout, layout_of
from ..data.mvtec import ENDINGS, Sample, scan_test
from ..deploy.scoring import Scorer, open_scorer
from ..errors import DataError, ModelError, OptionError
from ..evaluation.acceptance import Count, Guarantee, parts_needed
from ..evaluation.report import format_value
from ..plots import figures
from ..util.files import sha256, whole_file
from ..util.machine import commit, cpuinfo, versions
from .page import embedded

NAME = "acceptance"
TIMED = 200  # images whose time is taken, at least
SHOWN = 4  # images shown of good and of defective parts
LIMITS = (0.1, 0.05, 0.01, 0.001)  # for which the page says how many more parts they take


@dataclass(frozen=True)
class Limit:
    """A share that the parts are to show: `count` is of all defective or of all good ones."""

    name: str  # "escapes" or "rejects"
    limit: float
    count: Count

    @property
    def shown(self) -> bool:
        """Whether the parts show it, with 95 % certainty."""
        return self.count.shows(self.limit)

    @property
    def reason(self) -> str:
        """What the parts show, and what is missing."""
        count, what = self.count, "defective" if self.name == "escapes" else "good"
        if not count.parts:
            return f"there are no {what} parts, and it takes {parts_needed(self.limit):,} without a mistake"
        proven = f"{count.wrong} of {count.parts} show at most {percent(count.at_most)} with 95 % certainty"
        if self.shown:
            return proven
        return f"{proven}; {count.parts_missing(self.limit):,} more {what} parts without a mistake are missing"


@dataclass(frozen=True)
class Acceptance:
    """What `accept` did: the counts of each kind of part, the limits that were asked for, the files it wrote."""

    kinds: dict[str, Count]
    limits: tuple[Limit, ...]
    paths: tuple[Path, ...]

    @property
    def ok(self) -> bool:
        """Whether the parts show each limit."""
        return all(limit.shown for limit in self.limits)

    def __str__(self) -> str:
        width = max(map(len, self.kinds))
        lines = []
        for kind, count in self.kinds.items():
            low, high = count.interval
            verb = "stopped" if kind == "good" else "passed"
            lines.append(
                f"{kind:<{width}}  {count.wrong:>4} of {count.parts:>4} {verb:<8}{100 * low:5.1f} to {high:.1%}"
            )
        lines += [
            f"{limit.name} {percent(limit.limit)}: {'shown' if limit.shown else 'NOT shown'}: {limit.reason}"
            for limit in self.limits
        ]
        return "\n".join([*lines, *map(str, self.paths)])


def accept(
    model: Path,
    folder: Path,
    out: Path = Path(NAME),
    escapes: float | None = None,
    rejects: float | None = None,
    device: str = "auto",
    weights: str = "",
) -> Acceptance:
    """Judge parts that are known with a saved detector, and write `acceptance.html` and `acceptance.json`.

    Args:
        model: a file that a detector's `save` wrote, or an .onnx file of `export`.
        folder: has `good` and a folder for each kind of defect; or a category, whose test images are taken.
        out: a folder for page and JSON; one that holds those of another model or other images is refused.
        escapes: the share of defective parts that may pass; `ok` says whether the parts show it.
        rejects: the share of good parts that may be stopped.
        device: "auto", "cpu", "cuda" or "cuda:1".
        weights: the file of PaDiM's backbone, if it has moved.
    """
    model, folder, out = Path(model), Path(folder), Path(out)
    requested = {name: value for name, value in (("escapes", escapes), ("rejects", rejects)) if value is not None}
    for name, value in requested.items():
        if not 0 < value < 1:
            raise OptionError(f"--{name} is a share between 0 and 1, such as 0.01, not {value}")
    samples = _samples(folder)
    with _one_thread(model):
        scorer = open_scorer(model, weights, device, threads=1)
        if scorer.threshold is None:
            raise ModelError(
                f"{model} has no threshold: call calibrate(samples) or fit(samples, false_alarm), and save"
            )
        hashes = {"model": sha256(model), "images": _fingerprint(folder, samples)}
        identity: dict[str, Any] = {"sha256": hashes, "requested": requested}
        _expect_no_other(out / f"{NAME}.json", identity)
        scores, seconds = _judge(scorer, samples)
        weakest = _weakest(scores, samples)
        drawn = {title: _figures(scorer, samples, scores, numbers) for title, numbers in weakest.items()}
    kinds = _counts(scores > scorer.threshold, samples)
    good, defective = kinds.get("good", Count(0, 0)), _sum(count for kind, count in kinds.items() if kind != "good")
    limits = tuple(Limit(name, value, defective if name == "escapes" else good) for name, value in requested.items())
    guarantee = Guarantee.of(scorer.calibration) if scorer.calibration else None
    facts = identity | {
        "model": model.name,
        "folder": folder.as_posix(),
        "date": datetime.now(UTC).date().isoformat(),
        "threshold": _threshold(scorer, guarantee),
        "kinds": {kind: _plain(count) for kind, count in kinds.items()},
        "all_defective": _plain(defective),
        "limits": [asdict(limit) | {"shown": limit.shown, "reason": limit.reason} for limit in limits],
        "milliseconds": _milliseconds(seconds, scorer),
        "versions": versions(),
        "commit": commit(),
        "scores": [
            {"image": _path(sample, folder), "score": float(score), "stopped": bool(score > scorer.threshold)}
            for sample, score in zip(samples, scores, strict=True)
        ],
    }
    page, json_ = out / f"{NAME}.html", out / f"{NAME}.json"
    names = dict(kinds=kinds, good=good, defective=defective, limits=limits, drawn=drawn, guarantee=guarantee)
    _write_page(page, facts=facts, calibration=scorer.calibration, **names)
    with whole_file(json_) as scratch:
        scratch.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return Acceptance(kinds, limits, (page, json_))


def percent(share: float | None) -> str:
    """A share with two digits, such as 0.99 % or 26 %; "-" for None."""
    if share is None:
        return "-"
    value = 100 * share
    return f"{value:.{0 if value >= 9.95 or value == 0 else 1 if value >= 0.995 else 2}f} %"


def _samples(folder: Path) -> list[Sample]:
    """The images in `good` and the folders of defects, or the test images of a category."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: give one with good/ and a folder for each kind of defect")
    layout = layout_of(folder) or (MVTEC if (folder / MVTEC.test).is_dir() else Layout(test="."))
    samples = list(scan_test(folder, layout))
    test = folder / layout.test
    filled = {sample.image.parent.name for sample in samples}
    for kind in sorted(place.name for place in test.glob("[!.]*") if place.is_dir()):
        if kind not in filled and kind != Path(layout.truth).name:
            raise DataError(f"no images in {test / kind} ({', '.join(ENDINGS)}): put some there, or remove it")
    if not samples:
        raise DataError(f"no images of known parts in {test}: put them into good/ and a folder for each kind of defect")
    return samples


@contextmanager
def _one_thread(model: Path) -> Iterator[None]:
    """Torch, which an exported detector does without, computes in one thread."""
    if model.suffix == ".onnx":
        yield
        return
    import torch

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)


def _fingerprint(folder: Path, samples: Sequence[Sample]) -> str:
    """The SHA-256 of what `sha256sum` prints for the images, in the order of their paths."""
    lines = sorted((_path(sample, folder), sha256(sample.image)) for sample in samples)
    return new_sha256("".join(f"{hash_}  {path}\n" for path, hash_ in lines).encode()).hexdigest()


def _expect_no_other(path: Path, identity: dict[str, Any]) -> None:
    """Refuse to write over the acceptance of another model, of other images or with other limits."""
    try:
        former = json.loads(path.read_text(encoding="utf-8"))
        same = all(former[key] == value for key, value in identity.items())
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise OptionError(f"{path} is of another model, other images or other limits: give another folder with --out")


def _judge(scorer: Scorer, samples: Sequence[Sample]) -> tuple[np.ndarray, list[float]]:
    """The score of each image, and the seconds from file to score, one after the other, up to `TIMED` at least."""
    scores, seconds = np.zeros(len(samples)), []
    _maps(scorer, samples[0])  # the first waits for what is only done once
    for number in tqdm(range(max(len(samples), TIMED)), desc="judging", unit="image", disable=None, leave=False):
        start = time.perf_counter()
        _, _, score = _maps(scorer, samples[number % len(samples)])
        seconds.append(time.perf_counter() - start)
        scores[number % len(samples)] = score
    return scores, seconds


def _maps(scorer: Scorer, sample: Sample) -> tuple[np.ndarray, np.ndarray, float]:
    """An image in the detector's frame, its anomaly map and its score."""
    framed = scorer.frame.apply(load_image(sample.image))
    maps = scorer.score_images(framed[None])
    return framed, maps[0], float(maps.scores[0])


def _weakest(scores: np.ndarray, samples: Sequence[Sample]) -> dict[str, list[int]]:
    """The numbers of the defective images with the lowest scores and of the good ones with the highest."""
    order = [int(number) for number in np.argsort(scores, kind="stable")]
    defective = [number for number in order if samples[number].label]
    good = [number for number in reversed(order) if not samples[number].label]
    shown = {"Defective parts with the lowest scores": defective, "Good parts with the highest scores": good}
    return {title: numbers[:SHOWN] for title, numbers in shown.items() if numbers}


def _figures(scorer: Scorer, samples: Sequence[Sample], scores: np.ndarray, numbers: list[int]) -> list[dict[str, Any]]:
    """An image, its mask outlined, beside its map, on which what exceeds the threshold is outlined; for each number."""
    threshold = scorer.threshold
    assert threshold is not None  # `accept` has looked
    shown = [_maps(scorer, samples[number]) for number in numbers]
    low = min(float(np.quantile(map_, 0.02)) for _, map_, _ in shown)
    scale = (min(low, threshold), threshold + 0.5 * abs(threshold - low))
    entries = []
    for number, (framed, map_, _) in zip(numbers, shown, strict=True):
        sample = samples[number]
        mask = scorer.frame.apply_mask(load_mask(sample.mask)) if sample.mask else None
        tiles: list[figures.Tile] = [("", framed, mask), ("", map_, map_ > threshold)]
        kind, stopped = sample.defect.replace("_", " "), bool(scores[number] > threshold)
        entries.append(
            {"figure": embedded(figures.sheet(tiles, 2, 2.0, scale)), "name": f"{kind}, {sample.image.name}"}
            | {"score": float(scores[number]), "stopped": stopped, "wrong": stopped != bool(sample.label)}
        )
    return entries


def _counts(stopped: np.ndarray, samples: Sequence[Sample]) -> dict[str, Count]:
    """For each kind of part, good ones first, how many are judged wrongly."""
    counts: dict[str, Count] = {}
    for sample, stop in zip(samples, stopped, strict=True):
        former = counts.get(sample.defect, Count(0, 0))
        counts[sample.defect] = Count(former.wrong + (bool(stop) != bool(sample.label)), former.parts + 1)
    return counts


def _sum(counts: Iterable[Count]) -> Count:
    total = Count(0, 0)
    for count in counts:
        total = Count(total.wrong + count.wrong, total.parts + count.parts)
    return total


def _plain(count: Count) -> dict[str, Any]:
    return asdict(count) | {"interval": count.interval, "at_most_95": count.at_most}


def _path(sample: Sample, folder: Path) -> str:
    return sample.image.relative_to(folder).as_posix()


def _threshold(scorer: Scorer, guarantee: Guarantee | None) -> dict[str, Any]:
    if scorer.calibration is None or guarantee is None:
        return {"value": scorer.threshold}
    bounds = {"stopped_on_average": guarantee.average, "stopped_at_most_95": guarantee.at_most}
    return asdict(scorer.calibration) | {"rank": guarantee.rank} | bounds


def _milliseconds(seconds: Sequence[float], scorer: Scorer) -> dict[str, Any]:
    median, p99 = (round(1e3 * float(q), 2) for q in np.quantile(seconds, [0.5, 0.99]))
    return {"median": median, "p99": p99, "images": len(seconds), "device": _device(scorer)}


def _device(scorer: Scorer) -> str:
    """What the time was taken on: a GPU, or one thread of a processor."""
    if scorer.device.startswith("cuda"):
        return scorer.device
    return f"one thread of {cpuinfo('model name') or platform.processor() or platform.machine()}"


def _write_page(path: Path, **names: Any) -> None:
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        (files("padim_nb") / "assets" / f"{NAME}.html").read_text(encoding="utf-8")
    )
    helpers = dict(value=format_value, percent=percent, needed=parts_needed, steps=LIMITS)
    with whole_file(path) as scratch:
        scratch.write_text(page.render(**helpers, **names), encoding="utf-8")
