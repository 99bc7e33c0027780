"""The networks have the paper's sizes, grids and receptive field."""

import pytest
import torch
from small_training import fresh

from padim_nb.efficientad import pdn
from padim_nb.errors import OptionError


def parameters(network):
    return sum(each.numel() for each in network.parameters())


def test_the_networks_have_the_papers_parameters():
    assert parameters(pdn.teacher("small")) == 2_694_144
    assert parameters(pdn.student("small")) == 4_267_392
    assert parameters(pdn.teacher("medium")) == 8_026_624
    assert parameters(pdn.student("medium")) == 11_615_488
    assert parameters(pdn.autoencoder()) == 1_096_320
    with pytest.raises(OptionError, match="did you mean 'small'"):
        pdn.teacher("smal")


@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("size", ["small", "medium"])
def test_the_grids_of_all_networks_agree_at_any_size(size, padding, narrow):
    teacher, pair = fresh(size, padding=padding)
    for height, width in ((256, 256), (256, 310), (300, 257)):
        x = torch.zeros(1, 3, height, width)
        with torch.inference_mode():
            found = {tuple(net(x).shape[2:]) for net in (teacher, pair.student, pair.autoencoder)}
        assert found == {pdn.grid(height, width, padding)}
    assert pdn.grid(256, 256, padding) == ((64, 64) if padding else (56, 56))
    assert pdn.autoencoder(padding).sizes(256, 256)[:6] == [(n, n) for n in (3, 8, 15, 32, 63, 127)]


def test_a_patch_is_seen_through_33_pixels():
    teacher, _ = fresh()
    x = torch.rand(1, 3, 256, 256, dtype=torch.float64, requires_grad=True)
    teacher.double()(x)[0, :, 20, 30].sum().backward()
    rows, columns = (x.grad[0].abs().sum(0) > 0).nonzero().unbind(1)
    assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == 33
    assert (rows.min(), columns.min()) == (80, 120)
