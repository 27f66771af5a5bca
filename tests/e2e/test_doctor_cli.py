"""`ssft doctor`: on a machine that works, and where a package of the wrong build keeps others from being imported."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ssft.doctor import TITLES


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


def test_a_machine_that_works(call, monkeypatch, place):
    def refuse(*_):
        raise AssertionError("doctor uses the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    code, out, err = call("doctor")
    assert (code, err) == (0, "")
    assert out.endswith("All that ssft needs works here.\n")
    assert all(f"{title}\n\n" in out for title in TITLES.values())
    assert "!!" not in out
    longest = max(out.splitlines(), key=len)
    assert len(longest) <= 80 or str(place) in longest
    assert list(place.iterdir()) == []


def test_json_is_all_there_is_and_has_every_section(call):
    code, out, err = call("doctor", "--json")
    report = json.loads(out)
    assert (code, err) == (0, "")
    assert (report["ok"], report["problems"]) == (True, 0)
    assert list(report["sections"]) == list(TITLES)
    packages = {finding["name"]: finding["facts"] for finding in report["sections"]["packages"]}
    assert packages["torch"]["imports"] is True
    assert all(report["sections"][name] for name in TITLES)


def broken(folder: Path, name: str, error: str) -> dict[str, str]:
    """Return an environment in which importing a package raises."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(f"raise {error}\n")
    return os.environ | {"PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(
    ("name", "error", "also"),
    [
        (
            "torchaudio",
            "RuntimeError('PyTorch and TorchAudio were compiled with different CUDA versions')",
            "transformers",
        ),
        ("torch", "OSError('libtorch_cpu.so: cannot open shared object file')", "accelerate"),
    ],
)
def test_a_package_that_cannot_be_imported_is_named_with_the_command_that_mends_it(tmp_path, name, error, also):
    environment = broken(tmp_path, name, error)
    command = [sys.executable, "-m", "ssft.cli.main", "doctor"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert result.returncode == 1
    assert "Traceback" not in result.stdout + result.stderr
    lines = result.stdout.splitlines()
    mend = 'python -m pip install --force-reinstall "torch>=2.11,<2.15" "torchaudio>=2.11,<2.12"'
    for package in (name, also):
        at = next(number for number, line in enumerate(lines) if line.startswith(f" !!  {package} "))
        assert mend in [line.strip() for line in lines[at : at + 4]]
    assert all(f"{title}" in lines for title in TITLES.values())
    said = result.stderr.splitlines()[-1]
    assert said.startswith("ssft: ")
    assert name in said
    assert said.endswith("each is followed by the command that mends it.")
