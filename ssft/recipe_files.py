"""Where recipes are: the shipped ones by name, and scripts that define one. Light: nothing here loads PyTorch."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from types import ModuleType

from ssft.errors import RecipeError, SsftError, closest

_imported: dict[str, ModuleType] = {}


def recipes_folder() -> Path:
    """Return the folder of shipped recipes: inside an installed package, or at the top of the repository."""
    package = Path(str(files("ssft")))
    installed = package / "assets" / "recipes"
    return installed if installed.is_dir() else package.parent / "recipes"


def shipped_recipes() -> dict[str, Path]:
    """Return the shipped recipes by name."""
    return {path.stem: path for path in sorted(recipes_folder().rglob("*.py"))}


def find_recipe(source: str) -> Path:
    """Return the file of a recipe: `source` itself, or the shipped recipe of that name.

    Raises:
        RecipeError: no such file or name.
    """
    path = Path(source).expanduser()
    if path.suffix not in (".py", ".yaml", ".yml"):
        shipped = shipped_recipes()
        if source not in shipped:
            raise RecipeError(
                f"'{source}' is neither a recipe file (.py, .yaml) nor a shipped recipe. {closest(source, shipped)}"
            )
        path = shipped[source]
    if not path.is_file():
        raise RecipeError(f"{path} does not exist. `ssft recipes` lists the shipped ones.")
    return path


def summary(path: Path) -> str:
    """Return the first line of a recipe script's docstring, without importing it; nothing for YAML."""
    if path.suffix != ".py":
        return ""
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return doc.split("\n", 1)[0]


def import_script(path: Path) -> ModuleType:
    """Import a recipe script under its own name, so that a class it defines is found again by its dotted path.

    Its folder joins the end of the path, so that it can import its neighbours, as under `python script.py`.

    Raises:
        RecipeError: it fails, with the line, or it runs instead of only defining a recipe.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"{path} cannot be imported as Python.")
    module = importlib.util.module_from_spec(spec)
    if sys.modules.get(path.stem) is _imported.get(path.stem):  # never over a module of somebody else
        sys.modules[path.stem] = _imported[path.stem] = module
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except SystemExit:
        remedy = 'End it with: if __name__ == "__main__": run(recipe)'
        raise RecipeError(f"{path} runs when it is imported. {remedy}") from None
    except Exception as error:
        raise RecipeError(f"{path}, line {_line(error, module)}: {_explained(error, module)}") from error
    return module


def _line(error: Exception, module: ModuleType) -> int | str:
    line: int | None = None
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == module.__file__:
            line = frame.lineno
    if line is None and isinstance(error, SyntaxError):
        line = error.lineno
    return line or "?"


def _explained(error: Exception, module: ModuleType) -> str:
    """Return the last line of a traceback, with the nearest name where one was misspelt."""
    if isinstance(error, SsftError):
        return str(error)
    text = list(traceback.TracebackException.from_exception(error).format_exception_only())[-1].strip()
    if found := re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error)):
        from ssft.components import settings_of

        cls = getattr(module, found[1], None)
        if isinstance(cls, type):
            return f"{found[1]} has no setting '{found[2]}'. {closest(found[2], settings_of(cls))}"
    if isinstance(error, ImportError) and (
        found := re.match(r"cannot import name '(\w+)' from '([\w.]+)'", str(error))
    ):
        known: Iterable[str] = getattr(sys.modules.get(found[2]), "__all__", ())
        return f"{found[2]} has no '{found[1]}'. {closest(found[1], known)}" if known else text
    return text
