"""Sums over images: the same whether streamed or merged, and no larger for more images."""

from itertools import pairwise

import pytest
import torch
from padim_drawing import LAYOUTS, draw

from padim_nb.errors import OptionError
from padim_nb.padim.grids import nesting
from padim_nb.padim.moments import Moments


def test_streamed_and_merged_moments_are_those_of_all_at_once():
    train = [layer + 50 for layer in draw(LAYOUTS["three layers"], 31)]  # raw sums of squares would lose digits
    whole = Moments.from_features(train)
    cuts = [0, 1, 8, 9, 20, 31]
    pieces = [[layer[a:b] for layer in train] for a, b in pairwise(cuts)]
    streamed = Moments.from_features(pieces[0])
    for piece in pieces[1:]:
        streamed.add(piece)
    merged = Moments.from_features(pieces[3]).merge(Moments.from_features(pieces[1]).add(pieces[0]))
    merged.merge(Moments.from_features(pieces[4]).add(pieces[2]))
    for other in (streamed, merged):
        assert other.count == 31
        for a, b in zip(whole.mean, other.mean, strict=True):
            assert torch.allclose(a, b, rtol=1e-6, atol=1e-6)
        for row, again in zip(whole.scatter, other.scatter, strict=True):
            for a, b in zip(row, again, strict=True):
                assert (a - b).abs().max() / a.abs().max() < 1e-6


def test_merging_leaves_the_other_as_it_was_and_copies_are_independent():
    train = draw(LAYOUTS["two layers, ratio 4"], 12)
    a, b = (Moments.from_features([layer[half] for layer in train]) for half in (slice(6), slice(6, None)))
    before = b.scatter[1][0].clone()
    copy = a.copy()
    a.merge(b)
    assert torch.equal(b.scatter[1][0], before)
    assert copy.count == 6
    assert not torch.equal(copy.mean[0], a.mean[0])


def test_memory_does_not_grow_with_the_number_of_images():
    moments = Moments.from_features(draw(LAYOUTS["three layers"], 4))
    before = [block.numel() for row in moments.scatter for block in row]
    for seed in range(5):
        moments.add(draw(LAYOUTS["three layers"], 4, seed))
    assert [block.numel() for row in moments.scatter for block in row] == before


def test_nested_positions_are_a_permutation_that_keeps_cells_together():
    orders = nesting(((2, 3), (4, 6), (8, 12)))
    for order, count in zip(orders, (6, 24, 96), strict=True):
        assert sorted(order.tolist()) == list(range(count))
    cells = {(int(p) // 12 // 4, int(p) % 12 // 4) for p in orders[2][:16]}
    assert len(cells) == 1


def test_features_of_other_shapes_are_refused():
    one = Moments.from_features(draw(LAYOUTS["one layer"], 1))
    with pytest.raises(OptionError, match="same backbone"):
        one.merge(Moments.from_features(draw(LAYOUTS["three layers"], 2)))
    with pytest.raises(OptionError, match="grids"):
        one.add(draw(LAYOUTS["three layers"], 2))
    with pytest.raises(OptionError, match="does not nest"):
        nesting(((2, 2), (5, 5)))
