"""`padim-nb reproduce`: a published table measured by one command, which ends in a manifest that others can check."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import mean
from typing import Any

from ..data.mvtec import load_category
from ..errors import DataError, OptionError, PadimError, expect_one_of
from ..util.files import sha256, whole_file
from ..util.machine import commit, versions
from ..util.mvtec_counts import CATEGORIES
from .compare import METRICS, NEAR, comparison
from .costs import costs, in_words
from .published import rows
from .recipes import RECIPES, settings_of
from .record import Record, read_record
from .sweep import plan, seeds_in, sweep

NAME = "manifest.json"
AGAIN = (
    "give `command` in a clone at `commit`, with `--against` this file: it measures anew and compares data, weights "
    "and every figure; `records` are the SHA-256 of the files that the figures were read from"
)


@dataclass(frozen=True)
class Request:
    """What is to be measured: a source's table, on which data, into which folder."""

    source: str
    data: str
    out: Path
    recipes: tuple[str, ...]
    categories: tuple[str, ...]
    seeds: str = "own"
    device: str = "auto"
    overrides: tuple[tuple[str, Any], ...] = ()

    @property
    def command(self) -> str:
        """The command line that asks for this."""
        words = ["padim-nb reproduce", self.source, "--data", self.data]
        words += ["--seeds", self.seeds] if self.seeds != "own" else []
        words += ["--recipes", *self.recipes] if list(self.recipes) != followers(self.source) else []
        words += ["--categories", *self.categories] if self.categories != CATEGORIES else []
        return " ".join(words + [f"--{name} {value}" for name, value in self.overrides])

    @property
    def files(self) -> list[str]:
        """The published files that its recipes read, by the names that `weights get` knows."""
        from .needs import needs

        settings = [settings_of(name, **dict(self.overrides)) for name in self.recipes]
        return list(dict.fromkeys(file for own in settings for file in needs(own)))


def followers(source: str) -> list[str]:
    """The recipes that follow a source's table, one for each of its rows."""
    known: dict[str, dict[str, str]] = {}
    for name, recipe in RECIPES.items():
        if recipe.source:
            known.setdefault(recipe.source, {}).setdefault(recipe.row, name)
    if source not in known and source in {row.source for row in rows()}:
        raise OptionError(f"no recipe follows {source}: one of {', '.join(known)} can be reproduced")
    expect_one_of("published table", source, known)
    return list(known[source].values())


def request(
    source: str,
    data: str,
    out: str | Path = "",
    recipes: Sequence[str] = (),
    categories: Sequence[str] = CATEGORIES,
    seeds: str = "own",
    device: str = "auto",
    **overrides: Any,
) -> Request:
    """A checked request; `PadimError` where a name is unknown or a category is not among the data."""
    own = followers(source)
    for name in recipes:
        expect_one_of(f"recipe of {source}", name, own)
    seeds_in(seeds)
    if not data.startswith("twin"):
        data = str(Path(data).absolute())
        for category in categories:
            load_category(category, data)
    for name in {"weights", "penalty"} & set(overrides):
        if Path(overrides[name]).exists():
            overrides[name] = str(Path(overrides[name]).absolute())
    chosen = tuple(sorted(overrides.items()))
    folder = Path(out or Path("runs") / "reproduce" / source)
    return Request(source, data, folder, tuple(recipes or own), tuple(categories), seeds, device, chosen)


def announce(wanted: Request) -> list[str]:
    """What a request will fetch, how long it takes, and how much memory, in lines."""
    from ..features.weights import all_sources, local_file

    count = len(wanted.categories) * len(seeds_in(wanted.seeds))
    measured = [costs()[name] for name in wanted.recipes if name in costs()]
    lines = [f"{wanted.source}: {', '.join(wanted.recipes)}; {len(wanted.recipes) * count} runs into {wanted.out}"]
    followed = {RECIPES[name].row for name in followers(wanted.source)}
    others = {row.name for row in rows() if row.source == wanted.source and row.metric in METRICS} - followed
    if others:
        lines.append(f"no recipe follows {', '.join(sorted(others))}")
    for name in wanted.files:
        if local_file(name) is None:
            source = all_sources()[name]
            lines.append(f"to fetch: {source.file}, {source.megabytes:.0f} MB, {source.terms}")
    if measured:
        time = in_words(count * sum(cost.minutes for cost in measured))
        memory = max(cost.peak_mb for cost in measured) / 1000
        where = ", ".join(sorted({cost.where for cost in measured}))
        lines.append(f"about {time}, one run after another on {where}, and {memory:.1f} GB a run")
    if wanted.overrides:
        lines.append(f"a trial: {', '.join(f'{name}={value}' for name, value in wanted.overrides)}, not as published")
    return lines


