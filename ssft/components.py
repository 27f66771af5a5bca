"""From objects to plain settings and back: the one mechanism behind scripts, recipe.yaml and command-line overrides.

A component (a loss, a head, an augmentation, a section of a recipe) keeps every argument of its constructor under that
argument's own name. So the constructor is the schema: `describe` reads the arguments back, `build` calls it again.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from ssft.errors import RecipeError, closest

T = TypeVar("T")
Table = Mapping[str, type]
_PLAIN = (bool, int, float, str)


def describe(value: Any, tables: typing.Sequence[Table] = (), *, named: bool = True) -> Any:
    """Return `value` as plain numbers, strings, lists and dicts, fit for YAML.

    A component becomes `{"name": its name in one of the tables, or its dotted path, **settings}`; `named=False` leaves
    the outermost name out, for sections of a recipe whose class is known.

    Example:
        >>> describe(SoftDTW(gamma=0.1), [LOSSES])["name"]
        'soft_dtw'
    """
    if value is None or isinstance(value, _PLAIN):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): describe(item, tables) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(item, tables) for item in value]
    name = {"name": _name_of(type(value), tables)} if named else {}
    return name | {key: describe(_setting(value, key), tables) for key in settings_of(type(value))}


def build(table: Table, spec: Any, *, where: str) -> Any:
    """Return the component that `spec` describes; the inverse of `describe`.

    Args:
        table: known names and their classes. A name with a dot is imported instead: `my_lab.losses.Mine`.
        spec: `{"name": ..., **settings}` or just a name. Settings may hold components of the same table.
        where: the place in the recipe, for error messages, e.g. `views.augmented`.

    Raises:
        RecipeError: unknown name, unknown or missing setting, or a value of the wrong type, with the nearest name.
    """
    if spec is None:
        return None
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, Mapping) or not isinstance(spec.get("name"), str):
        raise RecipeError(
            f"{where}: expected a name, or a mapping with a 'name', but got {spec!r}. {closest('', table)}"
        )
    cls = _look_up(table, spec["name"], where)
    settings = {key: _build_nested(table, value, f"{where}.{key}") for key, value in spec.items() if key != "name"}
    return construct(cls, settings, where=where, name=spec["name"])


def construct(cls: type[T], settings: Mapping[str, Any], *, where: str, name: str = "") -> T:
    """Call `cls(**settings)` after checking every name and converting every value to its annotated type.

    YAML 1.1 reads `1e-5` as a string and the command line knows only strings, so the annotation decides.
    """
    parameters = settings_of(cls)
    label = f"{where}: {name}" if name else where
    for key in settings:
        if key not in parameters:
            raise RecipeError(f"{label} has no setting '{key}'. {closest(key, parameters)}")
    missing = [key for key, p in parameters.items() if p.default is p.empty and key not in settings]
    if missing:
        raise RecipeError(f"{label} needs a value for {', '.join(missing)}.")
    hints = typing.get_type_hints(cls.__init__)
    values = {key: _convert(value, hints.get(key, Any), f"{where}.{key}") for key, value in settings.items()}
    return cls(**values)


def settings_of(cls: type) -> dict[str, inspect.Parameter]:
    """Return the constructor's parameters by name, which are the component's settings."""
    parameters = inspect.signature(cls).parameters
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {name: parameter for name, parameter in parameters.items() if parameter.kind not in kinds}


def _build_nested(table: Table, value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        if "name" in value:
            return build(table, value, where=where)
        return {key: _build_nested(table, item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_build_nested(table, item, f"{where}.{index}") for index, item in enumerate(value)]
    return value


def _convert(value: Any, hint: Any, where: str) -> Any:
    if not _is_plain(value):
        return value  # an object made in Python: its own constructor has checked it
    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
        raise RecipeError(f"{where}: {value!r} does not fit. {problem}.") from None
    except PydanticUserError:
        return value


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    if isinstance(value, Mapping):
        return all(_is_plain(item) for item in value.values())
    return value is None or isinstance(value, (*_PLAIN, Path))


def _look_up(table: Table, name: str, where: str) -> type:
    if name in table:
        return table[name]
    if "." not in name:
        raise RecipeError(f"{where}: '{name}' is not known. {closest(name, table)}")
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise RecipeError(
            f"{where}: cannot import '{name}' ({error}). Give the dotted path of an importable class, "
            f"with its folder on PYTHONPATH, or one of: {', '.join(sorted(table))}."
        ) from None
    if not inspect.isclass(found):
        raise RecipeError(f"{where}: '{name}' is not a class.")
    return found


def _name_of(cls: type, tables: typing.Sequence[Table]) -> str:
    for table in tables:
        for name, known in table.items():
            if known is cls:
                return name
    module = cls.__module__
    if module == "__main__" and (script := getattr(sys.modules["__main__"], "__file__", None)):
        module = Path(script).stem  # so that a recorded recipe finds the class when the script itself is imported
    return f"{module}.{cls.__qualname__}"


def _setting(component: Any, key: str) -> Any:
    try:
        return getattr(component, key)
    except AttributeError:
        raise RecipeError(
            f"{type(component).__name__} does not keep its setting '{key}'. A component stores every argument of its "
            f"constructor under the argument's own name: self.{key} = {key}."
        ) from None
