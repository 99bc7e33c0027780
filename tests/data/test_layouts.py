"""Other data sets' layouts and tables of one's own: whole, broken and empty ones."""

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import reference
from making import write_image as write_noise
from making import write_mask
from PIL import Image

from padim_nb import evaluate, load_category, recipe
from padim_nb.cli import main
from padim_nb.data.check import check, status
from padim_nb.data.contents import contents_of
from padim_nb.data.images import Frame, load_mask, masks
from padim_nb.data.maps import AnomalyMaps
from padim_nb.errors import CategoryNotFound, DataError, OptionError
from padim_nb.experiments.run import detector_of
from padim_nb.experiments.settings import RunSettings

SIZE = (32, 40)
SEEDS = itertools.count()


def write_image(path: Path, size) -> Path:
    """An image of noise like no other: copies are a problem of their own."""
    return write_noise(path, size, seed=next(SEEDS))


def write_loco(root: Path) -> None:
    box = root / "breakfast_box"
    for place, count in (("train/good", 3), ("validation/good", 2), ("test/good", 2)):
        for number in range(count):
            write_image(box / place / f"{number:03d}.png", SIZE)
    for defect in ("logical_anomalies", "structural_anomalies"):
        for number in range(2):
            write_image(box / "test" / defect / f"{number:03d}.png", SIZE)
            for region in range(2):
                write_mask(box / "ground_truth" / defect / f"{number:03d}" / f"{region:03d}.png", SIZE)
    several = box / "ground_truth" / "logical_anomalies" / "000"
    shifted = np.roll(load_mask(several / "000.png"), 5, axis=1).astype(np.uint8) * 7  # the values name kinds
    Image.fromarray(shifted).save(several / "001.png")


def kind(value: int, threshold: float, relative: bool) -> dict:
    return {
        "defect_name": f"kind_{value}",
        "pixel_value": value,
        "saturation_threshold": threshold,
        "relative_saturation": relative,
    }


KINDS = [kind(255, 0.3, True), kind(7, 50, False)]  # of write_loco's masks, of 120 pixels each


def write_config(root: Path, entries=KINDS) -> Path:
    config = root / "breakfast_box" / "defects_config.json"
    config.write_text(json.dumps(entries), encoding="utf-8")
    return config


def write_ad_2(root: Path) -> None:
    can = root / "can"
    for place in ("train/good", "validation/good", "test_public/good", "test_public/bad", "test_private"):
        for number in range(2):
            write_image(can / place / f"{number:03d}_regular.png", SIZE)
    for number in range(2):
        write_mask(can / "test_public" / "ground_truth" / "bad" / f"{number:03d}_regular_mask.png", SIZE)


def write_btad(root: Path) -> None:
    product = root / "01"
    for place in ("train/ok", "test/ok", "test/ko"):
        for number in range(2):
            write_image(product / place / f"{number:04d}.bmp", SIZE)
    for number in range(2):
        write_mask(product / "ground_truth" / "ko" / f"{number:04d}.png", SIZE)


def write_visa(root: Path) -> None:
    rows = []
    for name in ("candle", "pcb1"):
        for number, (split, label) in enumerate([("train", "normal")] * 2 + [("test", "normal"), ("test", "anomaly")]):
            kind = "Normal" if label == "normal" else "Anomaly"
            image, mask = f"{name}/Data/Images/{kind}/{number:04d}.JPG", ""
            write_image(root / image, SIZE)
            if label == "anomaly":
                mask = f"{name}/Data/Masks/Anomaly/{number:03d}.png"
                write_mask(root / mask, SIZE)
            rows.append([name, split, label, image, mask])
    write_table(root / "split_csv" / "1cls.csv", rows, ["object", "split", "label", "image", "mask"])


def write_own(root: Path) -> Path:
    rows = []
    for number in range(6):
        image = write_image(root / "photos" / f"{number}.png", SIZE)
        label = "good" if number < 5 else "scratch"
        rows.append([image.relative_to(root), "train" if number < 4 else "test", label, ""])
    rows[-1][-1] = write_mask(root / "drawn" / "5.png", SIZE).relative_to(root)
    return write_table(root / "parts.csv", rows)


