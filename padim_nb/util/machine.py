"""What a result was computed with: the machine, the versions, the commit, and the peak of memory."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from joblib import cpu_count

PACKAGES = ("padim-nb", "torch", "torchvision", "numpy", "scipy", "pillow", "scikit-learn", "safetensors")

DRIVERS = ("nvidiactl", "dxg", "kfd")  # of NVIDIA, of Windows' Linux, of AMD: below /dev


def cores() -> int:
    """The number of cores that this process may use: its container's quota or its batch job's share."""
    return cpu_count()


def gpus() -> int:
    """The number of GPUs of this machine."""
    # torch takes seconds to load: it is only asked where there can be one.
    if sys.platform == "linux" and not any(Path("/dev", name).exists() for name in DRIVERS):
        return 0
    import torch

    return torch.cuda.device_count()


def gpu_memory_mb() -> list[float]:
    """The memory of each GPU of this machine."""
    count = gpus()
    if not count:
        return []
    import torch

    return [torch.cuda.get_device_properties(number).total_memory / 1e6 for number in range(count)]


def machine(device: str) -> dict[str, object]:
    """What a computation on this device ran on: name of the GPU or processor, threads, version of torch."""
    import torch  # commands that compute nothing do without it

    name = gpu_facts(device).get("gpu") or cpuinfo("model name") or platform.processor() or platform.machine()
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def gpu_facts(device: str) -> dict[str, object]:
    """The GPU's name and whether its float32 convolutions and products may use TF32; nothing for a processor."""
    if not device.startswith("cuda"):
        return {}
    import torch

    tf32 = {"convolutions": torch.backends.cudnn.allow_tf32, "products": torch.backends.cuda.matmul.allow_tf32}
    return {"gpu": torch.cuda.get_device_name(device), "tf32": tf32}


def versions() -> dict[str, str | None]:
    """The versions of Python and of all packages that decide a record's metrics."""
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
    """The peak of this process's memory so far, in MB; None where the system does not say."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would start at what the parent process held when it started this one
        peak = re.search(r"VmHWM:\s+(\d+)", status.read_text())
        return round(int(peak[1]) * 1024 / 1e6, 1) if peak else None
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


def cpuinfo(key: str) -> str:
    """What the system says of its first processor, such as its "model name" or "flags"; "" where it says nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
