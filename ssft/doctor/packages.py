"""Python, and the packages that ssft needs: installed, of a supported version, and able to be imported."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from typing import TYPE_CHECKING

from ssft.doctor.finding import Finding, first_line, pip_install

if TYPE_CHECKING:
    from packaging.requirements import Requirement

# What is imported to try a package, where it is not the package's own name. That of transformers is lazy.
_MODULES = {
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "transformers": "transformers.models.hubert.modeling_hubert",
}
# Two builds of one project; a torchaudio that does not fit keeps transformers and peft from being imported too.
_PAIR = ("torch", "torchaudio")
_WIDTH = 13  # columns, of a version
_CPU_INDEX = "--index-url https://download.pytorch.org/whl/cpu"


def look() -> Iterator[Finding]:
    """Look at Python, at ssft, and at every package that it requires."""
    try:
        needed = requirements()
        about = metadata("ssft")
    except ImportError as error:
        missing = isinstance(error, PackageNotFoundError)
        value = "ssft runs from its source" if missing else f"packaging cannot be imported: {first_line(error)}"
        mend = pip_install("-e", ".") if missing else pip_install("packaging")
        yield Finding("ssft", f"{value}, so versions cannot be compared", "problem", mend)
        return
    yield Finding("ssft", about["Version"], facts={"version": about["Version"]})
    yield _python(about["Requires-Python"])
    mend_pair = ""
    for name in [*_PAIR, *(name for name in needed if name not in _PAIR)]:
        finding = _package(needed[name], mend_pair)
        if name in _PAIR and finding.status == "problem":
            mend_pair = mend_pair or _mend_pair(finding)
            finding = replace(finding, mend=mend_pair)
        yield finding


def installed(name: str) -> str | None:
    """Return the installed version of a package; None if there is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def requirements() -> dict[str, Requirement]:
    """Return what ssft cannot do without, by name.

    Raises:
        ImportError: ssft is not installed, or the package `packaging` is not.
    """
    from packaging.requirements import Requirement

    lines = map(Requirement, requires("ssft") or ())
    return {one.name: one for one in lines if one.marker is None or one.marker.evaluate({"extra": ""})}


def reinstall_pair(options: str = "") -> str:
    """Return the command that installs torch and torchaudio of one build."""
    needed = requirements()
    return pip_install(
        *(f"{name}{_range(needed[name])}" for name in _PAIR), options=f"--force-reinstall {options}".strip()
    )


def _python(supported: str) -> Finding:
    from packaging.specifiers import SpecifierSet

    current = platform.python_version()
    facts = {"version": current, "supported": supported}
    if SpecifierSet(supported).contains(current, prereleases=True):
        return Finding("python", f"{current:<{_WIDTH}}({supported})", facts=facts)
    mend = f'conda create -n ssft "python{supported}"   (or another way to a Python that is supported)'
    return Finding("python", f"{current}, but supported are {supported}", "problem", mend, facts)


def _package(requirement: Requirement, mend_pair: str) -> Finding:
    """Look at one package; `mend_pair` is what mends torch and torchaudio, if they need it."""
    name, supported = requirement.name, _range(requirement)
    found = installed(name)
    mend = pip_install(f"{name}{supported}")
    facts = {"version": found, "supported": supported, "imports": False}
    if found is None:
        return Finding(name, f"not installed; needed is {supported}", "problem", mend, facts)
    try:
        importlib.import_module(_MODULES.get(name, name))
    except Exception as error:  # a broken package raises anything: OSError of its libraries, RuntimeError of its own
        value = f"{found} cannot be imported: {first_line(error)}"
        return Finding(name, value, "problem", mend_pair or f"{mend} --force-reinstall", facts)
    facts["imports"] = True
    if not requirement.specifier.contains(found, prereleases=True):
        return Finding(name, f"{found}, but supported are {supported}", "problem", mend, facts)
    return Finding(name, f"{found:<{_WIDTH}}({supported})", facts=facts)


def _range(requirement: Requirement) -> str:
    """The versions of a requirement, the lowest first."""
    return ",".join(sorted(map(str, requirement.specifier), reverse=True))


def _mend_pair(finding: Finding) -> str:
    """The command that mends torch or torchaudio."""
    lacks_cuda = "libcuda" in finding.value or "libc10_cuda" in finding.value or "libtorch_cuda" in finding.value
    if finding.name == "torchaudio" and lacks_cuda and (installed("torch") or "").endswith("+cpu"):
        torchaudio = f"torchaudio{_range(requirements()['torchaudio'])}"
        return pip_install(torchaudio, options=f"--force-reinstall --no-deps {_CPU_INDEX}")
    return reinstall_pair()
