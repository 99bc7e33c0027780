"""Errors a user can put right: each message names the thing and the way on."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PadimError(Exception):
    """Base of every error this package raises on purpose; the command line prints it in one line and exits 2."""


class CategoryNotFound(PadimError):
    """No such category under the data root."""


class DataError(PadimError):
    """A folder, an image or a mask is not what it should be."""


class WeightsError(PadimError):
    """Network weights are missing, or not the ones that were asked for."""


class ModelError(PadimError):
    """A saved detector cannot be read, or cannot do what was asked of it."""


class OptionError(PadimError):
    """An argument, an option or a parameter has no such name or no such value."""


class CannotWrite(PadimError):
    """A file or a folder could not be written: read-only, full, or in the way."""


class RunFailed(PadimError):
    """A run ended with an error that is not the user's: exit code 1."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """' (did you mean X?)' for the nearest known word, else the list of all: the tail of an error message."""
    known = list(known)
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.5)
    return f" (did you mean '{near[0]}'?)" if near else f" (known: {', '.join(known)})"


def expect_one_of(what: str, value: str, known: Iterable[str]) -> None:
    """Refuse a value that is not one of the known ones."""
    known = list(known)
    if value not in known:
        raise OptionError(f"no {what} {value!r}{did_you_mean(str(value), known)}")