def write_table(path: Path, rows, columns=("image", "split", "label", "mask")) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([columns, *rows])
    return path


WRITERS = {
    "breakfast_box": (write_loco, 3, ["good"] * 2 + ["logical_anomalies"] * 2 + ["structural_anomalies"] * 2),
    "can": (write_ad_2, 2, ["good"] * 2 + ["bad"] * 2),
    "01": (write_btad, 2, ["good"] * 2 + ["ko"] * 2),
    "pcb1": (write_visa, 2, ["good", "anomaly"]),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_whole_category_is_read_checked_and_listed(name, tmp_path, monkeypatch):
    write, train, test = WRITERS[name]
    write(tmp_path)
    category = load_category(name, tmp_path)
    assert (category.name, category.source, len(category.train)) == (name, "folder", train)
    assert [sample.defect for sample in category.test] == test
    assert [sample.label for sample in category.test] == [int(defect != "good") for defect in test]
    marked = masks(category.test, Frame(SIZE)).any(axis=(1, 2))
    assert category.has_masks and marked.tolist() == [defect != "good" for defect in test]
    report = check(tmp_path)
    assert report.ok and (report.categories[-1].train, report.categories[-1].good) == (train, test.count("good"))
    monkeypatch.setenv("PADIM_NB_DATA", str(tmp_path))
    assert name in status()


def test_masks_of_one_image_are_joined(tmp_path):
    write_loco(tmp_path)
    sample = next(s for s in load_category("breakfast_box", tmp_path).test if s.label)
    both = load_mask(sample.mask)
    first, second = (load_mask(sample.mask / f"00{number}.png") for number in (0, 1))
    assert first.any() and not np.array_equal(first, second)
    np.testing.assert_array_equal(both, first | second)


@pytest.mark.parametrize(
    ("frame", "areas"),  # of a region with the value 255 and of the one with 7, in the frame's pixels
    [(Frame(SIZE), (36, 50)), (Frame((16, 20)), (9, 12.5)), (Frame(SIZE, (16, 20)), (36, 125 / 3)), (None, (36, 50))],
)
def test_regions_of_loco_saturate_as_their_config_says(frame, areas, tmp_path):
    write_loco(tmp_path)
    folder = tmp_path / "breakfast_box" / "ground_truth" / "logical_anomalies" / "000"
    shifted = np.zeros(SIZE, dtype=np.uint8)
    shifted[10:20, 20:32] = 7  # the crop cuts off two columns of it
    Image.fromarray(shifted).save(folder / "001.png")
    write_config(tmp_path)
    test = load_category("breakfast_box", tmp_path).test
    truth = masks(test, frame or Frame(SIZE))
    maps = (np.random.default_rng(0).normal(size=truth.shape) + truth).astype(np.float32).round(1)
    report = evaluate(AnomalyMaps.of(maps, frame) if frame else maps, test)
    regions = []
    for sample, scores in zip(test, maps, strict=True):
        for file in sorted(sample.mask.iterdir()) if sample.mask else ():
            mask = (frame or Frame(SIZE)).apply_mask(load_mask(file))
            regions.append((scores[mask], areas[file == folder / "001.png"]))
    assert len(regions) == 8
    for name, limit in {"auspro": 0.3, "auspro_05": 0.05}.items():
        value = reference.saturated_overlap(maps[~truth], regions, limit)
        assert report.metrics[name] == pytest.approx(value, abs=1e-9)
        assert f"\n{name:<13}  {value:.3f}\n" in str(report) and report.as_dict()["metrics"][name] is not None
    assert [row.defect for row in report.per_defect] == ["logical_anomalies", "structural_anomalies"]
    assert all(row.image_auroc is not None for row in report.per_defect)
    chosen = np.arange(6) < 4  # logical anomalies and good images, as MVTec's script judges them
    logical = evaluate(AnomalyMaps.of(maps, frame)[chosen], test[:4])
    value = reference.saturated_overlap(maps[:4][~truth[:4]], regions[:4], 0.05)
    assert logical.metrics["auspro_05"] == pytest.approx(value, abs=1e-9)


def test_regions_outside_the_frame_do_not_count_and_without_a_config_there_is_no_saturated_overlap(tmp_path):
    write_loco(tmp_path)
    test = load_category("breakfast_box", tmp_path).test
    maps = AnomalyMaps.of(np.random.default_rng(0).normal(size=(6, 6, 6)), Frame(SIZE, 6))  # ends at row 19, column 23
    plain = evaluate(maps, test)
    assert "auspro" not in plain.metrics
    config = write_config(tmp_path)
    corner = np.zeros(SIZE, dtype=np.uint8)
    corner[:3, :3] = 7
    Image.fromarray(corner).save(test[2].mask / "001.png")
    with_corner = evaluate(maps, test)
    (test[2].mask / "001.png").unlink()
    assert with_corner.metrics == evaluate(maps, test).metrics
    config.unlink()
    assert evaluate(maps, test).metrics == plain.metrics


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("{", r"defects_config\.json is not readable \(.*\): take it from the data set's archive again"),
        ("[3]", "is not readable"),
        (KINDS[:1], r"001\.png holds the pixel values \[7\]: give it one that .*defects_config\.json lists \(255\)"),
        ([KINDS[0], kind(7, -1, False)], "1.saturation_threshold: input should be greater than 0, not -1"),
        ([KINDS[0], kind(7, float("nan"), True)], "1.saturation_threshold: input should be a finite number, not nan"),
        ([{"pixel_value": 7}], "field required"),
    ],
)
def test_a_wrong_config_of_loco_is_one_line(config, words, tmp_path):
    write_loco(tmp_path)
    path = write_config(tmp_path, config)
    if isinstance(config, str):
        path.write_text(config, encoding="utf-8")
    test = load_category("breakfast_box", tmp_path).test
    with pytest.raises(DataError, match=words) as error:
        evaluate(np.random.default_rng(0).normal(size=(6, *SIZE)), test)
    assert "\n" not in str(error.value)
    assert check(tmp_path).problems == (str(error.value),)


