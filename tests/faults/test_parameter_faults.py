"""Parameters and arguments in Python and in papermill: the exact exception and the words."""

from dataclasses import replace

import numpy as np
import pytest
from making import write_image

from padim_nb import errors
from padim_nb.data.images import Frame, load_image
from padim_nb.data.mvtec import load_category
from padim_nb.deploy.scoring import score_files
from padim_nb.detectors import load
from padim_nb.efficientad.detector import EfficientAD
from padim_nb.efficientad.settings import EfficientADSettings
from padim_nb.errors import CannotWrite, CategoryNotFound, DataError, ModelError, OptionError, WeightsError
from padim_nb.evaluation.report import evaluate
from padim_nb.evaluation.thresholds import conformal
from padim_nb.experiments.recipes import recipe
from padim_nb.experiments.settings import settings_from
from padim_nb.features.backbones import backbone
from padim_nb.features.weights import imagenet_file, read_state
from padim_nb.padim.detector import PaDiM
from padim_nb.padim.settings import PaDiMSettings, Selection
from padim_nb.textures import procedural_images
from padim_nb.twin import ensure

SMALL = PaDiMSettings("gabor", Frame((64, 64)), Selection("random", 20, 0))

PARAMETERS = [  # of run_category.ipynb, as papermill hands them over
    ({"categry": "cable"}, "no parameter 'categry'"),
    ({"Category": "cable"}, "did you mean 'category'"),
    ({"category": 3}, "category: input should be a valid string"),
    ({"category": None}, "category: input should be a valid string"),
    ({"category": ["cable"]}, "category: input should be a valid string"),
    ({"seed": "0"}, "seed: input should be a valid integer"),
    ({"seed": 1.0}, "seed: input should be a valid integer"),
    ({"seed": True}, "seed: input should be a valid integer"),
    ({"seed": -2}, "seed: input should be greater than or equal to -1"),
    ({"steps": -1}, "steps: input should be greater than or equal to 0"),
    ({"steps": "many"}, "steps: input should be a valid integer"),
    ({"recipe": "padim"}, "no recipe 'padim'"),
    ({"recipe": ""}, "no recipe ''"),
    ({"data": 0}, "data: input should be a valid string"),
    ({"out": None}, "out: input should be a valid string"),
    ({"device": False}, "device: input should be a valid string"),
    ({"size": "big"}, "a size is such as 512, or 512x768"),
    ({"size": 500}, "take 496x496"),
    ({"recipe": "padim-r18-rd100", "size": 512}, "leave out the size"),
]


@pytest.mark.parametrize(("given", "words"), PARAMETERS, ids=lambda value: str(value)[:40])
def test_a_wrong_parameter_is_refused_by_name(given, words):
    with pytest.raises(OptionError, match=words) as raised:
        settings_from(given)
    assert "\n" not in str(raised.value)


