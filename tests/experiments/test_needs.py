"""The files of a recipe: got by one command, read without any option, checked where they are read."""

import hashlib
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from packing import tarred, zipped
from PIL import Image
from serving import serving

from padim_nb.cli import main
from padim_nb.efficientad import pdn
from padim_nb.efficientad.teacher import load_teacher
from padim_nb.errors import WeightsError
from padim_nb.experiments.needs import needs
from padim_nb.experiments.recipes import RECIPES
from padim_nb.features import weights
from padim_nb.features.weights import PUBLISHED, published_path

PLACES = {"small": ("0", "3", "6", "8"), "medium": ("0", "3", "6", "8", "10", "12")}


def saved(size, seed, numbered=False):
    """A teacher's file of random weights, its layers named as anomalib's or numbered as nelson1425's."""
    torch.manual_seed(seed)
    state = pdn.teacher(size).state_dict()
    if numbered:
        names = dict(zip(pdn.teacher(size).convolutions, PLACES[size], strict=True))
        state = {f"{names[key.split('.')[0]]}.{key.split('.')[1]}": value for key, value in state.items()}
    out = io.BytesIO()
    torch.save(state, out)
    return out.getvalue()


def photograph(seed):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (300, 280, 3), np.uint8)).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture(scope="module")
def contents():
    """The published files' stand-ins: teachers of the right shapes with random weights, six images."""
    teachers = {f"pretrained_teacher_{size}.pth": saved(size, seed) for seed, size in enumerate(PLACES)}
    images = [(f"imagenette2/train/n0/{number}.JPEG", photograph(number)) for number in range(6)]
    return teachers, {
        "efficientad_pretrained_weights.zip": zipped([(f"inner/{name}", body) for name, body in teachers.items()]),
        "imagenette2.tgz": tarred(images),
        **{f"teacher_{size}.pth": saved(size, 7 + seed, numbered=True) for seed, size in enumerate(PLACES)},
    }


def sha(body):
    return hashlib.sha256(body).hexdigest()


@pytest.fixture
def server(contents, monkeypatch):
    """A server of them, whose addresses, sizes and hashes are those that `weights get` knows."""
    teachers, files = contents
    with serving(dict(files)) as running:
        for name, source in PUBLISHED.items():
            body = files[source.file]
            members = tuple((member, sha(teachers[member])) for member, _ in source.members)
            local = replace(source, address=running.address("once", source.file), sha256=sha(body), size=len(body))
            monkeypatch.setitem(PUBLISHED, name, replace(local, members=members))
        yield running


@pytest.mark.parametrize("recipe", ["efficientad-s-anomalib", "efficientad-s-nelson1425"])
def test_from_an_empty_cache_two_commands_lead_to_a_record(recipe, server, parts, tmp_path, capsys, no_kernel):
    run = ["run", "widget", "--recipe", recipe, "--data", str(parts), "--steps", "1", "--device", "cpu"]
    run += ["--out", str(tmp_path / "out")]
    assert main(run) == 2, "nothing is here yet"
    missing = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"is not here .*`padim-nb weights get imagenette`.*--from FILE", missing)
    assert main(["weights", "get", recipe]) == 0
    shown = capsys.readouterr().out
    assert "Apache-2.0" in shown and "research" in shown
    assert any(begin for _, begin in server.requests), "each was cut once and resumed"
    assert main(run) == 0, capsys.readouterr().err
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    publisher = recipe.rpartition("-")[2]
    assert (record["settings"]["weights"], record["settings"]["penalty"]) == (publisher, "imagenette")
    assert record["weights"]["source"] == publisher
    assert record["facts"]["penalty"] == f"6 of 6 images in {PUBLISHED['imagenette'].name}"
    assert record["metrics"]["image_auroc"] is not None
    count = len(server.requests)
    assert main(["weights", "get", recipe]) == 0
    assert len(server.requests) == count


@pytest.mark.parametrize("publisher", ["anomalib", "nelson1425"])
@pytest.mark.parametrize("size", PLACES)
def test_each_published_teacher_is_read_by_its_word_and_refused_when_it_has_changed(publisher, size, server):
    name = "anomalib" if publisher == "anomalib" else f"nelson1425-{size}"
    with pytest.raises(WeightsError, match=f"weights get {name}`"):
        load_teacher(size, publisher)
    weights.get(name)
    teacher, source = load_teacher(size, publisher)
    torch.manual_seed(list(PLACES).index(size) + (7 if publisher == "nelson1425" else 0))
    wanted = pdn.teacher(size).state_dict()
    assert all(torch.equal(teacher.state_dict()[key], value) for key, value in wanted.items())
    place = published_path(name)
    path = next(place.rglob(source["name"])) if place.is_dir() else place
    torch.save(wanted | {"more": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=f"not {publisher}'s file any more: .*weights get {name}"):
        load_teacher(size, publisher)
    path.unlink()
    with pytest.raises(WeightsError, match=f"weights get {name}"):
        load_teacher(size, publisher)


def test_files_carried_by_hand_are_got_from_their_folder(contents, server, tmp_path, capsys):
    for name, body in contents[1].items():
        (tmp_path / name).write_bytes(body)
    recipe = "efficientad-s-anomalib"
    assert main(["weights", "get", recipe, "--from", str(tmp_path / "imagenette2.tgz")]) == 2
    assert "needs anomalib, imagenette: give each" in capsys.readouterr().err
    assert main(["weights", "get", recipe, "--from", str(tmp_path)]) == 0
    assert published_path("anomalib").is_dir() and published_path("imagenette").is_dir()
    assert main(["weights", "get", "nelson1425-small", "--from", str(tmp_path / "teacher_medium.pth")]) == 2
    assert re.search(r"teacher_medium\.pth is not teacher_small\.pth \([\d,]+ bytes, not", capsys.readouterr().err)
    assert not server.requests


def test_every_recipe_knows_its_files_and_what_cannot_be_got_is_one_line(capsys):
    expected = {
        "padim-lite0": [], "padim-random": [], "padim-gabor": [], "least-squares-student": [],
        "padim-r18-rd100": ["resnet18"], "padim-effb7-lst": ["efficientnet-b7"], "padim-tf-net1": ["efficientnet-b7"],
        "efficientad-m-nelson1425": ["nelson1425-medium", "imagenette"],
        "efficientad-s-anomalib": ["anomalib", "imagenette"],
    }  # fmt: skip
    assert {name: needs(RECIPES[name].settings) for name in expected} == expected
    assert main(["weights", "get", "padim-lite0"]) == 0
    assert "needs no file" in capsys.readouterr().out
    assert main(["weights", "get", "efficientad-s"]) == 2
    assert "weights get wide_resnet101_2" in capsys.readouterr().err
    assert main(["weights", "get", "efficientad-s-anomalip"]) == 2
    assert "did you mean 'efficientad-s-anomalib'" in capsys.readouterr().err


def test_a_missing_imagenette_is_refused_before_anything_is_read():
    from padim_nb.experiments.recipes import recipe

    with pytest.raises(WeightsError, match="weights get imagenette"):
        recipe("efficientad-lite", penalty="imagenette")
