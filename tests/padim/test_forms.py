"""The Gaussians of patches: exact in every layout, the same whether streamed, sharded or merged."""

from itertools import pairwise

import numpy as np
import pytest
import reference
import torch

from padim_nb.errors import ModelError, OptionError
from padim_nb.padim.gaussian import Moments, PatchGaussians, nesting
from padim_nb.padim.gaussian_file import from_tensors, to_tensors
from padim_nb.padim.low_rank import LowRankGaussians, is_cheaper

LAYOUTS = {
    "three levels": ((7, 2, 3), (5, 4, 6), (3, 8, 12)),
    "two levels, ratio 4": ((6, 2, 2), (4, 8, 8)),
    "one level": ((9, 5, 7),),
    "more channels than images": ((30, 2, 2), (25, 4, 4)),
    "one level, more channels than images": ((30, 3, 3),),
    "many cells": ((12, 3, 4), (5, 6, 8), (3, 12, 16)),
}


def draw(layout, n, seed=0):
    """Correlated features: levels [(n, c, h, w)], coarse to fine."""
    generator = torch.Generator().manual_seed(seed)
    levels = []
    for c, h, w in layout:
        mixing = torch.randn(c, c, generator=torch.Generator().manual_seed(c))
        levels.append(torch.einsum("nchw,cd->ndhw", torch.randn(n, c, h, w, generator=generator), mixing) * 0.7 + 2.0)
    return levels


def flat(levels):
    size = tuple(levels[-1].shape[-2:])
    return np.concatenate([reference.up(level.double().numpy(), size) for level in levels], 1).reshape(
        len(levels[0]), -1, size[0] * size[1]
    )


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_distances_equal_the_float64_reference(layout):
    train, test = draw(layout, 20), draw(layout, 4, seed=1)
    found = PatchGaussians.fit(Moments.of(train)).distances(test)
    wanted = reference.distances(flat(train), flat(test)).reshape(found.shape)
    assert np.abs(found.numpy() - wanted).max() / wanted.max() < 1e-4


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_thin_form_gives_the_same(layout):
    train, test = draw(layout, 9), draw(layout, 4, seed=1)
    found = LowRankGaussians.fit(train).distances(test)
    wanted = reference.distances(flat(train), flat(test)).reshape(found.shape)
    assert np.abs(found.numpy() - wanted).max() / wanted.max() < 1e-4
    assert torch.equal(
        LowRankGaussians.fit([torch.ones(5, 3, 2, 2)]).distances([torch.ones(1, 3, 2, 2)]), torch.zeros(1, 2, 2)
    )
    with pytest.raises(ModelError, match="at least 2 good images, not 1"):
        LowRankGaussians.fit(draw(layout, 1))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_thin_form_is_kept_whole_or_refused(layout):
    fitted, test = LowRankGaussians.fit(draw(layout, 9)), draw(layout, 4, seed=1)
    kept, d = to_tensors(fitted), sum(c for c, _, _ in layout)
    again = from_tensors(kept, fitted.grids, d, fitted.eps, "cpu")
    assert torch.equal(again.distances(test), fitted.distances(test))
    for name, tensor in kept.items():
        with pytest.raises((KeyError, ValueError)):
            from_tensors({key: kept[key] for key in kept if key != name}, fitted.grids, d, fitted.eps, "cpu")
        for broken in (tensor[1:], tensor[..., 1:]):
            with pytest.raises((KeyError, ValueError)):
                from_tensors(kept | {name: broken}, fitted.grids, d, fitted.eps, "cpu")


def test_thin_is_cheaper_for_few_images_and_many_channels_only():
    net1 = [torch.empty(1, 500, 7, 7), torch.empty(1, 500, 14, 14)]
    r18 = [torch.empty(1, 59, 14, 14), torch.empty(1, 23, 28, 28), torch.empty(1, 18, 56, 56)]
    assert is_cheaper(net1, 60)
    assert not is_cheaper(net1, 2000)
    assert not is_cheaper(r18, 60), "its sums are small enough for float64"
    wr50 = [torch.empty(1, 314, 14, 14), torch.empty(1, 154, 28, 28), torch.empty(1, 82, 56, 56)]
    assert is_cheaper(wr50, 209)
    assert not is_cheaper(wr50, 390), "fewer operations, but more numbers to keep"
    assert not is_cheaper(wr50, 2000)