CALLS = {
    "no such backbone": (lambda w, t: backbone("resnet81"), OptionError, "did you mean 'resnet18'"),
    "formula takes no weights": (lambda w, t: backbone("gabor", "random"), OptionError, "takes no weights"),
    "weights that are not here": (lambda w, t: imagenet_file("wide_resnet50_2"), WeightsError, "weights get wide_res"),
    "no weights file": (lambda w, t: backbone("resnet18", str(w / "none.pth")), WeightsError, "no weights file"),
    "an image as weights": (lambda w, t: backbone("resnet18", str(w / "ok.png")), WeightsError, "refused|not a read"),
    "cut weights": (lambda w, t: read_state(w / "cut.safetensors"), WeightsError, "not a readable weights file"),
    "others' weights": (lambda w, t: backbone("resnet18", str(w / "foreign.safetensors")), WeightsError, "not fit"),
    "a detector as weights": (lambda w, t: backbone("resnet18", str(w / "model.safetensors")), WeightsError, "not fit"),
    "a folder as a model": (lambda w, t: load(w), ModelError, "no model file"),
    "no recipe": (lambda w, t: recipe("padim-r18"), OptionError, "did you mean 'padim-r18-rd100'"),
    "steps for PaDiM": (lambda w, t: recipe("padim-gabor", steps=3), OptionError, "no training steps"),
    "penalty for PaDiM": (lambda w, t: recipe("padim-gabor", penalty="procedural"), OptionError, "no penalty"),
    "no quirk": (lambda w, t: replace(SMALL, quirks=("x",)), OptionError, "no quirks.0 'x' .known: last batch"),
    "no form": (lambda w, t: replace(SMALL, form="low-rnk"), OptionError, "mean 'low-rank'"),
    "no selection": (lambda w, t: Selection("randm", 3), OptionError, "did you mean 'random'"),
    "no dimensions": (lambda w, t: Selection("random"), OptionError, "needs a number of dimensions"),
    "zero dimensions": (lambda w, t: Selection("random", 0), OptionError, "at least 1"),
    "too many dimensions": (lambda w, t: Selection("random", 900).embedding((64, 64)), OptionError, "d = 900 of 128"),
    "no resampling": (lambda w, t: Frame(resample="cubic"), OptionError, "no resample 'cubic' .did you mean 'bicubic'"),
    "a frame of nothing": (lambda w, t: Frame(0), OptionError, "resize: input should be greater"),
    "a frame of words": (lambda w, t: Frame(("a", "b")), OptionError, "resize.0: input should be a valid integer"),
    "a crop too large": (lambda w, t: Frame(32, 64), OptionError, "cannot cut 64x64"),
    "no border": (lambda w, t: EfficientADSettings(border="mirror"), OptionError, "no border 'mirror'"),
    "all held out": (lambda w, t: EfficientADSettings(held_out=1.0), OptionError, "held_out: input should be less"),
    "a false alarm of 1": (lambda w, t: conformal(np.arange(9.0), 1.0), OptionError, "share between 0 and 1"),
    "no training images": (lambda w, t: PaDiM.from_settings(SMALL, "cpu").fit([]), ModelError, "nothing to fit"),
    "one training image": (
        lambda w, t: PaDiM.from_settings(SMALL, "cpu").fit(load_category("widget", w / "root").train[:1]),
        ModelError,
        "at least 2 good images",
    ),
    "mixed sizes": (
        lambda w, t: PaDiM.from_settings(
            PaDiMSettings("gabor", Frame(64), Selection("random", 20, 0)), "cpu"
        ).fit(load_category("widget", w / "mixed").train),
        DataError,
        "zzz.png is 64x90 in this frame",
    ),
    "not fitted": (
        lambda w, t: PaDiM.from_settings(SMALL, "cpu").score(load_category("widget", w / "root").test),
        ModelError,
        "has not been fitted",
    ),
    "no device": (lambda w, t: PaDiM.from_settings(SMALL, "gpu"), OptionError, "'gpu'"),
    "a missing mask": (lambda w, t: load_category("widget", w / "maskless"), DataError, "has no mask: put it at"),
    "an empty category": (lambda w, t: load_category("widget", w / "hollow"), DataError, "no images in"),
    "a name that climbs": (lambda w, t: load_category("../widget", w / "root"), CategoryNotFound, "plain name"),
    "a name that is none": (lambda w, t: load_category(None, w / "root"), CategoryNotFound, "plain name"),
    "no such part": (lambda w, t: ensure("cabel"), CategoryNotFound, "did you mean 'cable'"),
    "a bomb": (lambda w, t: load_image(w / "vast.png"), DataError, "not a readable image"),
    "an empty image": (lambda w, t: load_image(w / "empty.png"), DataError, "not a readable image"),
    "too few maps": (
        lambda w, t: evaluate(np.zeros((1, 8, 8)), load_category("widget", w / "root").test),
        errors.PadimError,
        "maps",
    ),
    "maps of nan": (
        lambda w, t: evaluate(np.full((9, 64, 64), np.nan), load_category("widget", w / "root").test),
        errors.PadimError,
        "not finite|nan|finite",
    ),
    "no procedural images": (lambda w, t: procedural_images(0, 32), OptionError, "cannot render 0"),
    "names that clash": (
        lambda w, t: list(score_files(w / "model.safetensors", [w / "ok.png"] * 2, t, "cpu")),
        OptionError,
        "both be written",
    ),
    "results into a file": (
        lambda w, t: list(score_files(w / "model.safetensors", [w / "tall.png"], w / "ok.png", "cpu")),
        CannotWrite,
        "a file is in the way",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CALLS)
def test_a_wrong_call_raises_just_that_in_one_line(what, world, tmp_path):
    call, kind, words = CALLS[what]
    with pytest.raises(kind, match=words) as raised:
        call(world, tmp_path)
    assert "\n" not in str(raised.value)


def test_an_image_of_another_size_than_the_detectors_is_squashed_into_its_frame(world):
    assert len(list(score_files(world / "model.safetensors", [world / "ok.png", world / "tall.png"], None, "cpu"))) == 2


def test_a_small_image_for_efficientad_is_refused(world, tmp_path):
    write_image(tmp_path / "part" / "train" / "good" / "0.png", (32, 32))
    write_image(tmp_path / "part" / "train" / "good" / "1.png", (32, 32))
    settings = EfficientADSettings(weights="shipped", frame=Frame(32), penalty="none")
    fitted = EfficientAD.from_settings(settings, "cpu")
    with pytest.raises(OptionError, match="at least 256 px a side, not 32x32"):
        fitted.fit(load_category("part", tmp_path).train)
