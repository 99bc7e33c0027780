"""Procedural images of no object at all: EfficientAD's penalty images, and images to distill a teacher from.

They know nothing of the twin or of MVTec AD: no part, no defect and no photograph goes into them.
"""

from .programs import KINDS, Program, programs
from .store import procedural_images, version

__all__ = ["KINDS", "Program", "procedural_images", "programs", "version"]