def test_streamed_sharded_merged_and_remaining_moments_are_those_of_all_at_once():
    train = draw(LAYOUTS["three levels"], 31)
    train = [level + 50 for level in train]  # far from zero: raw sums of squares would lose digits
    whole = Moments.of(train)
    cuts = [0, 1, 8, 9, 20, 31]
    pieces = [[level[a:b] for level in train] for a, b in pairwise(cuts)]
    streamed = Moments.of(pieces[0])
    for piece in pieces[1:]:
        streamed.add(piece)
    merged = Moments.of(pieces[3]).merge(Moments.of(pieces[1]).add(pieces[0]))
    merged.merge(Moments.of(pieces[4]).add(pieces[2]))
    left = Moments.of([torch.cat([level, level[3:9] - 20]) for level in train]).without([t[3:9] - 20 for t in train])
    for other in (streamed, merged, left):
        assert other.count == 31
        for a, b in zip(whole.mean, other.mean, strict=True):
            assert torch.allclose(a, b, rtol=1e-6, atol=1e-6)
        for row, again in zip(whole.scatter, other.scatter, strict=True):
            for a, b in zip(row, again, strict=True):
                assert (a - b).abs().max() / a.abs().max() < 1e-6


def test_taking_pictures_out_leaves_the_whole_alone():
    train = draw(LAYOUTS["two levels, ratio 4"], 12)
    whole = Moments.of(train)
    kept = whole.copy()
    whole.without([t[:5] for t in train])
    assert whole.count == 12
    assert torch.equal(whole.mean[1], kept.mean[1])
    assert torch.equal(whole.scatter[1][0], kept.scatter[1][0])


def test_merging_leaves_the_other_alone_and_copies_are_independent():
    train = draw(LAYOUTS["two levels, ratio 4"], 12)
    a, b = Moments.of([t[:6] for t in train]), Moments.of([t[6:] for t in train])
    before = b.scatter[1][0].clone()
    kept = a.copy()
    a.merge(b)
    assert torch.equal(b.scatter[1][0], before)
    assert kept.count == 6
    assert not torch.equal(kept.mean[0], a.mean[0])


def test_memory_does_not_grow_with_the_number_of_images():
    moments = Moments.of(draw(LAYOUTS["three levels"], 4))
    held = [t.numel() for row in moments.scatter for t in row]
    for seed in range(5):
        moments.add(draw(LAYOUTS["three levels"], 4, seed))
    assert [t.numel() for row in moments.scatter for t in row] == held


def test_coarse_blocks_are_shared():
    gaussians = PatchGaussians.fit(Moments.of(draw(((59, 14, 14), (23, 28, 28), (18, 56, 56)), 4)))
    dense = 56 * 56 * 100 * 100 * 4
    assert gaussians.bytes < dense / 3.5


def test_a_constant_feature_is_no_trouble_and_its_own_mean_is_at_distance_zero():
    train = [torch.ones(5, 3, 2, 2)]
    gaussians = PatchGaussians.fit(Moments.of(train))
    assert torch.equal(gaussians.distances(train), torch.zeros(5, 2, 2))
    off = gaussians.distances([torch.ones(1, 3, 2, 2) + 0.1])
    assert torch.allclose(off, torch.tensor((3 * 0.01 / 0.01) ** 0.5))


def test_nested_positions_are_a_permutation_that_keeps_cells_together():
    orders = nesting([(2, 3), (4, 6), (8, 12)])
    for order, count in zip(orders, (6, 24, 96), strict=True):
        assert sorted(order.tolist()) == list(range(count))
    cells = {(int(p) // 12 // 4, int(p) % 12 // 4) for p in orders[2][:16]}
    assert len(cells) == 1


def test_what_cannot_be_is_refused():
    one = Moments.of(draw(LAYOUTS["one level"], 1))
    with pytest.raises(ModelError, match="at least 2 good images, not 1"):
        PatchGaussians.fit(one)
    with pytest.raises(OptionError, match="same backbone"):
        one.merge(Moments.of(draw(LAYOUTS["three levels"], 2)))
    with pytest.raises(OptionError, match="grids"):
        one.add(draw(LAYOUTS["three levels"], 2))
    with pytest.raises(OptionError, match="does not nest"):
        nesting([(2, 2), (5, 5)])
    bad = draw(LAYOUTS["one level"], 4)
    bad[0][0, 0, 0, 0] = float("nan")
    with pytest.raises(ModelError, match="not positive definite"):
        PatchGaussians.fit(Moments.of(bad))
