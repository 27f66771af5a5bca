"""Values from YAML and the command line to the types that constructors are annotated with."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from ssft.errors import RecipeError

_CONFIG = ConfigDict(arbitrary_types_allowed=True, coerce_numbers_to_str=True)
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
_WORDS |= {Path: "a path", Any: "anything"}


def convert(value: Any, hint: Any, where: str) -> Any:
    """Return `value` as what `hint` asks for: `"1e-5"`, which YAML 1.1 takes for text, as 0.00001 if that is a float.

    Raises:
        RecipeError: it does not fit; says what would.
    """
    if not _is_plain(value):
        return value  # an object made in Python: its own constructor has checked it
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint, config=_CONFIG)
    except PydanticUserError:
        return value
    candidates = [value, float(value)] if _is_number(value) else [value]  # for "1e3" as a whole number
    if not isinstance(value, bool) or _takes_booleans(hint):  # pydantic would take true for 1
        for candidate in candidates:
            try:
                return adapter.validate_python(candidate)
            except ValidationError:
                continue
    near = difflib.get_close_matches(str(value), _choices(hint), n=1)
    guess = f" Did you mean '{near[0]}'?" if near else ""
    raise RecipeError(f"{where}: {shown(value)} is not {expected(hint)}.{guess}")


def expected(hint: Any) -> str:
    """Say in words what a type hint asks for.

    Example:
        >>> expected(float | None), expected(Sequence[int])
        ('a number or null', 'a list of whole numbers in brackets')
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(map(shown, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(expected, arguments))
    if origin is None:
        return _WORDS.get(hint) or f"a {getattr(hint, '__name__', hint)}"
    if issubclass(origin, Mapping):
        return "a mapping"
    items = [argument for argument in arguments if argument is not ...]
    words = expected(items[0])
    words = f"{words.removeprefix('a ')}s" if words.startswith("a ") else words
    return f"a list of {f'{len(items)} ' if len(items) > 1 else ''}{words} in brackets"


def shown(value: Any) -> str:
    """Return a value as one would write it in YAML, on one line."""
    try:
        text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    except yaml.YAMLError:
        return repr(value)
    text = text.removesuffix("\n").removesuffix("\n...")
    return f"'{text}'" if isinstance(value, str) and text == value else text


def _choices(hint: Any) -> Iterable[str]:
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return [str(argument) for argument in arguments]
    return [choice for argument in arguments for choice in _choices(argument)]


def _takes_booleans(hint: Any) -> bool:
    return (
        hint in (bool, Any, object)
        or isinstance(hint, bool)
        or any(_takes_booleans(part) for part in typing.get_args(hint))
    )


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return isinstance(value, str)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    if isinstance(value, Mapping):
        return all(_is_plain(item) for item in value.values())
    return value is None or isinstance(value, (bool, int, float, str, Path))
