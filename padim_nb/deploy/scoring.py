"""`padim-nb score`: a saved detector over new image files, one line for each, maps and overlays on request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.images import image_batches
from ..data.mvtec import ENDINGS, Sample, images_in
from ..detectors import load
from ..errors import DataError, OptionError
from ..util.files import whole_file

BATCH = 16  # images in memory at once, however many there are
STRENGTH = 0.55  # of the map's color in an overlay


def score_files(
    model: Path, images: Sequence[Path], out: Path | None = None, device: str = "auto", weights: str = ""
) -> Iterator[str]:
    """Score image files with a saved detector.

    Args:
        model: a file that a detector's `save` wrote.
        images: files, or folders for the images in them.
        out: a folder for <name>_map.npy and <name>_overlay.png; nothing is written without it.
        device: "auto", "cpu", "cuda" or "cuda:1".
        weights: the file of PaDiM's backbone, where it is not where it was.

    Yields:
        A line for each image: its score, the threshold it is above (>) or not (<=), the verdict, its path. Without a
        calibrated threshold these are "-".
    """
    detector = load(model, weights, device)
    paths = list(_files(images))
    names = _names(paths) if out else []
    threshold = detector.threshold_.value if detector.threshold_ else None
    for start in range(0, len(paths), BATCH):
        batch = paths[start : start + BATCH]
        samples = [Sample(path, 0, "new") for path in batch]
        (framed,) = image_batches(samples, detector.settings.frame, BATCH, cache=False)
        maps = detector.score_images(framed)
        for number, (path, score) in enumerate(zip(batch, maps.scores, strict=True)):
            if out:
                _write(out, names[start + number], framed[number], maps[number], threshold)
            yield f"{score:#10.4g} {_verdict(float(score), threshold)}  {path}"


def _verdict(score: float, threshold: float | None) -> str:
    if threshold is None:
        return "-"
    sign, verdict = (">", "defective") if score > threshold else ("<=", "good")
    return f"{sign:>2} {threshold:#.4g}  {verdict:<9}"


def _files(images: Sequence[Path]) -> Iterator[Path]:
    for path in images:
        if path.is_dir():
            files = images_in(path)
            if not files:
                raise DataError(f"no images in {path} ({', '.join(ENDINGS)})")
            yield from files
        elif path.is_file():
            yield path
        else:
            raise DataError(f"{path} does not exist")


def _names(paths: Sequence[Path]) -> list[str]:
    """Names for the results: the file's own, with its folder before it where that would be ambiguous."""
    stems = Counter(path.stem for path in paths)
    names = [path.stem if stems[path.stem] == 1 else f"{path.parent.name}_{path.stem}" for path in paths]
    for name, count in Counter(names).most_common(1):
        if count > 1:
            raise OptionError(f"two images would both be written as {name}: score them in two calls")
    return names


def _write(out: Path, name: str, image: np.ndarray, map_: np.ndarray, threshold: float | None) -> None:
    from matplotlib import colormaps  # of the extra "run": overlays need it, scores do not

    with whole_file(out / f"{name}_map.npy") as scratch:
        np.save(scratch, map_, allow_pickle=False)
    top = threshold * 1.5 if threshold else float(map_.max())
    share = np.clip(map_ / max(top, 1e-9), 0, 1)[..., None]
    heat = colormaps["inferno"](share[..., 0])[..., :3] * 255
    overlay = image * (1 - STRENGTH * share) + heat * STRENGTH * share
    with whole_file(out / f"{name}_overlay.png") as scratch:
        Image.fromarray(np.clip(overlay, 0, 255).astype(np.uint8)).save(scratch)
