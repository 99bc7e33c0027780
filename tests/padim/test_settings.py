"""Settings are checked where they are made; a wrong one is one line. Reading them needs no torch."""

import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from padim_nb.data.images import Frame
from padim_nb.efficientad.settings import Training
from padim_nb.errors import OptionError
from padim_nb.padim.settings import PaDiMSettings, Selection
from padim_nb.util.validation import from_plain

SETTINGS = PaDiMSettings("gabor", Frame((64, 64)), Selection("random", 20, 0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"border": "zzz"}, "no border 'zzz'"),
        ({"upsample": "cubic"}, "did you mean 'bicubic'"),
        ({"form": "lowrank"}, "did you mean 'low-rank'"),
        ({"eps": 0}, "eps: input should be greater than 0, not 0"),
        ({"eps": float("nan")}, "eps"),
        ({"sigma": -1}, "sigma"),
        ({"sigma": 1000}, "sigma"),
        ({"batch": 0}, "batch: input should be greater than or equal to 1, not 0"),
        ({"batch": 2.5}, "batch"),
        ({"seed": "zero"}, "seed"),
        ({"quirks": ("smallest distnce",)}, "did you mean 'smallest distance'"),
        ({"quirks": "smallest distance"}, "quirks"),
        ({"frame": 64}, "frame"),
        ({"selection": "all"}, "selection"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(change, message):
    with pytest.raises(OptionError, match=message) as error:
        replace(SETTINGS, **change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("randm", 3), "did you mean 'random'"),
        (("random",), "needs a number of dimensions d of at least 1, not None"),
        (("random", 0), "at least 1, not 0"),
        (("random", 2.5), "d: "),
        (("all", None, "x"), "seed: "),
        (("all", None, 0, "layer1"), "layers: "),
    ],
)
def test_a_wrong_selection_is_one_line(values, message):
    with pytest.raises(OptionError, match=message):
        Selection(*values)


@pytest.mark.parametrize("layers", [(), (2, 1), (1, 1), (0, 3), (-1, 0)])
def test_layers_that_a_backbone_does_not_have_are_refused(layers):
    with pytest.raises(OptionError, match=r"cannot use layers .* of 3"):
        Selection("all", layers=layers).embedding((6, 5, 7))


def test_settings_are_read_back_from_plain_values():
    settings = replace(SETTINGS, quirks=("smallest distance",), selection=Selection("all", layers=(1, 2)))
    plain = asdict(settings)
    assert from_plain(PaDiMSettings, plain) == settings
    plain["frame"]["resize"] = list(plain["frame"]["resize"])
    assert from_plain(PaDiMSettings, plain) == settings
    with pytest.raises(OptionError, match="backbon"):
        from_plain(PaDiMSettings, plain | {"backbon": "gabor"})


def test_settings_need_no_torch():
    program = "import sys, padim_nb.padim.settings, padim_nb.experiments.recipes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("seed", [-1, 2**63, 2**70])
def test_seeds_that_no_generator_takes_are_refused(seed):
    for make in (
        lambda: replace(SETTINGS, seed=seed),
        lambda: Selection("random", 20, seed),
        lambda: Training(seed=seed),
    ):
        with pytest.raises(OptionError, match=r"seed: .*(less|greater) than"):
            make()
