"""One PaDiM fit on many machines: each learns its share of the images, and the sums are merged pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..data.mvtec import Sample
from ..errors import ModelError, OptionError
from .detector import PaDiM
from .settings import PaDiMSettings

if TYPE_CHECKING:
    from distributed import Client


def fit_sharded(
    detector: PaDiM, samples: Sequence[Sample], client: Client, shards: int = 0, device: str = "auto"
) -> PaDiM:
    """Fit `detector` as `detector.fit(samples)` would, on the workers of a Dask cluster.

    The workers must see the images under the same paths. Nothing but sums crosses the network, and no machine holds
    more than two of them: it does not matter how many images there are.
    """
    if not isinstance(detector, PaDiM):
        raise OptionError("only PaDiM is fitted in shares: EfficientAD trains on one machine")
    if not samples:
        raise ModelError("there is nothing to fit: give at least 2 good images")
    count = min(shards or len(client.scheduler_info()["workers"]), len(samples))
    if count < 1:
        raise OptionError("the Dask cluster has no workers")
    settings = detector.settings
    parts = client.map(
        learnt, [list(samples[k::count]) for k in range(count)], settings=settings, device=device, pure=False
    )
    while len(parts) > 1:
        pairs = [parts[k : k + 2] for k in range(0, len(parts), 2)]
        parts = [client.submit(merged, *pair, pure=False) if len(pair) == 2 else pair[0] for pair in pairs]
    whole = parts[0].result()
    detector.reset()
    return detector.take_in(whole).factor()


def learnt(samples: list[Sample], settings: PaDiMSettings, device: str) -> PaDiM:
    """A share's sums, on a worker."""
    return PaDiM.from_settings(settings, device).learn(samples)


def merged(first: PaDiM, second: PaDiM) -> PaDiM:
    """The sums of two shares as one, on a worker."""
    return first.take_in(second)
