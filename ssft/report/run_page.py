"""A report as a web page: one file with its pictures and sounds inside."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

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
    Section,
    Table,
    Text,
)
from ssft.report.pair_article import article
from ssft.report.sound import data_uri
from ssft.report.web_page import web_page


def to_html(document: Document) -> str:
    """Return a report as HTML that needs no other file and no network. All text is escaped."""
    links = "".join(f'<a href="#{escape(part.key)}">{_inline(part.title)}</a>' for part in document.sections)
    notes = "".join(f"<p>{_inline(note)}</p>" for note in document.notes)
    body = f"""<header>
<h1>{_inline(document.title)}</h1>
<div class="verdict" role="note"><p>{_inline(document.verdict)}</p></div>
{notes}<nav aria-label="Sections">{links}</nav>
</header>
<main>{"".join(map(_section, document.sections))}</main>"""
    return web_page(document.title, body, style=_STYLE, script=_SCRIPT)


def _section(section: Section) -> str:
    missing = "" if section.missing is None else f'<p class="missing">Missing: {_inline(section.missing)}</p>'
    inside = missing + "".join(map(_html, section.blocks))
    return f'<section id="{escape(section.key)}"><h2>{_inline(section.title)}</h2>{inside}</section>\n'


def _html(block: Block) -> str:
    match block:
        case Text(text, quiet):
            return f'<p class="quiet">{_inline(text)}</p>' if quiet else f"<p>{_inline(text)}</p>"
        case Heading(text):
            return f"<h3>{_inline(text)}</h3>"
        case Bullets(items):
            return f"<ul>{''.join(f'<li>{_inline(item)}</li>' for item in items)}</ul>"
        case Table(header, rows):
            return _table(header, rows)
        case Facts(values):
            return f'<dl class="facts">{"".join(_fact(name, value) for name, value in values.items())}</dl>'
        case Picture(png, words):
            source = data_uri("image/png", png)
            return f'<div class="picture" tabindex="0"><img src="{source}" alt="{escape(words)}"></div>'
        case Code(text):
            return f'<pre tabindex="0">{escape(text)}</pre>'
        case Fold(summary, blocks):
            return f"<details><summary>{_inline(summary)}</summary>{''.join(map(_html, blocks))}</details>"
        case PairSounds(record, sounds, png):
            files = {side: sound.uri for side, sound in sounds.items()} | {"picture": data_uri("image/png", png)}
            return article({**record, "files": files}, heading="h3")
        case Neighbours(query, found):
            return _neighbours(query, found)


def _fact(name: str, value: str) -> str:
    width = ' class="long"' if len(value) > _LONG else ""
    return f"<div{width}><dt>{_inline(name)}</dt><dd>{_inline(value)}</dd></div>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of numbers are aligned to the right."""
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    kinds = [" class=number" if all(map(_NUMBER.fullmatch, column)) else "" for column in columns]
    head = "".join(f"<th scope=col{kind}>{_inline(cell)}</th>" for cell, kind in zip(header, kinds, strict=True))
    body = "".join(
        f"<tr><th scope=row>{_inline(row[0])}</th>"
        + "".join(f"<td{kind}>{_inline(cell)}</td>" for cell, kind in zip(row[1:], kinds[1:], strict=True))
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _neighbours(query: Clip, found: Mapping[str, Sequence[Clip]]) -> str:
    columns = "".join(
        f"<div><h4>nearest to {_inline(name)}</h4><ol>{''.join(f'<li>{_clip(clip)}</li>' for clip in clips)}</ol></div>"
        for name, clips in found.items()
    )
    return f'<div class="card"><div class="query">{_clip(query)}</div><div class="columns">{columns}</div></div>'


def _clip(clip: Clip) -> str:
    marks = "".join(f'<span class="mark">{_inline(mark)}</span>' for mark in clip.marks)
    label = escape(f"{clip.title}, {clip.detail}")
    return (
        f'<div class="clip"><audio controls preload="metadata" src="{clip.sound.uri}" aria-label="{label}"></audio>'
        f'<span><b>{escape(clip.title)}</b> <span class="quiet">{escape(clip.detail)}</span> {marks}</span></div>'
    )


def _inline(text: str) -> str:
    """Text as HTML, with `**bold**` and `` `code` `` set off."""
    bold = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(text))
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", bold)


_LONG = 24
"""Characters that a column of facts holds in a line or two."""

_NUMBER = re.compile(r"[-+]?[\d.,]*|-")

_STYLE = """
section { margin: 2.2rem 0; }
section h2 { font-size: 1.3rem; padding-bottom: .2rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .3rem; }
h4 { font-size: .875rem; margin: .2rem 0; color: var(--quiet); }
article h3 { margin: 0; }
code { font-size: .9em; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: .8rem 0; font-size: .875rem; }
a { color: var(--original); }
.verdict { margin: .8rem 0; padding: .6rem 1rem; background: var(--card); border: 1px solid var(--line);
  border-left: 6px solid var(--original); border-radius: 6px; font-size: 1.15rem; }
.missing { padding: .5rem .8rem; border: 1px dashed var(--quiet); border-radius: 6px; }
.scroll { overflow-x: auto; margin: .6rem 0; }
.picture { margin: .6rem 0; }
.scroll table { width: auto; min-width: min(100%, 24rem); }
.scroll th, .scroll td { padding: .25rem .9rem .25rem 0; white-space: nowrap; }
.scroll .number { text-align: right; font-variant-numeric: tabular-nums; }
.facts { display: grid; gap: .5rem 1.6rem; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr));
  grid-auto-flow: dense; margin: .6rem 0; }
.facts > .long { grid-column: 1 / -1; }
ul { margin: .4rem 0; padding-left: 1.2rem; }
.card { margin: .8rem 0; padding: .8rem 1rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; }
.columns { display: grid; gap: .4rem 1.6rem;
  grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr)); }
.columns > div { padding-left: .7rem; border-left: 4px solid var(--line); }
.columns > div:nth-child(1) { border-color: var(--original); }
.columns > div:nth-child(2) { border-color: var(--augmented); }
ol { margin: 0; padding-left: 1.3rem; }
.clip { display: flex; align-items: center; gap: .6rem; padding: .15rem 0; }
.clip > span { flex: 1; }
.clip audio { width: 12rem; height: 2rem; }
.clip button { flex: none; width: 2.2rem; height: 2.2rem; border: 1px solid var(--quiet); border-radius: 50%;
  background: var(--page); color: var(--ink); font-size: .8rem; line-height: 1; cursor: pointer; }
.query { margin-bottom: .6rem; font-size: 1.05rem; }
.mark { margin-right: .3em; padding: 0 .45em; border: 1px solid var(--quiet); border-radius: 999px; font-size: .75rem;
  white-space: nowrap; }
:focus-visible { outline: 2px solid var(--original); outline-offset: 2px; }
@media print { audio, .clip button, nav { display: none; } }
"""

# A sound of half a second needs no slider. Without scripts the browser's own controls stay.
_SCRIPT = """
document.querySelectorAll(".clip audio").forEach(player => {
  const button = document.createElement("button");
  const show = () => { button.textContent = player.paused ? "\\u25b6" : "\\u25a0"; };
  button.setAttribute("aria-label", "play " + player.getAttribute("aria-label"));
  button.addEventListener("click", () => {
    if (player.paused) { player.currentTime = 0; player.play(); } else player.pause();
  });
  ["play", "pause", "ended"].forEach(event => player.addEventListener(event, show));
  player.removeAttribute("controls");
  player.before(button);
  show();
});
"""
