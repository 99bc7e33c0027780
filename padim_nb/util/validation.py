"""Settings that are checked where they are made: frozen dataclasses whose wrong values are one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Annotated, Any, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from ..errors import OptionError, did_you_mean

T = TypeVar("T")
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # what the generators of torch and of NumPy both take
_CONFIG = ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)


@dataclass_transform(frozen_default=True)
def validated(cls: type[T]) -> type[T]:
    """A frozen dataclass that checks its values against their annotations when it is made (pydantic).

    A wrong value raises `OptionError` with one line: the class, the field, what is wrong with it.
    `dataclasses.replace` and `dataclasses.asdict` work on it; `replace` checks again.
    """
    return _with_one_line(cast("type[T]", pydantic_dataclass(frozen=True, config=_CONFIG)(cls)))


def from_plain(cls: type[T], values: object) -> T:
    """A validated dataclass, nested ones included, out of plain values such as JSON's (lists become tuples)."""
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        raise OptionError(one_line(cls.__name__, error)) from None


def one_line(name: str, error: ValidationError) -> str:
    """The most specific of a validation's errors, with the field it is about and what it held."""
    first = max(error.errors(), key=lambda details: len(details["loc"]))  # of a union, the branch that came closest
    place = ".".join(part for part in map(str, first["loc"]) if re.fullmatch(r"\w+", part) and part not in _BRANCHES)
    if first["type"] == "literal_error":
        known = [word.strip(" '") for word in first["ctx"]["expected"].replace(" or ", ", ").split(",")]
        return f"{name}: no {place} {first['input']!r}{did_you_mean(str(first['input']), known)}"
    what = first["msg"].removeprefix("Value error, ")
    return f"{name}: {place or 'settings'}: {what[:1].lower()}{what[1:]}, not {_short(first['input'])}"


_BRANCHES = ("int", "float", "str")  # of a union, which stand among the fields' names


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _with_one_line(cls: type[T]) -> type[T]:
    unchecked: Callable[..., None] = cls.__init__
    names = [field.name for field in fields(cls)]  # type: ignore[arg-type]  # it is a dataclass

    # Positional values are passed on by name: pydantic's errors would call them 0, 1, 2.
    @wraps(unchecked)
    def checked(self: T, *args: Any, **kwargs: Any) -> None:
        if len(args) <= len(names) and kwargs.keys().isdisjoint(names[: len(args)]):
            args, kwargs = (), dict(zip(names, args, strict=False)) | kwargs
        try:
            unchecked(self, *args, **kwargs)
        except ValidationError as error:
            raise OptionError(one_line(cls.__name__, error)) from None

    cls.__init__ = checked  # type: ignore[method-assign, assignment]
    return cls
