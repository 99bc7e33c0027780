"""How many images of what MVTec AD holds: the published table, and the two sizes of the twin that follow from it."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import groupby
from types import MappingProxyType

from ..errors import expect_one_of

LITE_TRAIN, LITE_GOOD, LITE_DEFECTIVE = 60, 20, 40  # at least so many to train on; test images, about


@dataclass(frozen=True)
class Plan:
    """Images of one category: in train/good, in test/good and in each defect folder of test."""

    train: int
    good: int
    defects: Mapping[str, int]

    @property
    def test(self) -> int:
        """All test images."""
        return self.good + sum(self.defects.values())


@dataclass(frozen=True)
class Published:
    """What is published of one category: side in pixels, whether it is gray, annotated regions, images."""

    side: int
    gray: bool
    regions: int
    images: Plan


@lru_cache(maxsize=1)
def published() -> Mapping[str, Published]:
    """Category -> what is published of it, in alphabetical order."""
    table: dict[str, Published] = {}
    with (files("padim_nb") / "assets" / "mvtec_ad_counts.csv").open(encoding="utf-8") as stream:
        lines = sorted(csv.DictReader(stream), key=lambda line: line["category"])
    for name, group in groupby(lines, key=lambda line: line["category"]):
        first, *rest = group
        defects = MappingProxyType({line["defect"]: int(line["count"]) for line in (first, *rest)})
        images = Plan(int(first["train_good"]), int(first["test_good"]), defects)
        table[name] = Published(int(first["side_px"]), first["color"] != "RGB", int(first["regions"]), images)
    return MappingProxyType(table)


CATEGORIES: tuple[str, ...] = tuple(published())
KINDS = ("lite", "full")


def plan(category: str, kind: str) -> Plan:
    """How many images the twin renders: the published counts ('full'), or a sample of them ('lite').

    Lite: half of the training images, 20 good test images and about 40 defective ones, as many of each kind.
    """
    expect_one_of("twin of kind", kind, KINDS)
    full = published()[category].images
    if kind == "full":
        return full
    most = -(-LITE_DEFECTIVE // len(full.defects))
    return Plan(
        max(full.train // 2, min(full.train, LITE_TRAIN)),
        LITE_GOOD,
        MappingProxyType({defect: min(most, count) for defect, count in full.defects.items()}),
    )
