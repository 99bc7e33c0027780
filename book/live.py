"""Builds what the live page runs in a reader's browser: one network, one small graph a part, images, the runtime.

python book/live.py           (`make book` calls it; what is up to date is skipped)
python book/live.py --still   (draws book/images/live.png, shown where scripts are off)
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from matplotlib import colormaps
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw

from padim_nb import load_category
from padim_nb.data.images import image_batches
from padim_nb.data.mvtec import Category, Sample
from padim_nb.deploy.export import export
from padim_nb.experiments.recipes import RECIPES
from padim_nb.padim.detector import PaDiM
from padim_nb.padim.settings import Selection
from padim_nb.plots import figures

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "_build" / "vendor" / "live"
RUNTIME = "onnxruntime-web@1.30.0"
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # sha512
FILES = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
DIMENSIONS = 36
SMALLEST = 256  # numbers in a tensor that is worth storing as float16


@dataclass(frozen=True)
class Shown:
    """A part of the page: its category and the defects whose images are offered beside the good ones."""

    name: str
    defects: tuple[str, ...]


PARTS = (
    Shown("bottle", ("broken_small", "contamination")),
    Shown("cable", ("missing_wire", "cable_swap")),
    Shown("hazelnut", ("crack", "hole")),
)


def detector_of(category: Category) -> PaDiM:
    """The page's detector: the default recipe with fewer dimensions, so that it takes a few megabytes."""
    settings = replace(RECIPES["padim-lite0"].settings, selection=Selection("random", DIMENSIONS, 1024))
    detector = PaDiM.from_settings(settings, "cpu").fit(category.train)
    detector.calibrate(category.train)
    return detector


def main() -> int:
    """Build whatever is missing or older than its sources."""
    if "--still" in sys.argv[1:]:
        return still()
    unless_fresh(TARGET, [Path(__file__)], _parts)
    if not all((TARGET / "ort" / name).is_file() for name in FILES):
        _runtime()
    print(f"live page: {megabytes(TARGET):.1f} MB")
    return 0


def unless_fresh(target: Path, scripts: Sequence[Path], make: Callable[[], None]) -> None:
    """Make a folder anew, unless these scripts and the package are as they were when it was made."""
    files = [*scripts, *sorted((ROOT / "padim_nb").rglob("*.py"))]
    wanted, stamp = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest(), target / "sources"
    if not (stamp.is_file() and stamp.read_text() == wanted):
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        make()
        stamp.write_text(wanted)


def megabytes(folder: Path) -> float:
    """The size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def still() -> int:
    """Draw the page as a still image: a bottle, a scratch drawn on it, the map."""
    category = load_category("bottle", "twin:lite")
    detector = detector_of(category)
    good = next(image_batches([next(s for s in category.test if s.label == 0)], detector.settings.frame, 1))[0]
    drawn = Image.fromarray(good)
    ImageDraw.Draw(drawn).line([(96, 70), (120, 104), (128, 150), (160, 178)], fill=(232, 232, 228), width=3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drawn.png"
        drawn.save(path)
        map_ = detector.score([Sample(path, 1, "drawn", None)])[0]
    heat = (colormaps[figures.HEAT](np.clip(map_ / map_.max(), 0, 1))[..., :3] * 255).astype(np.uint8)
    gap = np.asarray(Image.new("RGB", (8, len(good)), figures.DARK))
    row = np.concatenate([good, gap, np.asarray(drawn), gap, heat], axis=1)
    Image.fromarray(row).save(ROOT / "book" / "images" / "live.png", optimize=True)
    return 0


def _parts() -> None:
    (TARGET / "parts.json").write_text(json.dumps([_part(shown) for shown in PARTS]))


def _part(shown: Shown) -> dict[str, object]:
    """Fit, export and split the detector of one part; returns what the page needs to know of it."""
    category = load_category(shown.name, "twin:lite")
    detector = detector_of(category)
    with tempfile.TemporaryDirectory() as folder:
        whole = export(detector, Path(folder) / "whole.onnx")
        features, distances = split(onnx.load(whole))
    onnx.save(in_half_precision(features), TARGET / "features.onnx")  # the same for all parts
    onnx.save(in_half_precision(distances), TARGET / f"{shown.name}.onnx")
    good = [s for s in category.test if s.label == 0][:2]
    bad = [next(s for s in category.test if s.defect == defect) for defect in shown.defects]
    names = []
    for number, sample in enumerate([*good, *bad]):
        framed = next(image_batches([sample], detector.settings.frame, 1))[0]
        names.append({"file": f"{shown.name}-{number}.png", "defect": sample.defect.replace("_", " ")})
        Image.fromarray(framed).save(TARGET / names[-1]["file"], optimize=True)
    high = float(np.quantile(detector.score(category.test).maps, 0.999))
    return {"name": shown.name, "threshold": detector.threshold_.value, "high": high, "images": names}


def split(model: onnx.ModelProto) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """One graph in two: from images to levels, which all parts share, and from levels to map and score."""
    model = onnx.shape_inference.infer_shapes(model)
    levels = [node.output[0] for node in model.graph.node if node.op_type == "Gather" and _axis(node) == 1]
    if len(levels) != 3:
        raise RuntimeError(f"the exported graph has {len(levels)} places where channels are chosen, not 3")
    cutter = onnx.utils.Extractor(model)
    ends = ["map", "score"]
    features, distances = cutter.extract_model(["images"], levels), cutter.extract_model(levels, ends)
    for graph in (features.graph, distances.graph):
        names = {old: f"level{number}" for number, old in enumerate(levels)}
        for node in graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        for value in (*graph.input, *graph.output):
            value.name = names.get(value.name, value.name)
    return features, distances


def in_half_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with its larger tensors stored as float16 and turned back when it is loaded."""
    graph = model.graph
    nodes = [_stored(tensor, tensor.name) for tensor in graph.initializer if _worth(tensor)]
    for node in graph.node:
        value = node.attribute[0].t if node.op_type == "Constant" else None
        if value is not None and _worth(value):
            nodes.append(_stored(value, node.output[0]))
            graph.initializer.append(value)
        else:
            nodes.append(node)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _worth(tensor: TensorProto) -> bool:
    return tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= SMALLEST


def _stored(tensor: TensorProto, name: str) -> onnx.NodeProto:
    """Make the tensor float16, in place; the node that turns it back under its old name."""
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}.half"))
    return helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT)


def _axis(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)


def _runtime() -> None:
    """The three files of the runtime that the page needs, from its npm package, checked by its hash."""
    npm, instead = shutil.which("npm"), "the live page will show a still image instead of running"
    if npm is None:
        print(f"no npm here: {instead}", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [npm, "pack", "--silent", RUNTIME], cwd=folder, capture_output=True, text=True, check=False, timeout=300
        )
        packed = next(Path(folder).glob("*.tgz"), None)
        if done.returncode or packed is None:
            print(f"npm did not give {RUNTIME}: {instead}", file=sys.stderr)
            return
        content = packed.read_bytes()
        if base64.b64encode(hashlib.sha512(content).digest()).decode() != INTEGRITY:
            raise RuntimeError(f"{RUNTIME} is not the file that was expected: its hash differs")
        (TARGET / "ort").mkdir(exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for name in FILES:
                (TARGET / "ort" / name).write_bytes(archive.extractfile(f"package/dist/{name}").read())


if __name__ == "__main__":
    sys.exit(main())
