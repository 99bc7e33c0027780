"""Parts of a computation side by side, each of which computes serially."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil, inf
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def in_threads(work: Callable[[T], R], parts: Sequence[T], device: torch.device | str = "cpu") -> list[R]:
    """The results of `work` for each part, in as many threads as torch may use, each computing serially.

    Where torch itself shares out every small operation, its threads wait for the slowest of them at each one, and for
    most of the time where another process takes the cores. A GPU shares out its own work: there, one part follows the
    other.

    Args:
        work: called with each part; what it writes must belong to this part alone.
        parts: in the order of the results.
        device: where `work` computes.
    """
    threads = torch.get_num_threads()
    if min(threads, len(parts)) == 1 or torch.device(device).type != "cpu":
        return [work(part) for part in parts]
    inference = torch.is_inference_mode_enabled()  # each thread has a mode, and a number of threads, of its own

    def serially(part: T) -> R:
        with torch.inference_mode(inference):
            return work(part)

    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(serially, parts))
    finally:
        torch.set_num_threads(threads)  # what new threads start with


def shares(count: int, device: torch.device | str = "cpu", most: float = inf) -> int:
    """Into how many parts `count` images are cut for `in_threads`.

    Args:
        count: of images.
        device: where they are computed; on a GPU they stay together, up to `most`.
        most: images a part: what few images need stays in the cache, and is not asked of the system anew.
    """
    threads = torch.get_num_threads() if torch.device(device).type == "cpu" else 1
    return max(1, min(count, threads), ceil(count / most))
