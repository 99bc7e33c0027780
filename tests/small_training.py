"""EfficientAD small enough for a test: networks and teachers with random weights, three steps, narrow layers."""

import torch
from making import write_image
from safetensors.torch import save_file

from padim_nb.efficientad import pdn
from padim_nb.efficientad.settings import EfficientADSettings, Training

# The layers of PDN-S with an eighth of their channels: what stops, resumes and is written does not depend on them.
NARROW = ((16, 4, 3, True), (32, 4, 3, True), (32, 3, 1, False), (None, 4, 0, False))


def teacher_in(folder):
    torch.manual_seed(0)
    path = folder / "teacher.safetensors"
    save_file({key: value.contiguous() for key, value in pdn.teacher("small").state_dict().items()}, path)
    return path


def quick_in(folder):
    """Settings of a training of three steps, with a folder of penalty pictures."""
    for number in range(2):
        write_image(folder / "others" / f"{number}.png", (300, 280), seed=number)
    weights, others = str(teacher_in(folder)), str(folder / "others")
    return EfficientADSettings(weights=weights, training=Training(steps=3), penalty=others)


def fresh(size="small", seed=0, padding=False):
    torch.manual_seed(seed)
    return pdn.teacher(size, padding), pdn.Pair(pdn.student(size, padding), pdn.autoencoder(padding))
