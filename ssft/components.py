"""From objects to plain settings and back: the one mechanism behind scripts, recipe.yaml and command-line overrides.

A component (a loss, a head, an augmentation, a section of a recipe) keeps every argument of its constructor under that
argument's own name. So the constructor is the schema: `describe` reads the arguments back, `build` calls it again.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from ssft.conversion import convert
from ssft.errors import RecipeError, closest

T = TypeVar("T")
Table = Mapping[str, Any]
"""Names and what makes components of their settings: classes and, where something is built, functions."""


def describe(value: Any, tables: typing.Sequence[Table] = (), *, named: bool = True) -> Any:
    """Return `value` as plain numbers, strings, lists and dicts, fit for YAML.

    A component becomes `{"name": its name in one of the tables, or its dotted path, **settings}`; `named=False` leaves
    the outermost name out, for sections of a recipe whose class is known.

    Example:
        >>> describe(SoftDTW(gamma=0.1), [LOSSES])["name"]
        'soft_dtw'
    """
    if hasattr(value, "tolist"):
        value = value.tolist()  # numbers and arrays of NumPy and PyTorch
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): describe(item, tables) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(item, tables) for item in value]
    name = {"name": _name_of(type(value), tables)} if named else {}
    return name | {key: describe(_setting(value, key), tables) for key in _settings_of_object(value)}


def build(table: Table, spec: Any, *, where: str, nested: Table = MappingProxyType({})) -> Any:
    """Return the component that `spec` describes; the inverse of `describe`.

    Args:
        table: known names and their classes. A name with a dot is imported instead: `my_lab.losses.Mine`.
        spec: `{"name": ..., **settings}` or just a name. Settings may hold components of the same table.
        where: the place in the recipe, for error messages, e.g. `views.augmented`.
        nested: further names that settings may use, but not the component itself.

    Raises:
        RecipeError: unknown name, unknown or missing setting, or a value of the wrong type, with the nearest name.
    """
    if spec is None:
        return None
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, Mapping) or not isinstance(spec.get("name"), str):
        raise RecipeError(
            f"{where}: {spec!r} is neither a name nor a mapping with a name and settings. {closest('', table)}"
        )
    cls = _look_up(table, spec["name"], where)
    inner = {**table, **nested}
    settings = {key: _build_nested(inner, value, f"{where}.{key}") for key, value in spec.items() if key != "name"}
    return construct(cls, settings, where=where, name=spec["name"])


def as_call(description: Any) -> str:
    """Return a component's description as people read it, without what is None.

    Example:
        >>> as_call({"name": "speed_perturb", "factors": [0.9, 1.1]})
        'speed_perturb(factors=[0.9, 1.1])'
    """
    if isinstance(description, Mapping):
        arguments = (
            f"{key}={as_call(value)}" for key, value in description.items() if key != "name" and value is not None
        )
        if "name" not in description:
            return f"{{{', '.join(arguments)}}}"
        return f"{description['name']}({', '.join(arguments)})"
    if isinstance(description, list):
        return f"[{', '.join(map(as_call, description))}]"
    return str(description)


def construct(cls: Callable[..., T], settings: Mapping[str, Any], *, where: str, name: str = "") -> T:
    """Call `cls(**settings)` after checking every name and converting every value to its annotated type.

    YAML 1.1 reads `1e-5` as a string and the command line knows only strings, so the annotation decides.
    """
    label = f"{where}: {name}" if name else where
    check_names(cls, settings, label)
    hints = _hints(cls)
    values = {key: convert(value, hints[key], f"{where}.{key}") for key, value in settings.items()}
    try:
        return cls(**values)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise RecipeError(f"{label}: {error}") from error


def check_names(cls: Callable[..., Any], settings: Mapping[str, Any], label: str) -> None:
    """Refuse settings that `cls` does not have, with the nearest name, and the lack of those that it needs."""
    parameters = settings_of(cls)
    for key in settings:
        if key not in parameters:
            raise RecipeError(f"{label} has no setting '{key}'. {closest(str(key), parameters)}")
    missing = [key for key, p in parameters.items() if p.default is p.empty and key not in settings]
    if missing:
        raise RecipeError(f"{label} needs a value for {', '.join(missing)}.")


def settings_of(cls: Callable[..., Any]) -> dict[str, inspect.Parameter]:
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


def _hints(cls: Callable[..., Any]) -> dict[str, Any]:
    """Return what each setting shall be: its annotation or, without one, what its default is."""
    try:
        hints = typing.get_type_hints(cls.__init__ if inspect.isclass(cls) else cls)
    except NameError:  # an annotation imported for type checkers only
        hints = {}
    unannotated = {bool: bool, int: int | float, float: float, str: str}
    return {
        key: hints.get(key, unannotated.get(type(parameter.default), Any))
        for key, parameter in settings_of(cls).items()
    }


def _settings_of_object(value: Any) -> typing.Iterable[str]:
    cls = type(value)
    if cls.__module__ == "builtins":
        raise RecipeError(
            f"{value!r} cannot be written into a recipe. Settings are numbers, text, lists, and objects of classes "
            "that keep their own settings."
        )
    settings = settings_of(cls)
    if "name" in settings:
        raise RecipeError(f"{cls.__name__} has a setting 'name', which recipes use for the class. Call it otherwise.")
    return settings


def _look_up(table: Table, name: str, where: str) -> Callable[..., Any]:
    if name in table:
        found: Callable[..., Any] = table[name]
        return found
    if "." not in name:
        raise RecipeError(
            f"{where}: '{name}' is not known. {closest(name.lower(), table)} A class of your own is named by its "
            f"dotted path, as in my_module.{name}."
        )
    try:
        imported = _imported(name)
    except Exception as error:
        raise RecipeError(
            f"{where}: cannot import '{name}' ({type(error).__name__}: {error}). Give the dotted path of an importable "
            f"class, with its folder on PYTHONPATH, or one of: {', '.join(sorted(table))}."
        ) from error
    if not inspect.isclass(imported):
        raise RecipeError(f"{where}: '{name}' is not a class. {closest(name, table)}")
    return imported


def _imported(name: str) -> Any:
    """Return what a dotted path names: the longest part of it that is a module, then attributes."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        path = ".".join(parts[:end])
        try:
            is_main = path == _main_script() and hasattr(sys.modules["__main__"], parts[end])
            found = sys.modules["__main__"] if is_main else importlib.import_module(path)
        except ModuleNotFoundError as error:
            if end > 1 and error.name and path.startswith(error.name):
                continue
            raise
        for attribute in parts[end:]:
            found = getattr(found, attribute)
        return found
    raise ModuleNotFoundError(f"No module named '{name}'")


def _main_script() -> str | None:
    """The name under which the running script would be imported."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    return Path(script).stem if script else None


def _name_of(cls: type, tables: typing.Sequence[Table]) -> str:
    for table in tables:
        for name, known in table.items():
            if known is cls:
                return name
    if "<locals>" in cls.__qualname__:
        raise RecipeError(
            f"{cls.__name__} is defined inside a function, where a recorded recipe cannot find it again. Move the "
            "class to the top level of its file."
        )
    # A class of the running script is found again when the script is imported.
    module = cls.__module__ if cls.__module__ != "__main__" else _main_script() or "__main__"
    return f"{module}.{cls.__qualname__}"


def _setting(component: Any, key: str) -> Any:
    try:
        return getattr(component, key)
    except AttributeError:
        raise RecipeError(
            f"{type(component).__name__} does not keep its setting '{key}'. A component stores every argument of its "
            f"constructor under the argument's own name: self.{key} = {key}."
        ) from None
