"""Training images that belong together: photographs of one part, or of one lot, are left out together."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import DataError, OptionError
from .mvtec import Sample


def pattern_of(text: str) -> str:
    """A regular expression for `grouped`; OptionError where it is none."""
    try:
        re.compile(text)
    except re.error as error:
        raise OptionError(f"the group {text!r} is no regular expression: {error}") from None
    return text


def grouped(samples: Sequence[Sample], pattern: str) -> tuple[Sample, ...]:
    """The samples with the groups that a regular expression finds in their files' names.

    Args:
        samples: training images.
        pattern: its first group, or else the whole match, is an image's group. An image that it does not match is on
            its own.
    """
    expression = re.compile(pattern_of(pattern))
    names = []
    for sample in samples:
        match = expression.search(sample.image.name)
        names.append((match[1 if expression.groups else 0] or "") if match else "")
    example = samples[0].image.name
    if not any(names):
        raise DataError(f"the group {pattern!r} matches no training image, such as {example!r}")
    if len(names) > 1 and len(set(names)) == 1:
        raise DataError(
            f"the group {pattern!r} makes one group, {names[0]!r}, of all {len(names)} training images: it must differ "
            "between parts"
        )
    return tuple(replace(sample, group=name) for sample, name in zip(samples, names, strict=True))


def group_numbers(samples: Sequence[Sample]) -> np.ndarray:
    """The number of each sample's group, (n,): that of its first sample."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(s.group, k) if s.group else k for k, s in enumerate(samples)], dtype=np.int64)


def group_sizes(samples: Sequence[Sample]) -> list[int]:
    """The number of images of each group; 1 for an image on its own."""
    return list(Counter(group_numbers(samples).tolist()).values())


def grouping(samples: Sequence[Sample]) -> str:
    """A hash of which samples belong together, whatever the groups' names; "" where all are on their own."""
    numbers = group_numbers(samples).tolist()
    if numbers == list(range(len(samples))):
        return ""
    return hashlib.sha256(repr(numbers).encode()).hexdigest()[:16]


def drawn_groups(samples: Sequence[Sample], seed: int) -> list[np.ndarray]:
    """The numbers of each group's samples, an image on its own being one, groups in random order."""
    numbers = group_numbers(samples)
    groups = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
    return [groups[k] for k in np.random.default_rng(seed).permutation(len(groups))]


def group_note(samples: Sequence[Sample]) -> str:
    """How many groups training images are in, and which false-alarm rate they attain; "" where they are in none."""
    if not any(sample.group for sample in samples):
        return ""
    count, alone = len(group_sizes(samples)), sum(not sample.group for sample in samples)
    single = f" ({alone} on their own)" if alone else ""
    groups = f"{len(samples)} training images in {count} group{'s' * (count > 1)}{single}"
    if count == 1:
        return f"{groups}: no threshold can be set, give images of other groups"
    return f"{groups}: the lowest false-alarm rate is 1/{count + 1} ({1 / (count + 1):.1%})"
