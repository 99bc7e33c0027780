"""What files hold, by hash: the second look is quick, as hashes are remembered with each file's size and times."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import CannotWrite
from ..util.files import cache_root, sha256, whole_file
from .cache import state_of
from .images import ahead
from .mvtec import Category, Sample, images_in

YOUNG = 2.0  # seconds within which a file may change again without another time


def content_hashes(paths: Sequence[Path]) -> list[str]:
    """The SHA-256 of each file, in hex.

    They are remembered in the cache for this list of files with their sizes and times. Where one is another, all are
    read again.
    """
    paths = list(paths)
    states = [state_of(path) for path in paths]
    key = hashlib.sha256(b"\n".join(states)).hexdigest()[:32]
    place = cache_root() / "contents" / f"{key}.json"
    with suppress(OSError, ValueError):
        hashes = json.loads(place.read_text(encoding="utf-8"))
        if isinstance(hashes, list) and len(hashes) == len(paths):
            return hashes
    hashes = list(ahead(sha256, paths))
    if paths and time.time() - max(path.stat().st_mtime for path in paths) > YOUNG:
        with suppress(CannotWrite, OSError), whole_file(place) as scratch:  # without a cache they are read each time
            scratch.write_text(json.dumps(hashes), encoding="utf-8")
    return hashes


def copies(train: Sequence[Path], test: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Images, of training or test, that hold the same bytes as a training image: (training image, its copy)."""
    sizes = Counter(path.stat().st_size for path in (*train, *test))
    alike = [path for path in (*train, *test) if sizes[path.stat().st_size] > 1]  # the others are no copies
    to_train = sum(sizes[path.stat().st_size] > 1 for path in train)
    originals: dict[str, Path] = {}
    pairs = []
    for number, (path, content) in enumerate(zip(alike, content_hashes(alike), strict=True)):
        if content in originals:
            pairs.append((originals[content], path))
        elif number < to_train:
            originals[content] = path
    return pairs


def files_of(samples: Sequence[Sample]) -> list[Path]:
    """The image and mask files of samples; a folder of masks is the files in it."""
    masks = [sample.mask for sample in samples if sample.mask is not None]
    return [sample.image for sample in samples] + [file for mask in masks for file in images_in(mask) or [mask]]


def contents_of(category: Category) -> str:
    """A hash of a category: of its images and masks by content, of their names, splits and labels.

    The same files elsewhere have the same one.
    """
    digest = hashlib.sha256()
    config = category.root / "defects_config.json"  # of MVTec LOCO AD: its metrics depend on it
    splits = [("train", category.train), ("test", category.test)]
    for split, samples in splits + ([("validation", category.validation)] if category.validation else []):
        digest.update(repr([split, [(sample.label, sample.defect) for sample in samples]]).encode())
        files = files_of(samples) + [config] * (split == "test" and config.is_file())
        for path, content in zip(files, content_hashes(files), strict=True):
            digest.update(os.fsencode(_below(category.root, path)) + b"\0" + content.encode() + b"\n")
    return digest.hexdigest()[:32]


def _below(root: Path, path: Path) -> str:
    """A path below a root, or its name where it lies elsewhere (Windows: on another drive)."""
    try:
        return Path(os.path.relpath(path, root)).as_posix()
    except ValueError:
        return path.name
