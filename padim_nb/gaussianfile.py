"""Fitted Gaussians of either form as named tensors, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from .gaussian import PatchGaussians
from .modelfile import packed, unpacked
from .thin import ThinGaussians


def to_tensors(g: PatchGaussians | ThinGaussians) -> dict[str, Tensor]:
    """All that must be kept of them; triangular factors are packed."""
    if isinstance(g, ThinGaussians):
        return {"mean": g.mean, "factor": g.factor}
    tensors = {f"mean.{k}": mean for k, mean in enumerate(g.mean)}
    tensors |= {f"inverse.{k}": packed(inverse) for k, inverse in enumerate(g.inverse)}
    return tensors | {f"link.{k}.{j}": link for k, row in enumerate(g.link) for j, link in enumerate(row)}


def from_tensors(
    tensors: Mapping[str, Tensor], grids: tuple[tuple[int, int], ...], d: int, eps: float, device: str
) -> PatchGaussians | ThinGaussians:
    """What `to_tensors` was given, on `device`; ValueError where shapes do not fit these grids and d dimensions."""
    places = [height * width for height, width in grids]
    if "factor" in tensors:
        mean, factor = tensors["mean"], tensors["factor"]
        _expect("mean", mean, (places[-1], d))
        _expect("factor", factor, (places[-1], factor.shape[1], d))
        return ThinGaussians(grids, *_moved((mean, factor), device), eps)
    every = range(len(grids))
    mean = tuple(tensors[f"mean.{k}"] for k in every)
    channels = [each.shape[1] for each in mean]
    if sum(channels) != d:
        raise ValueError(f"{sum(channels)} channels where there should be {d}")
    for k in every:
        _expect(f"mean.{k}", mean[k], (places[k], channels[k]))
        _expect(f"inverse.{k}", tensors[f"inverse.{k}"], (places[k], channels[k] * (channels[k] + 1) // 2))
    link = tuple(tuple(tensors[f"link.{k}.{j}"] for j in range(k)) for k in every)
    for k, row in enumerate(link):
        for j, one in enumerate(row):
            _expect(f"link.{k}.{j}", one, (places[k], channels[k], channels[j]))
    inverse = tuple(unpacked(tensors[f"inverse.{k}"], channels[k]) for k in every)
    return PatchGaussians(grids, *_moved((mean, inverse, link), device))


def expect_fit(g: PatchGaussians | ThinGaussians, levels: Sequence[Tensor]) -> None:
    """ValueError unless the Gaussians are of features of these shapes."""
    channels = [level.shape[1] for level in levels]
    grids = tuple(tuple(level.shape[-2:]) for level in levels)
    held = [g.mean.shape[1]] if isinstance(g, ThinGaussians) else [mean.shape[1] for mean in g.mean]
    if g.grids != grids or held != ([sum(channels)] if isinstance(g, ThinGaussians) else channels):
        raise ValueError(f"Gaussians of {held} channels on {g.grids} where features are {channels} on {grids}")


def _expect(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape or not tensor.is_floating_point():
        raise ValueError(f"{name} is {tensor.dtype} {tuple(tensor.shape)} where it should be float {shape}")


def _moved(parts: Iterable, device: str) -> tuple:
    return tuple(part.to(device) if isinstance(part, Tensor) else _moved(part, device) for part in parts)
