"""The bank: procedural programs, each a family of abstract pictures, from which networks learn to see.

It knows nothing of the twin or of MVTec AD: no part, no defect, no photograph goes into it.
"""

from .programs import KINDS, Program, programs
from .store import procedural_images, version

__all__ = ["KINDS", "Program", "procedural_images", "programs", "version"]
