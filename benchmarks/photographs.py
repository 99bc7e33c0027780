"""Photographs from Debian's packages, of which the shipped teacher learned besides scikit-image's and scikit-learn's.

python benchmarks/photographs.py FOLDER/debian-photographs

Wallpapers and every second texture of the ground in the game 0 A.D., which were made from photographs, 366 in all: at
most 384 pixels on the shorter side, nothing flat, no image twice. Needs `apt-get` of Debian 12, 1.6 GB for a while,
and no rights. Each package names its authors and licenses (most CC BY-SA) in usr/share/doc/PACKAGE/copyright.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

GAME = "0ad-data"
WALLPAPERS = ("mate-backgrounds", "lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04", "plasma-workspace-wallpapers",
              "ukui-wallpapers", "gnome-backgrounds")  # fmt: skip
SIDE, LEAST, LEAST_WALLPAPER = 384, 192, 700
FLAT = 8  # deviation of the pixels
NORMALS = ("_norm", "_spec", "norm.", "spec.")  # maps of slopes and of gloss are no images


def fetched(package: str, place: Path) -> Path:
    """The unpacked package."""
    subprocess.run(["apt-get", "download", package], cwd=place, check=True, stdout=subprocess.DEVNULL)
    (archive,) = place.glob(f"{package}_*.deb")
    subprocess.run(["dpkg", "-x", archive, place / package], check=True)
    archive.unlink()
    return place / package


def textures(package: Path) -> Iterator[tuple[str, Image.Image]]:
    """Names and images of the game's grounds."""
    with zipfile.ZipFile(package / "usr/share/games/0ad/mods/public/public.zip") as archive:
        for name in sorted(archive.namelist()):
            wanted = name.startswith("art/textures/terrain/types") and name.endswith(".dds")
            if wanted and not any(word in name for word in NORMALS):
                yield "0ad_" + Path(name).name.split(".")[0], Image.open(io.BytesIO(archive.read(name)))


def wallpapers(package: Path) -> Iterator[tuple[str, Image.Image]]:
    """Names and images of a package's wallpapers."""
    for path in sorted(package.rglob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp") and "screenshot" not in path.name:
            image = Image.open(path)
            if min(image.size) >= LEAST_WALLPAPER:
                inside = path.relative_to(package).parts
                title = inside[3] if package.name.startswith("plasma") else path.stem
                dark = "_d" if "dark" in str(path.relative_to(package)) else ""
                yield f"{package.name.split('-')[0]}_{title}{dark}", image


def prepared(image: Image.Image) -> Image.Image | None:
    """In color, of a usual size and shape; None for one that is too small, too narrow or flat."""
    image = image.convert("RGB")
    short, long = sorted(image.size)
    if short < LEAST or long > 4 * short:
        return None
    if short > SIDE:
        image = image.resize([round(side * SIDE / short) for side in image.size], Image.Resampling.LANCZOS)
    width, height = image.size
    if max(width, height) > 1.5 * min(width, height):
        middle = int(1.5 * min(width, height))
        x, y = ((width - middle) // 2, 0) if width > height else (0, (height - middle) // 2)
        image = image.crop((x, y, x + middle, height) if width > height else (x, y, width, y + middle))
    return image if np.asarray(image).std() >= FLAT else None


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    seen, grounds = set(), 0
    with tempfile.TemporaryDirectory() as place:
        sources = [textures(fetched(GAME, Path(place)))]
        sources += [wallpapers(fetched(package, Path(place))) for package in WALLPAPERS]
        for number, source in enumerate(sources):
            for name, image in source:
                ready = prepared(image)
                if ready is None:
                    continue
                small = (np.asarray(ready.resize((8, 8)).convert("L")) // 6).tobytes()
                if small in seen:
                    continue
                seen.add(small)
                if number == 0:
                    grounds += 1
                    if grounds % 2:
                        continue
                ready.save(folder / f"{name.replace(' ', '_')}.jpg", quality=76)
    print(f"{len(list(folder.glob('*.jpg')))} photographs in {folder}")


if __name__ == "__main__":
    main()
