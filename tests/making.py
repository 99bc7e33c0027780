"""Small images, masks and categories for the tests, and a notebook executed without a kernel."""

import json
import os
from pathlib import Path

import numpy as np
from PIL import Image


def write_image(path: Path, size=(40, 48), mode="RGB", seed=0) -> Path:
    """An image of noise, (height, width), in any of Pillow's modes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    if mode == "I;16":
        Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(noise).convert(mode).save(path)
    return path


def write_mask(path: Path, size=(40, 48), marked=True) -> Path:
    """A mask with one square marked, or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, dtype=np.uint8)
    if marked:
        mask[10:20, 12:24] = 255
    Image.fromarray(mask).save(path)
    return path


def write_parts(folder: Path) -> Path:
    """A category: smooth good ones, defects with a bright square or line and its mask; returns the root above."""
    rng = np.random.default_rng(0)
    base = np.linspace(60, 160, 64)[None, :, None] + np.zeros((64, 64, 3))
    for place, count in (("train/good", 12), ("test/good", 4), ("test/spot", 3), ("test/line", 2)):
        for number in range(count):
            image = base + rng.normal(0, 6, base.shape)
            mask = np.zeros((64, 64), dtype=np.uint8)
            if place.endswith("spot"):
                mask[20:32, 30:44] = 255
            elif place.endswith("line"):
                mask[40:43, 5:60] = 255
            image[mask > 0] = 250
            target = folder / place / f"{number:03d}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(target)
            if mask.any():
                truth = folder / "ground_truth" / place[5:] / f"{number:03d}_mask.png"
                truth.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(truth)
    return folder.parent


def a_notebook(path: Path, code: str) -> Path:
    """A notebook of one cell."""
    import nbformat

    kernel = {"name": "python3", "display_name": "Python", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)], metadata={"kernelspec": kernel})
    nbformat.write(notebook, path)
    return path


def in_this_process(source, target, parameters, cwd, **_):
    """What `papermill.execute_notebook` does, without a kernel: the notebook is written, a cell's error raised."""
    import nbformat
    from papermill.exceptions import PapermillExecutionError

    notebook, names, home = nbformat.read(source, 4), {"__name__": "__main__"}, os.getcwd()
    os.chdir(cwd)
    try:
        for number, cell in enumerate(notebook.cells):
            if cell.cell_type == "code":
                exec(compile(cell.source, f"cell {number}", "exec"), names)
            if "parameters" in cell.metadata.get("tags", ()):
                names |= parameters
    except Exception as error:
        raise PapermillExecutionError(number, number, cell.source, type(error).__name__, str(error), []) from error
    finally:
        os.chdir(home)
        nbformat.write(notebook, target)


def stand_in(source, target, parameters, **_):
    """Like `in_this_process`, without a detector: each file of the run holds its record."""
    from padim_nb.data.groups import grouping
    from padim_nb.experiments.recipes import settings_of
    from padim_nb.experiments.record import fingerprint, plain
    from padim_nb.experiments.settings import RunSettings

    settings = RunSettings(**parameters)
    category = settings.load()
    wanted = settings_of(**settings.chosen)
    record = {"recipe": settings.recipe, "category": settings.category, "seed": max(settings.seed, 0)}
    data = {"name": category.source, "fingerprint": fingerprint(category), "grouping": grouping(category.train)}
    record |= {"data": data, "settings": plain(wanted)}
    record |= {"metrics": {"image_auroc": 1.0}, "n_train": len(category.train), "n_test": len(category.test)}
    text = json.dumps(record | {"device": settings.device.replace("auto", "cpu")})
    for path in (target, settings.folder / "model.safetensors", settings.folder / "maps.safetensors"):
        Path(path).write_text(text)
    (settings.folder / "record.json").write_text(text)
