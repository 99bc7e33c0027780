"""Networks narrow enough for a test."""

import pytest
from small_training import NARROW

from padim_nb.efficientad import pdn


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setitem(pdn._LAYERS, "small", NARROW)
