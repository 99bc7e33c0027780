"""Fitted Gaussians of either form as named tensors, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
    tensors: Mapping[str, Tensor], grids: tuple[tuple[int, int], ...], eps: float, device: str
) -> PatchGaussians | ThinGaussians:
    """What `to_tensors` was given, on `device`."""
    if "factor" in tensors:
        mean, factor = _moved((tensors["mean"], tensors["factor"]), device)
        return ThinGaussians(grids, mean, factor, eps)
    every = range(len(grids))
    mean = tuple(tensors[f"mean.{k}"] for k in every)
    inverse = tuple(unpacked(tensors[f"inverse.{k}"], mean[k].shape[1]) for k in every)
    link = tuple(tuple(tensors[f"link.{k}.{j}"] for j in range(k)) for k in every)
    return PatchGaussians(grids, *_moved((mean, inverse, link), device))


def _moved(parts: Iterable, device: str) -> tuple:
    return tuple(part.to(device) if isinstance(part, Tensor) else _moved(part, device) for part in parts)
