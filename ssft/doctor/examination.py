"""The examination: section by section, where none is kept from being made by what another has found."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator

from ssft.doctor import formats, known, machine, optional, packages, trial
from ssft.doctor.finding import AGAIN, Finding, Section, first_line

_SECTIONS: dict[str, tuple[str, Callable[[], Iterable[Finding]]]] = {
    "packages": ("packages, and the versions that ssft supports", packages.look),
    "machine": ("this machine", machine.look),
    "formats": ("audio formats: a second of sound, written and read again", formats.look),
    "trial": ("a training step on the bundled encoder", trial.look),
    "optional": ("optional packages", optional.look),
    "known": ("what these versions are known for, and what ssft does about it", known.look),
}

TITLES = {name: title for name, (title, _) in _SECTIONS.items()}
"""What each section is about, by its name."""


def examine() -> Iterator[Section]:
    """Look at everything, without the network, and give each section as soon as it is complete."""
    for name, (_, look) in _SECTIONS.items():
        findings: list[Finding] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters becomes a finding
            try:
                findings.extend(look())
            except Exception as error:  # people need the other sections most when one breaks
                value = f"could not be examined: {type(error).__name__}: {first_line(error)}"
                findings.append(Finding(name, value, "problem", AGAIN))
        yield Section(name, findings)
