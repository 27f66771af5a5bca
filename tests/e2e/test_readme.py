"""What README.md and docs/ tell people to type works, in the order in which they would type it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ssft.cli.demo import ROWS

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "README.md": 18,
    "docs/analysis.md": 1,
    "docs/augmentation.md": 4,
    "docs/autoencoder.md": 1,
    "docs/concepts.md": 1,
    "docs/encoders.md": 2,
    "docs/evaluation.md": 3,
    "docs/similarity.md": 2,
    "docs/tutorial.md": 5,
    "docs/units.md": 4,
}
"""How many commands and Python blocks each page must have at least: finding none would be no test."""

# Run in a moment by itself: these would test, or install, what is under test.
NOT_RUN = {"make test", "make lint"}


def blocks(page: str) -> list[tuple[str, str]]:
    """All ```bash and ```python blocks in order. What needs the network or a GPU is marked ```console."""
    return re.findall(r"^```(bash|python)\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), flags=re.M | re.S)


@pytest.mark.parametrize("page", PAGES)
def test_what_the_page_says_works(page, recordings, tmp_path):
    """In a fresh home with a folder of recordings, from the page's first line to its last."""
    shutil.copytree(recordings, tmp_path / "recordings")
    binaries = tmp_path / "bin"
    binaries.mkdir()
    # `python` and `ssft` of the environment that runs the tests, whatever is on PATH.
    (binaries / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (binaries / "ssft").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ssft.cli.main "$@"\n')
    # The demo target installs and then runs this; what it installs is what runs the tests.
    (binaries / "make").write_text('#!/bin/sh\n[ "$1" = demo ] && exec ssft demo\nexit 9\n')
    for file in binaries.iterdir():
        file.chmod(0o755)
    environment = {**os.environ, "HOME": str(tmp_path), "PATH": f"{binaries}:{os.environ['PATH']}"}
    ran = 0
    preamble = "import numpy as np\nwaveform = np.random.default_rng(0).standard_normal(16000).astype('float32')\n"
    for language, text in blocks(page):
        if language == "python":
            ran += _run([sys.executable, "-c", preamble + text], tmp_path, environment)
            continue
        for command in filter(None, map(str.strip, text.splitlines())):
            if command not in NOT_RUN:
                ran += _run(["bash", "-c", command], tmp_path, environment)
    assert ran >= PAGES[page]
    if page == "README.md":
        _check_demo(tmp_path / "ssft-demo")
        assert (tmp_path / "adapted" / "mine" / "config.json").is_file()


def test_every_page_that_is_linked_exists():
    pages = [
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("recipes/*.md"),
    ]
    links = [(page, link) for page in pages for link in re.findall(r"\]\((?!https?://|#)([^)]+)\)", page.read_text())]
    assert len(links) > 5
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link.split("#")[0]).exists()] == []


def test_make_runs_what_the_page_says():
    """The Makefile's targets, which the test above stands in for, do run these commands."""
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^demo: \$\(READY\)\n\t\$\(BIN\)/ssft demo$", makefile, flags=re.M)
    assert re.search(r"^test: \$\(READY\)\n\t.*\$\(BIN\)/python -m pytest", makefile, flags=re.M)
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def _check_demo(folder: Path) -> None:
    """The demo's table is what was measured, in results.json and on the model card."""
    assert (folder / "adapted" / "model.safetensors").is_file()
    scores = json.loads((folder / "results.json").read_text())["scores"]
    assert list(scores) == ["base", "base, mean removed", "adapted"]
    card = (folder / "adapted" / "README.md").read_text()
    for measure, label in ROWS.items():
        values = [system[measure] for system in scores.values()]
        assert all(0 < value < 100 for value in values)
        (row,) = [line for line in card.splitlines() if line.startswith(f"| {label}")]
        assert [cell.strip() for cell in row.split("|")[2:5]] == [f"{value:.2f}" for value in values]
        assert values[0] != values[2], "training changed nothing that is measured"


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> int:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return 1