def test_a_mask_of_loco_with_two_pixel_values_is_one_line(tmp_path):
    write_loco(tmp_path)
    write_config(tmp_path)
    test = load_category("breakfast_box", tmp_path).test
    both = load_mask(test[2].mask / "000.png").astype(np.uint8) * 7
    both[12, 12:15] = 255
    Image.fromarray(both).save(test[2].mask / "000.png")
    with pytest.raises(DataError, match=r"000\.png holds the pixel values \[7, 255\]"):
        evaluate(np.zeros((6, *SIZE)), test)


def test_a_table_of_ones_own_is_read_fitted_and_judged(tmp_path):
    table = write_own(tmp_path)
    part = load_category("any-name", table)
    assert (part.name, part.root, len(part.train), [s.defect for s in part.test]) == (
        "any-name", tmp_path, 4, ["good", "scratch"],
    )  # fmt: skip
    maps = recipe("padim-gabor", device="cpu").fit(part.train).score(part.test)
    assert evaluate(maps, part.test).metrics["pixel_auroc"] is not None
    assert check(table).ok and "parts" in str(check(table))
    assert main(["data", "check", str(table)]) == 0


def test_a_table_without_masks_gives_image_metrics_only(tmp_path):
    write_own(tmp_path)
    rows = [[f"photos/{n}.png", "train" if n < 4 else "test", "good" if n < 5 else "dent"] for n in range(6)]
    part = load_category("part", write_table(tmp_path / "few.csv", rows, ["image", "split", "label"]))
    assert not part.has_masks and part.test[-1].mask is None


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (["photos/9.png", "train", "good", ""], r"parts\.csv, line 8: no image .*9\.png: give its path below"),
        (["", "train", "good", ""], "line 8: no image"),
        (["photos/1.png", "tset", "good", ""], "line 8: the split is train or test, not 'tset'"),
        (["photos/1.png", "train", "dent", ""], "line 8: .*only good images are learned from: give it the split test"),
        (["photos/1.png", "test", "dent", "none.png"], r"line 8: .*none\.png does not exist"),
        (["photos/1.png", "test", "dent", "small.png"], "line 8: .*differ in size"),
        (["photos/9.png", "test", "", ""], "line 8: no image"),
        (["photos/5.png", "test", "", ""], r"line 8: .*5\.png has no label: write good, or the name of its defect"),
        (["photos/1.png"], "line 8: the split is train or test, not ''"),
    ],
)
def test_a_wrong_row_is_named_with_its_line(row, words, tmp_path):
    table = write_own(tmp_path)
    write_mask(tmp_path / "small.png", (30, 30))
    with open(table, "a", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerow(row)
    with pytest.raises(DataError, match=words) as error:
        load_category("part", table)
    assert "\n" not in str(error.value)
    assert not check(table).ok


def test_a_table_that_is_none_or_lists_nothing_is_refused(tmp_path):
    wrong = {
        "empty.csv": (b"", "has no column 'image'"),
        "other.csv": (b"a,b\n1,2\n", "has no column 'image'"),
        "bytes.csv": (b"image,split,label\n\xff\xfe,train,good\n", "is not a readable CSV file"),
        "bare.csv": (b"image,split,label\n", "no category 'part'"),
    }
    for name, (content, words) in wrong.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises((DataError, CategoryNotFound), match=words) as error:
            load_category("part", tmp_path / name)
        assert "\n" not in str(error.value)
    write_own(tmp_path)
    tested = write_table(tmp_path / "tested.csv", [["photos/1.png", "test", "good", ""]])
    with pytest.raises(DataError, match="lists no training images of part"):
        load_category("part", tested)
    write_visa(tmp_path / "visa")
    with pytest.raises(CategoryNotFound, match="did you mean 'candle'"):
        load_category("candel", tmp_path / "visa")
    with pytest.raises(OptionError, match="no twin of kind"):
        load_category("part", "twin:x.csv")


def test_broken_and_empty_folders_are_refused_in_one_line(tmp_path):
    write_loco(tmp_path / "loco")
    folder = tmp_path / "loco" / "breakfast_box" / "ground_truth" / "logical_anomalies" / "001"
    write_mask(folder / "001.png", (8, 8))
    with pytest.raises(DataError, match=r"001/001\.png and its image .* differ in size"):
        load_category("breakfast_box", tmp_path / "loco")
    assert len(check(tmp_path / "loco").problems) == 1
    write_ad_2(tmp_path / "ad2")
    (tmp_path / "ad2" / "can" / "test_public" / "ground_truth" / "bad" / "000_regular_mask.png").unlink()
    with pytest.raises(DataError, match=r"000_regular\.png has no mask: put it at .*000_regular_mask\.png"):
        load_category("can", tmp_path / "ad2")
    (tmp_path / "btad" / "01" / "train" / "ok").mkdir(parents=True)
    (tmp_path / "btad" / "01" / "test").mkdir()
    with pytest.raises(DataError, match=r"no images in .*train/ok"):
        load_category("01", tmp_path / "btad")
    assert "train/ok has no images" in str(check(tmp_path / "btad"))
    write_visa(tmp_path / "visa")
    (tmp_path / "visa" / "candle" / "Data" / "Images" / "Normal" / "0000.JPG").write_text("hello")
    assert "0000.JPG is not a readable image" in str(check(tmp_path / "visa"))


def test_good_images_that_a_data_set_sets_aside_are_its_validation_images(tmp_path, parts):
    write_loco(tmp_path)
    box = load_category("breakfast_box", tmp_path)
    names = [sample.image.relative_to(box.root).as_posix() for sample in box.validation]
    assert names == ["validation/good/000.png", "validation/good/001.png"]
    assert {sample.label for sample in box.validation} == {0}
    assert not set(box.validation) & {*box.train, *box.test}
    before = contents_of(box)
    write_image(box.root / "validation" / "good" / "000.png", SIZE)
    assert contents_of(box) != before, "a run's results depend on them"
    assert load_category("widget", parts).validation == ()


def test_a_run_holds_out_the_validation_images(tmp_path):
    write_loco(tmp_path)
    settings = RunSettings("breakfast_box", "least-squares-student", data=str(tmp_path), device="cpu")
    detector = detector_of(settings, settings.load())
    assert [sample.image.parent.parent.name for sample in detector.validation] == ["validation"] * 2
    learned, held_out, _ = detector._thirds(load_category("breakfast_box", tmp_path).train)
    assert (len(learned), held_out) == (3, list(detector.validation))
