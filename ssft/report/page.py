"""Pairs as a web page that plays them: one file, beside the sounds and pictures, which needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ssft.report.pair_article import article
from ssft.report.web_page import web_page


def page(about: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> str:
    """Return the HTML for pairs.

    Args:
        about: `recipe`, `corpus`, `seed`, `epoch`, `views` (YAML) and `notes` (sentences).
        records: of every pair, with its `files`.
    """
    title = f"{about['recipe']}: the pairs that training hears"
    facts = "".join(f"<div><dt>{name}</dt><dd>{_text(about[name])}</dd></div>" for name in ("corpus", "seed", "epoch"))
    notes = "".join(f"<p>{_text(note)}</p>" for note in about["notes"])
    pairs = "".join(map(article, records))
    body = f"""<header>
<h1>{escape(title)}</h1>
<dl>{facts}</dl>
{notes}<details open><summary>views</summary><pre>{escape(about["views"])}</pre></details>
<p class="quiet">Keys: <kbd>A</kbd> plays the original and <kbd>B</kbd> the augmented one of the marked pair, from the
same place on; again to pause. A click marks a pair.</p>
</header>
<main>{pairs}</main>"""
    return web_page(title, body)


def _text(value: Any) -> str:
    return escape(str(value))
