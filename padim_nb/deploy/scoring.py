"""`padim-nb score`: a saved detector over new image files, one line a picture, maps and overlays on request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.images import image_batches
from ..data.mvtec import ENDINGS, Sample, images_in
from ..detectors import load
from ..errors import DataError, OptionError
from ..util.files import whole_file

BATCH = 16  # pictures held at once, however many there are
STRENGTH = 0.55  # of the map's colour in an overlay


def score_files(
    model: Path, images: Sequence[Path], out: Path | None = None, device: str = "auto", weights: str = ""
) -> Iterator[str]:
    """Yield a line a picture: score, verdict, path. With `out`, write <name>_map.npy and <name>_overlay.png there.

    Folders stand for the images in them. The verdict needs a calibrated detector; without one it is '-'.
    """
    detector = load(model, weights, device)
    paths = list(_files(images))
    names = _names(paths) if out else []
    threshold = detector.threshold_.value if detector.threshold_ else None
    for start in range(0, len(paths), BATCH):
        some = paths[start : start + BATCH]
        framed = np.concatenate(
            list(image_batches([Sample(p, 0, "new") for p in some], detector.settings.frame, cache=False))
        )
        maps = detector.score_images(framed)
        for number, (path, score) in enumerate(zip(some, maps.scores, strict=True)):
            verdict = "-" if threshold is None else "defective" if score > threshold else "good"
            if out:
                _write(out, names[start + number], framed[number], maps[number], threshold)
            yield f"{score:10.3f}  {verdict:<9}  {path}"


def _files(images: Sequence[Path]) -> Iterator[Path]:
    for path in images:
        if path.is_dir():
            found = images_in(path)
            if not found:
                raise DataError(f"no images in {path} ({', '.join(ENDINGS)})")
            yield from found
        elif path.is_file():
            yield path
        else:
            raise DataError(f"{path} does not exist")


def _names(paths: Sequence[Path]) -> list[str]:
    """Names for the results: the file's own, with its folder before it where that would be ambiguous."""
    stems = [path.stem for path in paths]
    names = [path.stem if stems.count(path.stem) == 1 else f"{path.parent.name}_{path.stem}" for path in paths]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise OptionError(f"two images would both be written as {twice}: score them in two calls")
    return names


def _write(out: Path, name: str, picture: np.ndarray, map_: np.ndarray, threshold: float | None) -> None:
    from matplotlib import colormaps  # of the extra "run": overlays need it, scores do not

    with whole_file(out / f"{name}_map.npy") as scratch:
        np.save(scratch, map_, allow_pickle=False)
    top = threshold * 1.5 if threshold else float(map_.max())
    share = np.clip(map_ / max(top, 1e-9), 0, 1)[..., None]
    heat = colormaps["inferno"](share[..., 0])[..., :3] * 255
    shown = picture * (1 - STRENGTH * share) + heat * STRENGTH * share
    with whole_file(out / f"{name}_overlay.png") as scratch:
        Image.fromarray(np.clip(shown, 0, 255).astype(np.uint8)).save(scratch)
