"""What a figure comes from: the machine, the versions, the commit, and the most memory that was held."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("padim-nb", "torch", "torchvision", "numpy", "scipy", "pillow", "scikit-learn", "safetensors")

DRIVERS = ("nvidiactl", "dxg", "kfd")  # of NVIDIA, of Windows' Linux, of AMD: below /dev


def cores() -> int:
    """Cores that this process may use: of its container's quota or its batch job's, not all the machine has."""
    try:
        from dask.system import cpu_count  # knows the quota of a container; it comes with the extra "run"
    except ImportError:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cpu_count()


def gpus() -> int:
    """GPUs of this machine. torch takes seconds to load: it is only asked where there can be one."""
    if sys.platform == "linux" and not any(Path("/dev", name).exists() for name in DRIVERS):
        return 0
    import torch

    return torch.cuda.device_count()


def machine(device: str) -> dict[str, object]:
    """In plain words what a computation ran on."""
    import torch  # commands that compute nothing do without it

    name = torch.cuda.get_device_name(device) if str(device).startswith("cuda") else _processor()
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def versions() -> dict[str, str | None]:
    """Of Python and of all packages that decide a record's figures."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def commit() -> str | None:
    """The commit of the clone this package is run from, with '+' where the working tree differs from it."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        change = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=here, check=False)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if change.returncode else "")


def peak_memory_mb() -> float | None:
    """The most memory this process has held so far, in MB; None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would start at what the parent process held when it started this one
        peak = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM:")), None)
        return round(int(peak.split()[1]) * 1024 / 1e6, 1) if peak else None
    try:
        import resource
    except ImportError:
        return None
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3), 1)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
