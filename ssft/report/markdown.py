"""A report as Markdown, and pages of Markdown that evaluation and analysis write as blocks of a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from ssft.evaluation.page import table
from ssft.report.document import (
    Block,
    Bullets,
    Clip,
    Code,
    Document,
    Facts,
    Fold,
    Heading,
    Neighbours,
    PairSounds,
    Picture,
    Table,
    Text,
)


def to_markdown(document: Document) -> str:
    """Return a report as Markdown, without what only a page can show and play."""
    parts = [f"# {_line(document.title)}", _line(document.verdict), *map(_line, document.notes)]
    for section in document.sections:
        parts.append(f"## {_line(section.title)}")
        if section.missing is not None:
            parts.append(f"Missing: {_line(section.missing)}")
        parts += [part for block in section.blocks for part in _parts(block)]
    return "\n\n".join(parts) + "\n"


def blocks_of(markdown: str) -> list[Block]:
    """Return headings, tables, lists and paragraphs of a page of ours as blocks; its title is left out.

    Example:
        >>> blocks_of("## Part")
        [Heading(text='Part')]
    """
    found: list[Block] = []
    for is_blank, group in groupby(markdown.splitlines(), key=lambda line: not line.strip()):
        lines = list(group)
        if is_blank or lines[0].startswith("# "):
            continue
        if lines[0].startswith("#"):
            found.append(Heading(lines[0].lstrip("# ")))
        elif lines[0].startswith("|"):
            header, _, *rows = ([cell.strip() for cell in line.strip()[1:-1].split("|")] for line in lines)
            found.append(Table(header, rows))
        elif lines[0].startswith("- "):
            found.append(Bullets([line.removeprefix("- ") for line in lines]))
        else:
            found.append(Text(" ".join(lines)))
    return found


def _parts(block: Block) -> Iterator[str]:
    match block:
        case Text(text):
            yield _line(text)
        case Heading(text):
            yield f"### {_line(text)}"
        case Bullets(items):
            yield "\n".join(f"- {_line(item)}" for item in items)
        case Table(header, rows):
            yield table(_cells(header), [_cells(row) for row in rows])
        case Facts(values):
            yield "\n".join(f"- {_line(name)}: {_line(value)}" for name, value in values.items())
        case Picture(_, words):
            yield f"(report.html shows a picture: {_line(words)})"
        case Code(text):
            fence = "```"
            while fence in text:
                fence += "`"
            yield f"{fence}\n{text.rstrip()}\n{fence}"
        case Fold(summary, blocks):
            yield f"### {_line(summary)}"
            for inner in blocks:
                yield from _parts(inner)
        case PairSounds(record):
            words = "; ".join(record["words"]["augmented"]) or "nothing"
            yield f"{record['number']}. {_line(record['id'])}, augmented by: {_line(words)} (report.html plays it)"
        case Neighbours(query, found):
            lines = [f"- {_clip(query)}"]
            lines += [f"  - {_line(name)}: {'; '.join(map(_clip, clips))}" for name, clips in found.items()]
            yield "\n".join(lines)


def _clip(clip: Clip) -> str:
    marks = f" ({', '.join(clip.marks)})" if clip.marks else ""
    return _line(f"{clip.title}, {clip.detail}{marks}")


def _cells(cells: Sequence[str]) -> list[str]:
    return [_line(cell).replace("|", "\\|") for cell in cells]


def _line(text: str) -> str:
    """Text on one line, in which nothing is taken for HTML."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
