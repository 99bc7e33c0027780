"""Networks narrow enough for float64."""

import pytest

from padim_nb.efficientad import pdn


@pytest.fixture
def narrow_medium(monkeypatch):
    """PDN-M with an eighth of its channels: grids and terms do not depend on them, and float64 takes its time."""
    layers = ((width and width // 8, *others) for width, *others in pdn._LAYERS["medium"])
    monkeypatch.setitem(pdn._LAYERS, "medium", tuple(layers))
