"""A region of interest: what lies outside of it decides nothing, from the threshold to the exported file."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from padim_nb import evaluate, load, load_category, recipe
from padim_nb.cli import main
from padim_nb.data.images import image_batches
from padim_nb.data.maps import AnomalyMaps
from padim_nb.deploy.export import export
from padim_nb.deploy.scoring import score_files
from padim_nb.errors import DataError, ModelError, OptionError
from padim_nb.experiments.recipes import RECIPES, settings_of
from padim_nb.padim.detector import PaDiM

ROWS, COLUMNS = slice(10, 50), slice(4, 40)


def write_roi(path, rows=ROWS, columns=COLUMNS, size=(64, 64)):
    """A mask of one white rectangle, in the pixels of the parts' images."""
    roi = np.zeros(size, dtype=np.uint8)
    roi[rows, columns] = 255
    Image.fromarray(roi).save(path)
    return path


@pytest.fixture
def roi_file(tmp_path):
    return write_roi(tmp_path / "region.png")


def small(roi, score="max", size=64):
    settings = replace(settings_of("padim-gabor", size=size, roi=str(roi)), score=score)
    return PaDiM.from_settings(settings, "cpu")


def inside(maps, score):
    """Image scores of whole maps, by what is inside the rectangle."""
    values = np.sort(maps[:, ROWS, COLUMNS].reshape(len(maps), -1))
    return values[:, -1] if score == "max" else values[:, -round(score * values.shape[1]) :].mean(1)


@pytest.mark.parametrize("score", ["max", 0.05])
def test_every_score_is_that_of_the_map_inside(parts, roi_file, score):
    widget = load_category("widget", parts)
    whole, detector = small("").fit(widget.train, 0.2), small(roi_file, score).fit(widget.train, 0.2)
    maps, wanted = detector.score(widget.test), whole.score(widget.test).maps
    assert np.array_equal(maps.maps[:, ROWS, COLUMNS], wanted[:, ROWS, COLUMNS])
    assert not maps.maps[:, ~maps.roi].any(), "nothing is shown outside"
    assert np.allclose(maps.scores, inside(wanted, score), rtol=1e-5)
    held_out = inside(whole.leave_one_out(widget.train).maps, score)
    assert np.allclose(detector.held_out_scores(widget.train), held_out, rtol=1e-5)
    assert np.isclose(detector.threshold_.value, np.sort(held_out)[10], rtol=1e-5), "13 x 0.8 is 10.4, so the 11th"
    assert detector.facts["judged share of the image"] == pytest.approx(40 * 36 / 64**2)


def test_p_values_are_those_of_refits_that_look_inside(parts, roi_file):
    widget = load_category("widget", parts)
    train, new = widget.train[:5], widget.test[3:6]
    found = small(roi_file).fit(train).p_values(new)
    for sample, p in zip(new, found, strict=True):
        pool = [*train, sample]
        scores = [
            inside(small("").fit([*pool[:i], *pool[i + 1 :]]).score([own]).maps, "max")[0] for i, own in enumerate(pool)
        ]
        assert p == pytest.approx(sum(score >= scores[-1] for score in scores) / 6)


def test_a_report_is_that_of_the_images_cut_to_the_region(parts, roi_file, tmp_path):
    widget = load_category("widget", parts)
    maps = small(roi_file).fit(widget.train).score(widget.test)
    shutil.copytree(parts, tmp_path / "cut")
    for path in sorted((tmp_path / "cut").rglob("*.png")):
        with Image.open(path) as image:
            image.crop((COLUMNS.start, ROWS.start, COLUMNS.stop, ROWS.stop)).save(path)
    cut = load_category("widget", tmp_path / "cut")
    wanted = evaluate(np.ascontiguousarray(maps.maps[:, ROWS, COLUMNS]), cut.test, maps.scores)
    found = evaluate(maps, widget.test)
    assert found.metrics == wanted.metrics and found.thresholds == wanted.thresholds
    assert found.intervals == wanted.intervals and found.per_defect == wanted.per_defect
    assert any("of the marked pixels are outside the region of interest" in note for note in found.notes)
    again = AnomalyMaps.load(maps.save(tmp_path / "maps.safetensors"), maps.frame)
    assert evaluate(again, widget.test).metrics == found.metrics


def test_a_saved_and_an_exported_detector_need_no_file_of_it(parts, roi_file, tmp_path):
    widget = load_category("widget", parts)
    detector = small(roi_file, 0.05).fit(widget.train, 0.2)
    wanted = detector.score(widget.test)
    model, graph = detector.save(tmp_path / "m.safetensors"), export(detector, tmp_path / "m.onnx")
    roi_file.unlink()
    for path in (model, graph):
        lines = score_files(path, [sample.image for sample in widget.test], device="cpu")
        assert [float(line.split()[0]) for line in lines] == pytest.approx(list(wanted.scores), rel=1e-3)
    again = load(model, device="cpu")
    assert np.array_equal(again.score(widget.test).maps, wanted.maps) and again.threshold_ == detector.threshold_
    assert np.array_equal(again.p_values(widget.test), detector.p_values(widget.test))


