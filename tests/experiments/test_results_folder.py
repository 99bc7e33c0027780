"""Where `make run` and `padim-nb run` put results, and what `make clean` and `make distclean` remove."""

import shutil
import subprocess
from pathlib import Path

import pytest

from padim_nb.experiments.settings import RunSettings

ROOT = Path(__file__).parents[2]


def make(folder, *words):
    shutil.copy(ROOT / "Makefile", folder / "Makefile")
    for name in ("pyproject.toml", "requirements.lock"):
        (folder / name).touch()
    return subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        ({}, "runs/cable/padim-lite0"),
        ({"recipe": "padim-gabor"}, "runs/cable/padim-gabor"),
        ({"seed": 3}, "runs/cable/padim-lite0-seed3"),
        ({"category": "screw", "recipe": "padim-gabor", "seed": 0}, "runs/screw/padim-gabor-seed0"),
        ({"out": "elsewhere"}, "elsewhere"),
    ],
)
def test_each_recipe_and_seed_has_a_folder_of_its_own(given, folder):
    assert RunSettings(**given).folder == Path(folder)


def test_make_run_leaves_the_folder_to_the_command(tmp_path):
    commands = make(tmp_path, "-n", "run", "CATEGORY=screw", "RECIPE=padim-gabor", "SEED=3")
    command = next(line for line in commands.replace("\\\n", " ").splitlines() if "padim-nb run screw" in line)
    assert "--recipe padim-gabor" in command and "--seed 3" in command and "--out" not in command
    assert "--out here" in make(tmp_path, "-n", "run", "OUT=here")


def test_make_clean_leaves_results_and_checkpoints_and_distclean_says_what_it_removes(tmp_path):
    results = [tmp_path / "runs" / "cable" / "padim-lite0", tmp_path / "notebooks" / "runs" / "cable"]
    for folder in results:
        folder.mkdir(parents=True)
        (folder / "record.json").touch()
        (folder / "checkpoint.safetensors").touch()
    (tmp_path / "notebooks" / "runs" / ".gitkeep").touch()
    (tmp_path / "_build").mkdir()
    make(tmp_path, "clean")
    assert not (tmp_path / "_build").exists()
    assert all((folder / "record.json").exists() and (folder / "checkpoint.safetensors").exists() for folder in results)
    output = make(tmp_path, "distclean")
    assert "removing runs: 1 records, 1 checkpoints" in output and "removing notebooks/runs/cable: 1" in output
    assert not any(folder.exists() for folder in results)
    assert (tmp_path / "notebooks" / "runs" / ".gitkeep").exists()
