"""The examples in the docstrings run as they stand, and say what they say."""

import doctest
from importlib import import_module

import pytest

import padim_nb

MODULES = ("detector", "gaussian", "leave_one_out", "low_rank", "moments", "quirks", "smoothing", "statistics")


@pytest.mark.parametrize("name", [*(f"padim.{name}" for name in MODULES), "evaluation.thresholds"])
def test_examples_run(name, parts, monkeypatch):
    small = padim_nb.load_category("widget", parts)
    monkeypatch.setattr(padim_nb, "load_category", lambda name: small, raising=False)  # nothing is rendered
    failed, tried = doctest.testmod(import_module(f"padim_nb.{name}"))
    assert tried and not failed
