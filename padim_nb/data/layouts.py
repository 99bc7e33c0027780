"""Where data sets have the images of one category: folders with other names than MVTec AD's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """Folders of one category, below its own.

    Args:
        train: of the good training images.
        test: has a folder for the good test images and one for each kind of defect.
        good: name of the folder of good test images.
        truth: has the masks of each kind of defect.
        validation: of the good images that are set aside for choices beside the training; MVTec AD and BTAD have none.
    """

    train: str = "train/good"
    test: str = "test"
    good: str = "good"
    truth: str = "ground_truth"
    validation: str = "validation/good"


MVTEC = Layout()  # also of MVTec LOCO AD, which has a folder of masks for each image
MVTEC_2 = Layout(test="test_public", truth="test_public/ground_truth")
BTAD = Layout(train="train/ok", good="ok")


def layout_of(folder: Path) -> Layout | None:
    """The layout of a category's folder; None where there are no training images."""
    for layout in (MVTEC_2, BTAD, MVTEC):
        if (folder / layout.train).is_dir() and (layout.test == "test" or (folder / layout.test).is_dir()):
            return layout
    return None
