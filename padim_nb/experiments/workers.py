"""What this process may use of its machine; what a run, on one of several workers, may: a share of cores, one GPU."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from urllib.parse import urlsplit

from ..util.machine import cores, gpus

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
FOR_RUNS = 0.8  # of the memory
OVERHEAD_MB = 300  # of a worker, beside its run
KEEPING = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}


def budget(runs: int, peak_mb: float, each: int = 1) -> int:
    """Workers for so many runs on this machine: one a GPU, or one a core (or `each` of them) while memory lasts.

    Much of a run is loading, drawing and writing, which know one core: two runs side by side end before two in turn.
    """
    from distributed.system import MEMORY_LIMIT

    at_once = int(MEMORY_LIMIT * FOR_RUNS / 1e6 / (peak_mb + OVERHEAD_MB))
    return max(1, min(gpus() or min(cores() // each, at_once), runs))


def by_host(client: object) -> Mapping[str, int]:
    """How many workers of a cluster each machine has."""
    return Counter(urlsplit(address).hostname for address in client.nthreads())


def share(workers: int | Mapping[str, int], host: str = "", each: int = 0) -> int:
    """Cores for one of several workers: `each`, where that is given and as many are there.

    A number of workers are processes of this machine and divide what it may use. On a cluster, given by host, a batch
    system may already have divided the machine: a worker takes what it was given, and at most its part of the whole.
    """
    if each:
        return min(each, cores())
    if isinstance(workers, int):
        return max(1, cores() // workers)
    return max(1, min(cores(), (os.cpu_count() or 1) // workers.get(host, 1)))


@contextmanager
def room(workers: int | Mapping[str, int], each: int = 0) -> Iterator[None]:
    """The environment of a run's own process: its share of the cores, and its GPU where there are several."""
    from distributed import get_worker

    told: dict[str, str] = {}
    try:
        worker = get_worker()
    except ValueError:
        host = ""  # not on a worker
    else:
        host = urlsplit(worker.address).hostname
        if isinstance(worker.name, int) and (count := gpus()) > 1:
            seen = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
            told["CUDA_VISIBLE_DEVICES"] = seen.split(",")[worker.name % count]
    told |= dict.fromkeys(THREADS, str(share(workers, host, each)))
    with environment(told):
        yield


def keeping_memory() -> AbstractContextManager[None]:
    """An environment whose new processes keep the memory they free for their own next arrays, on GNU/Linux.

    A step of training frees and takes the same large arrays; given back, each is cleared by the kernel, page by page,
    before it is theirs again. Dask tells its workers to give back even more, and is overruled.
    """
    return environment(KEEPING)


@contextmanager
def environment(told: Mapping[str, str]) -> Iterator[None]:
    """These variables for a while, then those that were."""
    before = {key: os.environ.get(key) for key in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value
