"""A small world of good and broken files, made once, which the faults only read."""

import json
import shutil

import numpy as np
import pytest
from damage import RECORD, rewritten
from making import write_image, write_parts
from PIL import Image
from safetensors.numpy import save_file

from padim_nb.data.images import Frame
from padim_nb.data.mvtec import load_category
from padim_nb.padim.detector import PaDiM
from padim_nb.padim.settings import PaDiMSettings, Selection


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    root = write_parts(folder / "root" / "widget")
    shutil.copytree(root / "widget", folder / "mixed" / "widget")
    write_image(folder / "mixed" / "widget" / "train" / "good" / "zzz.png", (64, 90))
    shutil.copytree(root / "widget", folder / "maskless" / "widget")
    (folder / "maskless" / "widget" / "ground_truth" / "spot" / "001_mask.png").unlink()
    (folder / "hollow" / "widget" / "train" / "good").mkdir(parents=True)
    (folder / "nothing").mkdir()
    write_image(folder / "ok.png", (64, 64))
    write_image(folder / "tall.png", (90, 64))
    write_image(folder / "one" / "same.png", (64, 64))
    write_image(folder / "two" / "one" / "same.png", (64, 64))
    (folder / "broken.png").write_bytes((folder / "ok.png").read_bytes()[:400])
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("hello")
    Image.new("1", (40000, 40000)).save(folder / "vast.png")  # a bomb: few bytes, 1.6 billion pixels

    detector = PaDiM.from_settings(PaDiMSettings("gabor", Frame((64, 64)), Selection("random", 20, 0)), "cpu")
    detector.fit(load_category("widget", root).train)
    model = detector.save(folder / "model.safetensors")
    whole = model.read_bytes()
    for name, content in (("cut", whole[:-100]), ("text", b"hello"), ("empty", b""), ("long", b"\xff" * 64)):
        (folder / f"{name}.safetensors").write_bytes(content)
    save_file({"a": np.zeros(3)}, folder / "foreign.safetensors")
    headers = {
        "list": lambda h: [],
        "word": lambda h: '"padim"',
        "nojson": lambda h: "{",
        "format": lambda h: h | {"format": "padim-nb/padim/9"},
        "nosettings": lambda h: {k: v for k, v in h.items() if k != "settings"},
        "nogrids": lambda h: {k: v for k, v in h.items() if k != "grids"},
        "extra": lambda h: h | {"settings": h["settings"] | {"surprise": 1}},
        "backbone": lambda h: h | {"settings": h["settings"] | {"backbone": "gabbor"}},
        "frame": lambda h: h | {"settings": h["settings"] | {"frame": {"resize": [0, -4]}}},
        "dimensions": lambda h: h | {"settings": h["settings"] | {"selection": h["settings"]["selection"] | {"d": 19}}},
        "size": lambda h: h | {"size": [1 << 20, 1 << 20]},
        "weights": lambda h: h | {"weights": {"name": "other", "sha256": "0" * 64}},
        "threshold": lambda h: h | {"threshold": {"value": float("nan"), "false_alarm": 0.01, "images": 3}},
        "grids": lambda h: h | {"grids": [[7, 7]]},
    }
    for name, change in headers.items():
        rewritten(model, folder / f"{name}.safetensors", header=change)
    spoilt = {
        "nan": lambda t: {k: np.full_like(v, np.nan) for k, v in t.items()},
        "shape": lambda t: {k: v[:-1] for k, v in t.items()},
        "lost": lambda t: dict(list(t.items())[1:]),
        "whole-numbers": lambda t: {k: v.astype(np.int32) for k, v in t.items()},
    }
    for name, change in spoilt.items():
        rewritten(model, folder / f"{name}.safetensors", tensors=change)

    (folder / "records").mkdir()
    (folder / "records" / "record.json").write_text(json.dumps(RECORD))
    broken = {
        "cut": "{",
        "word": json.dumps(RECORD | {"metrics": {"image_auroc": "x"}}),
        "infinite": json.dumps(RECORD | {"metrics": {"image_auroc": float("inf")}}),
        "seedless": json.dumps({k: v for k, v in RECORD.items() if k != "seed"}),
        "vast": json.dumps(RECORD | {"seed": float("inf")}),
        "lines": json.dumps(RECORD | {"category": "wid\nget"}),
        "deep": "[" * 100_000,
    }
    for name, text in broken.items():
        (folder / f"records-{name}").mkdir()
        (folder / f"records-{name}" / "record.json").write_text(text)
    (folder / "records-bytes").mkdir()
    (folder / "records-bytes" / "record.json").write_bytes(b"\xff\xfe\x00")
    return folder