def expect_consent(yes: bool, ask: Callable[[str], str] = input) -> None:
    """Ask whether to begin; refused where nobody can answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise OptionError("nobody can be asked here: give --yes to begin")
    if ask("begin? [y/N] ").strip().lower() not in ("y", "yes"):
        raise OptionError("not begun")


def reproduce(wanted: Request, log: Callable[[str], None] = print, workers: int = 0) -> tuple[Path, bool]:
    """Fetch, sweep, compare; killed and given again, it does what is missing.

    Returns:
        The manifest's path, and whether all runs are done.
    """
    from ..features.weights import get, local_file

    for name in wanted.files:
        if local_file(name) is None:
            log(f"fetched: {get(name)}")
    common = {"data": wanted.data, "device": wanted.device, "roi": "none", **dict(wanted.overrides)}
    runs = plan(wanted.recipes, wanted.categories, seeds_in(wanted.seeds), wanted.out, **common)
    outcomes = sweep(runs, wanted.out, workers, log=log)
    failed = sum(outcome.state == "failed" for outcome in outcomes)
    paths = [run.folder / "record.json" for run in runs if (run.folder / "record.json").is_file()]
    manifest = manifest_of(wanted, paths, failed)
    with whole_file(wanted.out / NAME) as scratch:
        scratch.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    try:
        log(str(import_module("padim_nb.experiments.page").write_page(wanted.out, wanted.data)))
    except PadimError as error:
        log(f"no page of results: {error}")
    log(f"{wanted.source}: {manifest['verdict']}")
    return wanted.out / NAME, not failed


def manifest_of(wanted: Request, paths: Sequence[Path], failed: int = 0) -> dict[str, Any]:
    """What was expected and what was measured, with all that decides it, as plain values."""
    records = {path: record for path in paths if (record := read_record(path)) is not None}
    lines = [
        {
            "recipe": line.recipe, "row": RECIPES[line.recipe].row, "metric": metric, "category": line.category,
            "data": line.data, "published": line.published, "measured": list(line.measured), "verdict": line.verdict,
        }
        for metric in METRICS for line in comparison([path.parent for path in records], metric, wanted.recipes)
        if line.published is not None or line.measured
    ]  # fmt: skip
    return {
        "source": wanted.source,
        "verdict": _verdict(list(records.values()), lines, failed),
        "command": wanted.command,
        "again": AGAIN,
        "tolerance": f"{NEAR}, or twice the spread over seeds",
        "commit": commit(),
        "versions": versions(),
        "data": {
            "kind": sorted({record.kind for record in records.values()}),
            "fingerprints": {record.category: record.data.fingerprint for record in records.values()},
        },
        "weights": {record.recipe: record.weights for record in records.values()},
        "penalty images": {r.recipe: r.facts["penalty"] for r in records.values() if "penalty" in r.facts},
        "devices": sorted({str(record.facts.get("gpu", record.device)) for record in records.values()}),
        "figures": lines,
        "records": {path.relative_to(wanted.out.absolute()).as_posix(): sha256(path) for path in records},
    }


def against(path: Path, earlier: dict[str, Any]) -> list[str]:
    """Where a new manifest disagrees with an earlier one: data, weights, or a figure by more than the tolerance."""
    new, old = read_manifest(path), earlier
    differences = [f"another {key}" for key in ("source", "weights") if new[key] != old[key]]
    for category, fingerprint in old["data"]["fingerprints"].items():
        if new["data"]["fingerprints"].get(category) != fingerprint:
            differences.append(f"{category}: other images")

    def figures(values: dict[str, Any]) -> dict[tuple[str, ...], float]:
        return {
            (line["recipe"], line["metric"], line["category"], line["data"]):
                sum(line["measured"]) / len(line["measured"])
            for line in values["figures"] if line["measured"]
        }  # fmt: skip

    ours, theirs = figures(new), figures(old)
    for key, value in theirs.items():
        if key not in ours or abs(ours[key] - value) > NEAR:
            here = f"{ours[key]:.3f}" if key in ours else "nothing"
            differences.append(f"{', '.join(key)}: {value:.3f} there, {here} here")
    return differences


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest that an earlier command left."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values["data"]["fingerprints"].items(), values["figures"][:0], values["weights"], values["source"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not a manifest of `padim-nb reproduce` ({type(error).__name__})") from error
    return values  # type: ignore[no-any-return]


def _verdict(records: Sequence[Record], lines: Sequence[dict[str, Any]], failed: int) -> str:
    kinds = {record.kind for record in records}
    if any(kind.startswith("twin") for kind in kinds):
        return "measured on the twin: no result on MVTec AD"
    if kinds != {"mvtec"}:
        return "measured on own images, not on MVTec AD" if records else "nothing measured"
    if any(line["verdict"].startswith("other settings") for line in lines):
        return "measured with other settings than the recipes'"
    stated = [line for line in lines if line["published"] is not None]
    if failed or any(not line["measured"] for line in stated):
        return f"incomplete: {sum(bool(line['measured']) for line in stated)} of {len(stated)} figures measured"
    if all(line["verdict"] == "reproduced" for line in stated):
        return "reproduced"
    near = sum(abs(mean(line["measured"]) - line["published"]) <= NEAR for line in stated)
    return f"{near} of {len(stated)} figures within {NEAR} of the published ones"
