"""Reading `record.json`: what a table needs to know of a run, and nothing that is not whole."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError
from ..util.mvtec_counts import published


@dataclass(frozen=True)
class Record:
    """What is known of one run."""

    recipe: str
    category: str
    seed: int
    data: str  # "mvtec", "twin" or "own"
    metrics: dict[str, float | None]


def records(folders: Iterable[Path]) -> list[Record]:
    """All runs' records below these folders, the newest of each recipe, category, seed and kind of data."""
    found: dict[tuple, Record] = {}
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"no folder of records {folder}")
        for path in sorted(folder.rglob("*.json"), key=lambda path: path.stat().st_mtime):
            record = read_record(path)
            if record is not None:
                found[(record.recipe, record.category, record.seed, record.data)] = record
    return list(found.values())


def read_record(path: Path) -> Record | None:
    """A run's record; None for other JSON files (benchmarks, cards)."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a readable record ({type(error).__name__}): remove it, or run again") from error
    if not isinstance(kept, dict) or not {"recipe", "category", "metrics"} <= set(kept):
        return None
    try:
        counts = (int(kept["n_train"]), int(kept["n_test"]))
        metrics = {str(k): None if v is None else _finite(k, v) for k, v in kept["metrics"].items()}
        data = _data(str(kept["data"]["name"]), kept["category"], counts)
        return Record(_word(kept["recipe"]), _word(kept["category"]), int(kept["seed"]), data, metrics)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"{path} is a record with {error!r} missing or wrong: remove it, or run again") from error


def _word(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(value)
    return value


def _finite(name: str, value: object) -> float:
    if not math.isfinite(figure := float(value)):
        raise ValueError(f"{name} {value}")
    return figure


def _data(name: str, category: str, counts: tuple[int, int]) -> str:
    """What the images were: the twin says so; MVTec AD is known by its published counts; the rest is one's own."""
    if name.startswith("twin"):
        return "twin"
    known = published().get(category)
    return "mvtec" if known and counts == (known.images.train, known.images.test) else "own"