def test_a_model_file_without_its_region_is_refused(parts, roi_file, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    model = small(roi_file).fit(load_category("widget", parts).train).save(tmp_path / "m.safetensors")
    with safe_open(model, framework="pt") as file:
        header, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for damaged in ({}, {"roi": tensors["roi"][:32]}, {"roi": tensors["roi"].float()}):
        save_file({k: v for k, v in tensors.items() if k != "roi"} | damaged, model, header)
        with pytest.raises(ModelError, match="no region of interest of 64x64 pixels"):
            load(model, device="cpu")


def test_shares_of_images_are_fitted_with_it_and_merged(parts, roi_file):
    widget = load_category("widget", parts)
    whole = small(roi_file).fit(widget.train)
    first, second = (small(roi_file).partial_fit(own) for own in (widget.train[:5], widget.train[5:]))
    merged = first.merge(second)
    assert np.allclose(merged.score(widget.test).scores, whole.score(widget.test).scores, rtol=1e-4)
    assert merged.score(widget.test).roi.sum() == 40 * 36


def test_a_region_that_cannot_be_is_refused_in_one_line(parts, roi_file, tmp_path):
    widget = load_category("widget", parts)
    fitted = small(roi_file).fit(widget.train, 0.2)
    before = fitted.score(widget.test).scores
    for name in RECIPES:
        if RECIPES[name].source or name.startswith("efficientad"):
            with pytest.raises(OptionError, match="leave out the region of interest"):
                recipe(name, roi=roi_file)
    with pytest.raises(DataError, match="leaves nothing of the images to be judged"):
        small(write_roi(tmp_path / "black.png", columns=slice(0)))
    with pytest.raises(DataError, match="does not exist"):
        small(tmp_path / "none.png")
    write_roi(roi_file, size=(64, 80))
    with pytest.raises(DataError, match=r"differ in size \(80x64 and 64x64\)"):
        fitted.fit(widget.train)
    assert np.array_equal(fitted.score(widget.test).scores, before), "nothing was forgotten"
    empty = small(write_roi(tmp_path / "corner.png", slice(0, 4), slice(0, 4))).fit(widget.train)
    with pytest.raises(DataError, match="leaves out every marked pixel"):
        evaluate(empty.score(widget.test), widget.test)


def test_a_run_takes_roi_png_of_its_data_and_no_other_result(parts, tmp_path, capsys, no_kernel):
    out, beside = tmp_path / "out", parts / "widget" / "roi.png"
    command = ["run", "widget", "--data", str(parts), "--out", str(out), "--device", "cpu", "--size", "64"]
    command += ["--recipe", "padim-gabor"]

    def refused(*more):
        kept = {path.name: path.read_bytes() for path in out.glob("*") if path.is_file()}
        capsys.readouterr()
        assert main([*command, *more]) == 2
        assert {path.name: path.read_bytes() for path in out.glob("*") if path.is_file()} == kept
        (line,) = capsys.readouterr().err.splitlines()
        return line

    write_roi(beside)
    assert main(command) == 0
    record = json.loads((out / "record.json").read_text())
    assert record["settings"]["roi"].startswith("roi.png:") and 0 < record["facts"]["judged share of the image"] < 1
    assert main(command) == 0, "the same run again"
    write_roi(beside, rows=slice(8, 50))
    assert "holds a finished run with roi" in refused()
    assert "holds a finished run with roi" in refused("--roi", "none")
    write_roi(beside, size=(32, 32))
    assert "differ in size" in refused("--force")
    assert "does not exist" in refused("--force", "--roi", str(tmp_path / "typo.png"))
    published = [*command[:-4], "--recipe", "padim-r18-rd100", "--weights", "random", "--out", str(tmp_path / "p")]
    assert main(published) == 2 and "leave out the region of interest" in capsys.readouterr().err
    assert main([*command, "--force", "--roi", "none"]) == 0
    assert json.loads((out / "record.json").read_text())["settings"]["roi"] == ""
    chosen = write_roi(tmp_path / "chosen.png")
    assert main([*command, "--force", "--roi", str(chosen)]) == 0
    assert main(["compare", str(out)]) == 0 and "roi=chosen.png:" in capsys.readouterr().out
    assert main(["figures", str(out), "--out", str(tmp_path / "figures"), "--data", str(parts)]) == 0
    lines = list(score_files(out / "model.safetensors", [parts / "widget" / "test" / "spot"]))
    maps = AnomalyMaps.load(out / "maps.safetensors")
    widget = load_category("widget", parts)
    spots = maps.scores[[sample.defect == "spot" for sample in widget.test]]
    assert [float(line.split()[0]) for line in lines] == pytest.approx(list(spots), rel=1e-3)
    sweep = ["sweep", "--recipes", "padim-gabor", "--categories", "widget", "--data", str(parts), "--size", "64"]
    assert main([*sweep, "--roi", str(tmp_path / "typo.png"), "--out", str(tmp_path / "swept")]) == 1


def test_images_in_memory_are_judged_inside(parts, roi_file):
    widget = load_category("widget", parts)
    detector = small(roi_file).fit(widget.train)
    framed = np.concatenate(list(image_batches(widget.test, detector.settings.frame)))
    assert np.array_equal(detector.score_images(framed).scores, detector.score(widget.test).scores)
