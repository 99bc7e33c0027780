"""Anomaly maps and image scores stay together: sliced, copied, pickled, saved."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch.nn.functional import interpolate

from padim_nb.data.images import Frame
from padim_nb.data.maps import AnomalyMaps
from padim_nb.errors import DataError, ModelError, OptionError

FRAME = Frame((4, 5))


@pytest.fixture
def maps():
    """Three maps whose scores are not their largest values."""
    return AnomalyMaps.of(np.random.default_rng(0).random((3, 4, 5)), FRAME, np.array([0.3, 0.1, 0.2]))


def test_scores_are_the_largest_values_unless_given():
    array = np.random.default_rng(0).random((3, 4, 5))
    np.testing.assert_array_equal(AnomalyMaps.of(array).scores, array.astype(np.float32).max((1, 2)))
    assert AnomalyMaps.of(array).maps.dtype == np.float32
    assert torch.from_numpy(np.asarray(AnomalyMaps.of(array))).shape == (3, 4, 5)


@pytest.mark.parametrize(
    "change",
    [
        lambda maps, _: maps[:],
        lambda maps, _: maps[np.ones(3, dtype=bool)],
        lambda maps, _: maps[[0, 1, 2]],
        lambda maps, _: AnomalyMaps.joined([maps[:1], maps[1:]], (4, 5), FRAME),
        lambda maps, _: copy.deepcopy(maps),
        lambda maps, _: pickle.loads(pickle.dumps(maps)),
        lambda maps, folder: AnomalyMaps.load(maps.save(folder / "maps.safetensors"), FRAME),
    ],
    ids=["slice", "mask", "list", "joined", "copy", "pickle", "file"],
)
def test_scores_and_frame_go_where_the_maps_go(maps, tmp_path, change):
    changed = change(maps, tmp_path)
    np.testing.assert_array_equal(changed.maps, maps.maps)
    np.testing.assert_array_equal(changed.scores, [0.3, 0.1, 0.2])
    assert changed.frame == FRAME


def test_one_number_gives_one_map_and_several_give_their_scores(maps):
    assert maps[1].shape == (4, 5) and len(maps) == 3 and maps.shape == (3, 4, 5)
    np.testing.assert_array_equal(maps[[2, 0]].scores, [0.2, 0.3])
    none = AnomalyMaps.joined([], (4, 5), FRAME)
    assert none.shape == (0, 4, 5) and none.scores.shape == (0,)


def test_files_without_scores_and_broken_ones_are_refused(tmp_path):
    array = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    save_file({"maps": array}, tmp_path / "unscored.safetensors")
    save_file({"maps": array[0], "scores": array.max((1, 2))}, tmp_path / "flat.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(b"x")
    for name in ("unscored", "flat", "damaged", "missing"):
        with pytest.raises(DataError, match=rf"{name}\.safetensors holds no anomaly maps"):
            AnomalyMaps.load(tmp_path / f"{name}.safetensors")


def test_values_that_are_no_numbers_are_refused(maps):
    assert maps.expect_finite() is maps
    with pytest.raises(ModelError, match="not finite"):
        AnomalyMaps.of(np.full((1, 2, 2), np.nan)).expect_finite()


def test_maps_are_put_into_the_size_of_the_files(maps):
    whole = replace(maps, frame=Frame((4, 5)))
    large = whole.resized(8, 15)
    wanted = interpolate(torch.from_numpy(maps.maps)[:, None], (8, 15), mode="bilinear", align_corners=False)[:, 0]
    np.testing.assert_allclose(large.maps, wanted.numpy(), rtol=1e-5)
    np.testing.assert_array_equal(large.scores, maps.scores)
    assert large.frame == Frame((8, 15))
    with pytest.raises(OptionError, match="leave out what the crop cut off"):
        replace(maps, frame=Frame((8, 8), crop=4)).resized(8, 8)
