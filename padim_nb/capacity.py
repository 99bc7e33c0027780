"""What this process may use of its machine; what a run on one of several workers may: a share of cores, one GPU."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

DRIVERS = ("nvidiactl", "dxg", "kfd")  # of NVIDIA, of Windows' Linux, of AMD: below /dev
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def budget() -> int:
    """Workers for this machine: one a GPU, or one for each two cores."""
    return gpus() or max(1, cores() // 2)


def cores() -> int:
    """Cores that this process may use: of its container's quota or its batch job's, not all the machine has."""
    from dask.system import cpu_count

    return cpu_count()


def gpus() -> int:
    """GPUs of this machine. torch takes seconds to load: it is only asked where there can be one."""
    if sys.platform == "linux" and not any(Path("/dev", name).exists() for name in DRIVERS):
        return 0
    import torch

    return torch.cuda.device_count()


def by_host(client: object) -> Mapping[str, int]:
    """How many workers of a cluster each machine has."""
    return Counter(urlsplit(address).hostname for address in client.nthreads())


def share(workers: int | Mapping[str, int], host: str = "") -> int:
    """Cores for one of several workers.

    A number of workers are processes of this machine and divide what it may use. On a cluster, given by host, a batch
    system may already have divided the machine: a worker takes what it was given, and at most its part of the whole.
    """
    if isinstance(workers, int):
        return max(1, cores() // workers)
    return max(1, min(cores(), (os.cpu_count() or 1) // workers.get(host, 1)))


@contextmanager
def room(workers: int | Mapping[str, int]) -> Iterator[None]:
    """The environment of a run's own process: its share of the cores, and its GPU where there are several."""
    from distributed import get_worker

    told: dict[str, str | None] = {"MALLOC_TRIM_THRESHOLD_": None}  # Dask sets it for its workers; it slows torch down
    try:
        worker = get_worker()
    except ValueError:
        host = ""  # not on a worker
    else:
        host = urlsplit(worker.address).hostname
        if isinstance(worker.name, int) and (count := gpus()) > 1:
            seen = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
            told["CUDA_VISIBLE_DEVICES"] = seen.split(",")[worker.name % count]
    told |= dict.fromkeys(THREADS, str(share(workers, host)))
    before = {key: os.environ.get(key) for key in told}
    _set(told)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    """Environment variables; None takes one away."""
    for key, value in variables.items():
        if value is None:
            os.environ.pop(key, None)
        else:
            os.environ[key] = value
