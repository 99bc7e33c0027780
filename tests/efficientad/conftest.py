"""Networks narrow enough for float64."""

import pytest

from padim_nb.efficientad import pdn


@pytest.fixture
def narrow(monkeypatch):
    """PDN-S with half of its channels, PDN-M with an eighth: grids and losses do not depend on them.

    PDN-S stays wide enough for Winograd's convolutions.
    """
    for size, divisor in (("small", 2), ("medium", 8)):
        layers = ((width and width // divisor, *others) for width, *others in pdn._LAYERS[size])
        monkeypatch.setitem(pdn._LAYERS, size, tuple(layers))
