"""EfficientAD in a run: what its record names."""

import json
import shutil

from small_training import quick_in

from padim_nb.experiments.run import execute
from padim_nb.experiments.settings import RunSettings


def test_the_record_of_a_run_names_what_it_learned_from(parts, tmp_path, no_kernel):
    quick = quick_in(tmp_path)
    for path in [*sorted((parts / "widget" / "train" / "good").iterdir())[4:], parts / "widget" / "test" / "line"]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    settings = RunSettings(
        "widget", "efficientad-s", data=str(parts), weights=quick.weights, out=str(tmp_path / "out"), device="cpu",
        steps=1, penalty=quick.penalty, seed=3,
    )  # fmt: skip
    execute(settings)
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["facts"]["penalty"] == "2 of 2 images in others"
    assert record["facts"]["steps"] == 1
    assert record["seed"] == 3
    assert record["weights"]["name"] == "teacher.safetensors"
    assert not (tmp_path / "out" / "checkpoint.safetensors").exists()
