"""One thing that was looked at, and several of a kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["ok", "note", "problem"]
"""As it should be; worth knowing; or to be mended before ssft can do its work."""

AGAIN = "ssft doctor   (again, once the packages are mended; if they are well, please report it with --json)"
"""What mends something that is only broken because something else is."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: what it is.
        value: what was found, for people.
        status: what that means.
        mend: the command that mends it, or that adds what is missing; every problem has one.
        facts: the same for programs.
    """

    name: str
    value: str
    status: Status = "ok"
    mend: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """Findings of a kind, under the name that they have in JSON."""

    name: str
    findings: list[Finding]

    @property
    def problems(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.status == "problem"]

    def described(self) -> list[dict[str, Any]]:
        """Return plain values, in which every finding has all its keys."""
        return [asdict(finding) for finding in self.findings]


def pip_install(*requirements: str, options: str = "") -> str:
    """Return a command for the shell, in quotes that every shell has.

    Example:
        >>> pip_install("torch>=2.11,<2.15")
        'python -m pip install "torch>=2.11,<2.15"'
    """
    quoted = [f'"{one}"' if set(one) & set("<>[]!~ ") else one for one in requirements]
    return " ".join(filter(None, ["python -m pip install", options, *quoted]))


def first_line(error: BaseException) -> str:
    """Return what an error says, in one line, or its name if it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
