"""A procedural twin of MVTec AD: the same fifteen categories and defect folders, rendered, never photographed.

Results on the twin say that code works and methods behave; they are not results on MVTec AD.
"""

from .scene import Part, Rendering, render
from .store import ensure, location, part, rendered, twin_root

__all__ = ["Part", "Rendering", "ensure", "location", "part", "render", "rendered", "twin_root"]
