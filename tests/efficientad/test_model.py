"""The graph from an image to its anomaly map: the borders, and where a patch comes out."""

import torch
from small_training import fresh
from torch.nn.functional import interpolate, pad

from padim_nb.efficientad.model import AnomalyMapModel
from padim_nb.features.backbones import normalized


def test_an_impulse_in_the_patch_map_comes_out_where_the_patch_was():
    for border in ("replicate", "zero", "raw-zero"):
        teacher, pair = fresh()
        model = AnomalyMapModel(teacher, pair, border, (256, 256))
        model.set_levels([(0.0, 0.1)] * 2)
        raw = torch.zeros(1, 2, 56, 56)
        raw[..., 20, 30] = 1.0
        model.raw = lambda _, raw=raw: raw
        top = model(None)[0].argmax().item()
        # The patch covers rows 80..112 and columns 120..152.
        assert abs(top // 256 - 96) <= 2
        assert abs(top % 256 - 136) <= 2


def test_the_border_rules_differ_only_at_the_border():
    teacher, pair = fresh()
    shown = torch.randint(0, 256, (1, 256, 256, 3), dtype=torch.uint8)
    maps = {}
    for border in ("replicate", "zero", "raw-zero"):
        model = AnomalyMapModel(teacher, pair, border, (256, 256))
        model.set_levels([(0.2, 0.5), (0.1, 0.3)])
        with torch.inference_mode():
            maps[border] = model(shown)[0]
    inner = slice(20, -20)
    assert torch.allclose(maps["zero"][inner, inner], maps["replicate"][inner, inner], atol=1e-6)
    assert torch.allclose(maps["raw-zero"][inner, inner], maps["replicate"][inner, inner], atol=1e-6)
    assert maps["zero"][0].abs().max() < 1e-6
    lowest = 0.5 * 0.1 * (-0.2 / 0.3) + 0.5 * 0.1 * (-0.1 / 0.2)
    assert torch.allclose(maps["raw-zero"][0], torch.tensor(lowest), atol=1e-5)
    assert (maps["replicate"][0] - maps["replicate"][20]).abs().max() < 1


def test_the_zero_border_is_nelson1425s_prediction_word_for_word():
    teacher, pair = fresh()
    images = torch.randint(0, 256, (2, 256, 256, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    (q_st_start, q_st_end), (q_ae_start, q_ae_end) = levels = [(0.2, 0.5), (0.1, 0.3)]
    model = AnomalyMapModel(teacher, pair, "zero", (256, 256))
    model.set_levels(levels)
    with torch.inference_mode():
        x = normalized(images.permute(0, 3, 1, 2).float() / 255)
        student_output = pair.student(x)
        map_st = torch.mean((teacher(x) - student_output[:, :384]) ** 2, dim=1, keepdim=True)
        map_ae = torch.mean((pair.autoencoder(x) - student_output[:, 384:]) ** 2, dim=1, keepdim=True)
        map_st = 0.1 * (map_st - q_st_start) / (q_st_end - q_st_start)
        map_ae = 0.1 * (map_ae - q_ae_start) / (q_ae_end - q_ae_start)
        combined = pad(0.5 * map_st + 0.5 * map_ae, (4, 4, 4, 4))
        wanted = interpolate(combined, (256, 256), mode="bilinear")[:, 0]
        assert torch.allclose(model(images), wanted, atol=1e-5)
        raw = model.raw(images)
        assert model.for_quantiles(raw) is raw, "quantiles of the patches themselves"
