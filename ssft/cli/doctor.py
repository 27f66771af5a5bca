"""ssft doctor: look at this machine, and say what to mend."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ssft import __version__
from ssft.errors import SsftError

if TYPE_CHECKING:
    from ssft.doctor import Finding, Section

_WIDTH = 80
_MARKS = {"ok": "ok", "note": "-", "problem": "!!"}
_MARK, _NAME = 5, 19  # columns


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "ssft doctor [--json]"
    parser.epilog = "Nothing is downloaded, and nothing is sent. The exit code is 0 if all that ssft needs works."
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(options: argparse.Namespace) -> None:
    """Print what is found, section by section.

    Raises:
        SsftError: something that ssft needs does not work.
    """
    from ssft.doctor import TITLES, examine

    sections: list[Section] = []
    for section in examine():
        sections.append(section)
        if not options.json:
            print(f"{TITLES[section.name]}\n\n{in_words(section)}\n", flush=True)
    problems = [finding for section in sections for finding in section.problems]
    if options.json:
        print(json.dumps(in_json(sections), indent=1))
    if problems:
        names = ", ".join(dict.fromkeys(finding.name for finding in problems))
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise SsftError(f"{count} ({names}); each is followed by the command that mends it.")
    if not options.json:
        print("All that ssft needs works here.")


def in_json(sections: list[Section]) -> dict[str, Any]:
    """Return the whole report as plain values."""
    problems = sum(len(section.problems) for section in sections)
    described = {section.name: section.described() for section in sections}
    return {"ssft": __version__, "ok": not problems, "problems": problems, "sections": described}


def in_words(section: Section) -> str:
    """Return a section for a terminal; audio formats that can be read share a line."""
    findings = section.findings
    if section.name == "formats":
        well = [finding for finding in findings if finding.status == "ok"]
        together = [replace(well[0], name="read", value=", ".join(one.name for one in well))] if well else []
        findings = [*together, *(finding for finding in findings if finding.status != "ok")]
    return "\n".join(line for finding in findings for line in _lines(finding))


def _lines(finding: Finding) -> Iterator[str]:
    column = _MARK + _NAME
    begin = f"{_MARKS[finding.status]:>{_MARK - 2}}  {finding.name:<{_NAME}}"
    for number, text in enumerate(finding.value.split("\n")):
        yield from textwrap.wrap(
            text,
            _WIDTH,
            initial_indent=" " * column if number else begin,
            subsequent_indent=" " * column,
            break_long_words=False,
            break_on_hyphens=False,
        )
    if finding.mend:
        yield f"{'':{column}}{finding.mend}"  # in one line, to be copied
