"""Fitted Gaussians of either form as named tensors, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from ..util.model_file import packed, unpacked
from .gaussian import PatchGaussians
from .low_rank import LowRankGaussians


def to_tensors(g: PatchGaussians | LowRankGaussians) -> dict[str, Tensor]:
    """All that must be kept of them; triangular factors are packed."""
    tensors = {f"mean.{k}": mean for k, mean in enumerate(g.mean)}
    square = [inverse.shape[1] == inverse.shape[2] for inverse in g.inverse]
    tensors |= {f"inverse.{k}": packed(one) if square[k] else one for k, one in enumerate(g.inverse)}
    if isinstance(g, LowRankGaussians):
        tensors |= {f"given.{k}": one for k, one in enumerate(g.given)}
        return tensors | {f"seen.{k}": one for k, one in enumerate(g.seen)}
    return tensors | {f"link.{k}.{j}": link for k, row in enumerate(g.link) for j, link in enumerate(row)}


def from_tensors(
    tensors: Mapping[str, Tensor], grids: tuple[tuple[int, int], ...], d: int, eps: float, device: str
) -> PatchGaussians | LowRankGaussians:
    """What `to_tensors` was given, on `device`; ValueError where shapes do not fit these grids and d dimensions."""
    places = [height * width for height, width in grids]
    every = range(len(grids))
    mean = tuple(tensors[f"mean.{k}"] for k in every)
    channels = [each.shape[1] for each in mean]
    if sum(channels) != d:
        raise ValueError(f"{sum(channels)} channels where there should be {d}")
    for k in every:
        _expect(f"mean.{k}", mean[k], (places[k], channels[k]))
    inverse = tuple(_inverse(tensors, k, places[k], channels[k]) for k in every)
    if "given.0" in tensors or inverse[0].shape[1] != channels[0]:
        given = tuple(tensors[f"given.{k}"] for k in every[:-1])
        seen = tuple(tensors[f"seen.{k}"] for k in every[:-1])
        for k, (known, x) in enumerate(zip(given, seen, strict=True)):
            _expect(f"given.{k}", known, (places[k], inverse[k].shape[1], x.shape[-1]))
            _expect(f"seen.{k}", x, (places[k + 1], channels[k + 1], given[0].shape[-1]))
        return LowRankGaussians(grids, *_moved((mean, inverse, given, seen), device), eps)
    link = tuple(tuple(tensors[f"link.{k}.{j}"] for j in range(k)) for k in every)
    for k, row in enumerate(link):
        for j, one in enumerate(row):
            _expect(f"link.{k}.{j}", one, (places[k], channels[k], channels[j]))
    return PatchGaussians(grids, *_moved((mean, inverse, link), device))


def _inverse(tensors: Mapping[str, Tensor], k: int, positions: int, channels: int) -> Tensor:
    """A level's inverse factors: packed triangles, or at the coarsest rows that are fewer than the channels."""
    found = tensors[f"inverse.{k}"]
    if k == 0 and found.dim() == 3 and found.shape[1] < channels:
        _expect("inverse.0", found, (positions, found.shape[1], channels))
        return found
    _expect(f"inverse.{k}", found, (positions, channels * (channels + 1) // 2))
    return unpacked(found, channels)


def expect_fit(g: PatchGaussians | LowRankGaussians, levels: Sequence[Tensor]) -> None:
    """ValueError unless the Gaussians are of features of these shapes."""
    channels = [level.shape[1] for level in levels]
    grids = tuple(tuple(level.shape[-2:]) for level in levels)
    held = [mean.shape[1] for mean in g.mean]
    if g.grids != grids or held != channels:
        raise ValueError(f"Gaussians of {held} channels on {g.grids} where features are {channels} on {grids}")


def _expect(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape or not tensor.is_floating_point():
        raise ValueError(f"{name} is {tensor.dtype} {tuple(tensor.shape)} where it should be float {shape}")


def _moved(parts: Iterable, device: str) -> tuple:
    return tuple(part.to(device) if isinstance(part, Tensor) else _moved(part, device) for part in parts)
