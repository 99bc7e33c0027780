"""One PaDiM fit on many machines: each sums up a part of the images, and the sums are merged pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..data.mvtec import Sample
from ..errors import ModelError, OptionError
from .detector import PaDiM
from .settings import PaDiMSettings
from .statistics import Statistics

if TYPE_CHECKING:
    from distributed import Client

Part = tuple[Statistics, tuple[int, int] | None, str]  # statistics, (height, width) of the images, SHA-256 of weights


def fit_sharded(
    detector: PaDiM, samples: Sequence[Sample], client: Client, shards: int = 0, device: str = "auto"
) -> PaDiM:
    """Fit `detector` as `detector.fit(samples)` would, on the workers of a Dask cluster.

    The workers must see the images, and a file of weights, under the same paths. Moments cross the network: their size
    does not depend on the number of images. Of few images, where the low-rank form is cheaper, features do. No machine
    holds more than three parts at a time.

    Args:
        detector: gets the result; what it was fitted on is forgotten once this succeeds.
        samples: good samples.
        client: of the cluster.
        shards: the number of parts; one a worker unless given.
        device: of the workers.
    """
    if not isinstance(detector, PaDiM):
        raise OptionError("only PaDiM is fitted in parts: EfficientAD trains on one machine")
    samples = detector.training_samples(samples)
    if not samples:
        raise ModelError("there is nothing to fit: give at least 2 good images")
    count = min(shards or len(client.scheduler_info()["workers"]), len(samples))
    if count < 1:
        raise OptionError("the Dask cluster has no workers")
    settings, total = detector.settings, len(samples)
    shares = [list(samples[k::count]) for k in range(count)]
    parts = client.map(statistics_of, shares, settings=settings, total=total, device=device, pure=False)
    while len(parts) > 1:
        pairs = [parts[k : k + 2] for k in range(0, len(parts), 2)]
        parts = [client.submit(merged, *pair, settings=settings, pure=False) if pair[1:] else pair[0] for pair in pairs]
    whole: Part = parts[0].result()
    if whole[2] != detector.weights["sha256"]:
        raise OptionError("the workers have other weights than this detector: give all the same file")
    detector.reset()
    return detector.merge_statistics(*whole)


def statistics_of(samples: list[Sample], settings: PaDiMSettings, total: int, device: str) -> Part:
    """The statistics of a share of `total` images, on a worker."""
    detector = PaDiM.from_settings(settings, device).partial_fit(samples, total)
    return detector.statistics_, detector.size_, detector.weights["sha256"]


def merged(first: Part, second: Part, settings: PaDiMSettings) -> Part:
    """Two parts as one, on a worker; neither is changed."""
    if first[1:] != second[1:]:
        raise OptionError(
            f"parts of images and weights {first[1:]} and {second[1:]} cannot be merged: give all the same"
        )
    whole = Statistics(settings.form)
    for statistics, _, _ in (first, second):
        whole.merge(statistics)
    return whole, *first[1:]
