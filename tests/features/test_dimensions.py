"""The seeds' exact dimensions; choosing early is choosing late."""

import hashlib

import numpy as np
import pytest
import reference
import torch

from padim_nb.errors import OptionError
from padim_nb.features.dimensions import random_dimensions, semi_orthogonal
from padim_nb.padim.settings import Selection

# total, d, seed: first indices, SHA-1 of the comma-joined list (where noted), channels chosen of each layer
PUBLISHED = [
    (
        (64, 128, 256),
        100,
        1024,
        [408, 9, 247, 435, 199, 165, 424, 405, 266, 51, 227, 262],
        "87ff159ee7fd",
        (18, 23, 59),
    ),
    (
        (256, 512, 1024),
        550,
        1024,
        [1632, 39, 990, 1740, 797, 661, 1698, 1623, 1782, 1064, 205, 911],
        "af11e7ce3b70",
        (82, 154, 314),
    ),
    ((64, 128, 256), 100, 42, [327, 57, 12, 379, 140, 125, 114, 71, 377, 52], None, (17, 29, 54)),
    ((256, 512, 1024), 550, 42, [1309, 228, 51, 1518, 563, 501, 457, 285, 1508, 209], None, (86, 155, 309)),
]


@pytest.mark.parametrize(("channels", "d", "seed", "first", "sha1", "counts"), PUBLISHED)
def test_random_dimensions_are_those_of_the_published_runs(channels, d, seed, first, sha1, counts):
    drawn = random_dimensions(sum(channels), d, seed)
    assert drawn[: len(first)] == first
    if sha1:
        assert hashlib.sha1(",".join(map(str, drawn)).encode()).hexdigest().startswith(sha1)
    assert tuple(map(len, Selection("random", d, seed).embedding(channels).chosen)) == counts


def test_choosing_before_up_sampling_keeps_the_same_channels():
    feature_maps = [torch.randn(2, c, s, s) for c, s in ((6, 8), (5, 4), (7, 2))]
    levels = Selection("random", 9, 3).embedding((6, 5, 7)).features(feature_maps)
    late = np.concatenate([reference.up(t.numpy(), (8, 8)) for t in feature_maps], 1)[
        :, sorted(random_dimensions(18, 9, 3))
    ]
    early = np.concatenate([reference.up(level.numpy(), (8, 8)) for level in levels], 1)
    assert sorted(map(tuple, early[0, :, ::3, 1])) == sorted(map(tuple, late[0, :, ::3, 1]))
    assert [tuple(level.shape[-2:]) for level in levels] == [(2, 2), (4, 4), (8, 8)]


def test_layers_of_one_grid_are_put_together_and_odd_grids_are_aligned():
    same = Selection("all").embedding((3, 4)).features([torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4, 4)])
    assert [tuple(level.shape) for level in same] == [(1, 7, 4, 4)]
    odd = [torch.arange(17 * 17.0).view(1, 1, 17, 17), torch.arange(81.0).view(1, 1, 9, 9)]
    (level,) = Selection("all").embedding((1, 1)).features(odd)
    assert level.shape == (1, 2, 17, 17)
    wanted = torch.nn.functional.interpolate(odd[1], size=(17, 17), mode="nearest")
    assert torch.equal(level[:, :1], wanted)


def test_semi_orthogonal_columns_are_orthonormal_and_seeded():
    w = semi_orthogonal(40, 12, 0)
    assert torch.allclose(w.T @ w, torch.eye(12), atol=1e-6)
    assert torch.equal(w, semi_orthogonal(40, 12, 0))
    assert not torch.equal(w, semi_orthogonal(40, 12, 1))
    feature_maps = [torch.randn(2, 30, 4, 4), torch.randn(2, 10, 2, 2)]
    (level,) = Selection("orthogonal", 12, 0).embedding((30, 10)).features(feature_maps)
    aligned = torch.cat([feature_maps[0], torch.nn.functional.interpolate(feature_maps[1], size=(4, 4))], 1)
    assert torch.allclose(level, torch.einsum("bchw,ck->bkhw", aligned, w), atol=1e-5)


@pytest.mark.parametrize("method", ["random", "all", "orthogonal"])
def test_a_selection_of_layers_ignores_the_others(method):
    feature_maps = [torch.randn(2, c, n, n) for c, n in ((6, 8), (5, 4), (7, 2))]
    both = Selection(method, 9, 3, layers=(1, 2)).embedding((6, 5, 7))
    alone = Selection(method, 9, 3).embedding((5, 7))
    for a, b in zip(both.features(feature_maps), alone.features(feature_maps[1:]), strict=True):
        assert torch.equal(a, b)
    assert both.d == alone.d
    with pytest.raises(OptionError, match="cannot choose d = 13 of 12 channels"):
        Selection("random", 13, layers=(1, 2)).embedding((6, 5, 7))


def test_impossible_dimensions_are_refused():
    with pytest.raises(OptionError, match="cannot choose d = 19 of 18 channels"):
        Selection("random", 19, 0).embedding((6, 5, 7))
    with pytest.raises(OptionError, match="at least 1"):
        Selection("random", 0)
    with pytest.raises(OptionError, match="did you mean 'orthogonal'"):
        Selection("ortogonal", 3)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:`torch.jit.trace`:FutureWarning")
def test_layers_on_one_grid_are_put_together_also_in_a_traced_graph():
    chosen = Selection("random", 9, 3).embedding((6, 5, 7))
    feature_maps = tuple(torch.rand(2, c, n, n) for c, n in ((6, 8), (5, 8), (7, 4)))
    wanted = chosen.features(feature_maps)
    assert len(wanted) == 2
    traced = torch.jit.trace(lambda *maps: tuple(chosen.features(maps)), feature_maps)
    assert all(torch.equal(a, b) for a, b in zip(traced(*feature_maps), wanted, strict=True))
