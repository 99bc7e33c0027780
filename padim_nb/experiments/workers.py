"""How many runs fit a machine side by side, and what each of several workers may use: its cores, one of the GPUs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from ..util.machine import cores, gpu_memory_mb, gpus

if TYPE_CHECKING:
    from distributed import Client

Workers: TypeAlias = "int | Mapping[str, int]"  # so many processes of this machine, or a cluster's, by host
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
FOR_RUNS = 0.8  # of the memory
OVERHEAD_MB = 300  # of a worker, beside its run
CONTEXT_MB = 800  # of a GPU, for each process that uses it: CUDA and its libraries
# A training step allocates and frees the same large arrays. glibc would return them to the kernel, which clears each
# page before it is used again, and Dask makes its workers return even more.
NO_TRIM = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}


def budget(runs: int, peak_mb: float, cores_each: int = 1, device: str = "auto") -> int:
    """Workers for so many runs on this machine: one for `cores_each` cores, as far as its memory and its GPUs' allow.

    GPUs count only where the runs' `device` is one ("cuda:1" is a single one). Much of a run is loading, drawing and
    writing, which use one core: two runs side by side end before two in turn, also where they share a GPU. A run takes
    no more of a GPU's memory than of the machine's where there is none.
    """
    from distributed.system import MEMORY_LIMIT

    places = [cores() // cores_each, int(MEMORY_LIMIT * FOR_RUNS / 1e6 / (peak_mb + OVERHEAD_MB)), runs]
    memories = [] if device == "cpu" else gpu_memory_mb()
    if ":" in device:
        memories = memories[int(device.split(":")[1]) :][:1]
    if memories:
        places.append(sum(int(memory * FOR_RUNS / (peak_mb + CONTEXT_MB)) for memory in memories))
    return max(1, min(places))


def by_host(client: Client) -> Mapping[str, int]:
    """How many workers of a cluster each machine has."""
    return Counter(urlsplit(address).hostname or "" for address in client.nthreads())


def share(workers: Workers, host: str = "", cores_each: int = 0) -> int:
    """Cores for one of several workers: `cores_each`, where that is given and as many are there.

    A number of workers are processes of this machine and divide what it may use. On a cluster, given by host, a batch
    system may already have divided the machine: a worker takes what it was given, and at most its part of the whole.
    """
    if cores_each:
        return min(cores_each, cores())
    if isinstance(workers, int):
        return max(1, cores() // workers)
    return max(1, min(cores(), (os.cpu_count() or 1) // workers.get(host, 1)))


def environment(workers: Workers, cores_each: int = 0, device: str = "auto") -> dict[str, str]:
    """Variables for a run's own process: its share of the cores, and its GPU where there are several.

    A `device` with a number, such as "cuda:1", is the user's own choice of GPU.
    """
    from distributed import get_worker

    variables: dict[str, str] = {}
    try:
        worker = get_worker()
    except ValueError:
        host = ""  # not on a worker
    else:
        host = urlsplit(worker.address).hostname or ""
        if isinstance(worker.name, int) and ":" not in device and (count := gpus()) > 1:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
            variables["CUDA_VISIBLE_DEVICES"] = visible.split(",")[worker.name % count]
    return variables | dict.fromkeys(THREADS, str(share(workers, host, cores_each)))
