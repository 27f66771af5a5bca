"""The dependency direction of the package, its light import, and a few things that no module may do."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ssft

PACKAGE = Path(ssft.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 300

BASE = {"errors", "files", "seal", "randomness", "ops", "types"}
PARTS = {"augment", "data", "encoders", "heads", "losses"}
BELOW_ENGINE = BASE | PARTS | {"components", "conversion"}
BELOW_RUNS = BELOW_ENGINE | {"engine", "export", "features", "overrides", "recipe", "recipe_files", "views"}
BELOW_CLI = BELOW_RUNS | {"doctor", "plan", "run_export", "runs"}

# What each top-level module may import besides itself. A new one gets a line here.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "files": {"errors"},
    "seal": {"files"},
    "randomness": set(),
    "ops": set(),
    "types": {"ops.masking"},
    "conversion": {"errors"},
    "components": {"errors", "conversion"},
    "overrides": {"errors"},
    "recipe_files": {"errors", "components"},
    **{part: BASE | {"components"} for part in PARTS},  # siblings never import each other
    "features": {"errors", "files", "types", "data", "encoders"},
    "report": BASE | {"components", "features", "data", "encoders", "augment", "units", "evaluation", "analysis"},
    "evaluation": BASE | {"components", "features", "data", "encoders", "augment", "units"},
    "analysis": BASE | {"components", "features", "data", "encoders", "augment", "units", "evaluation"},
    "units": BASE | {"features", "data", "encoders"},
    "engine": BELOW_ENGINE,
    "views": BELOW_ENGINE,
    "export": BELOW_ENGINE | {"engine"},
    "recipe": BELOW_ENGINE | {"engine", "export", "overrides", "recipe_files", "views"},
    "runs": BELOW_RUNS,
    "run_export": BELOW_RUNS | {"runs"},
    "plan": BELOW_RUNS | {"doctor", "runs"},
    "doctor": BASE | {"data", "encoders"},
    "__main__": {"cli"},
    "cli": BELOW_CLI | {"analysis", "evaluation", "report", "units"},
}


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Give line and target, without `ssft.`, of every import of ours: in functions and for type checkers as well."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "ssft":
            targets = [ssft._HOMES.get(alias.name, f"ssft.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            targets = [("." * node.level) + (node.module or "")]
        else:
            continue
        for target in targets:
            if target == "ssft" or target.startswith(("ssft.", ".")):
                yield node.lineno, target.removeprefix("ssft.")


def violations(owner: str, source: str) -> list[str]:
    """Return the imports of a module of `owner` that the table does not allow."""
    allowed = ALLOWED[owner] | {owner, "__version__"}
    return [
        f"line {line}: {owner} imports {target}"
        for line, target in imports(source)
        if not any(target == name or target.startswith(f"{name}.") for name in allowed)
    ]


def owner_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def test_the_walk_finds_the_package_and_the_table_knows_it() -> None:
    owners = {owner_of(path) for path in MODULES} - {"__init__"}
    assert len(MODULES) > 40
    assert owners == set(ALLOWED), "a top-level module without a line in ALLOWED, or a line without a module"


@pytest.mark.parametrize(
    ("owner", "source", "found"),
    [
        ("losses", "from ssft.heads import Projection", 1),
        ("losses", "def f():\n    import ssft.engine.trainer", 1),
        ("losses", "if TYPE_CHECKING:\n    from ssft.recipe import Recipe", 1),
        ("losses", "from ssft import Recipe, Train", 2),
        ("losses", "from ..heads import Projection", 1),
        ("losses", "import ssft", 1),
        ("types", "from ssft.ops.soft_dtw import soft_dtw", 1),
        ("types", "from ssft.ops.masking import lengths_to_mask", 0),
        ("recipe", "from ssft.runs import start", 1),
        ("cli", "from ssft import __version__", 0),
        ("losses", "import torch\nfrom ssft.losses.base import x\nfrom ssft.ops import y", 0),
        ("recipe", "from ssft.recipe_files import find_recipe", 0),
        ("overrides", "from ssft.errors_of_mine import x", 1),
    ],
)
def test_the_checker_sees_what_it_should(owner: str, source: str, found: int) -> None:
    assert len(violations(owner, source)) == found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_module(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    if owner_of(path) != "__init__":
        assert violations(owner_of(path), source) == []
    assert path.name != "utils.py", "name the file after what is in it"
    assert source.count("\n") <= MAX_LINES, "split it: a second noun has appeared"
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: raise an error that says what to do"
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.name.split(".")[0] for alias in node.names} | {(getattr(node, "module", "") or "")}
            assert not names & {"pickle", "cPickle", "dill", "cloudpickle", "joblib"}, f"line {node.lineno}: no pickle"


def test_every_public_name_resolves_and_is_listed() -> None:
    assert len(ssft.__all__) > 10
    assert set(ssft.__all__) <= set(dir(ssft))
    for name in ssft.__all__:
        assert getattr(ssft, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Recipee'"):
        _ = ssft.Recipee


def test_type_checkers_see_what_the_lazy_import_gives() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    guarded = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    seen = {
        alias.name: node.module for node in guarded[0].body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == ssft._HOMES
    assert sorted(seen) == sorted(ssft.__all__)


@pytest.mark.parametrize(
    "code",
    [
        "import ssft; dir(ssft)",
        "from ssft import run",
        "from ssft.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from ssft.cli.main import main; main(['recipes'])",
        "from ssft.cli.main import main; main(['train', 'score_tny'])",
    ],
)
def test_light(code: str) -> None:
    probe = f"{code}\nimport sys\nprint(sorted({{'torch', 'transformers', 'numpy', 'numba'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
