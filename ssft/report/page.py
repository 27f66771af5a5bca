"""Pairs as a web page that plays them: one file, beside the sounds and pictures, which needs no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from ssft.report.pictures import COLOURS
from ssft.report.steps import in_words

_MEASURES = {
    "seconds": ("length", "{:.2f} s"),
    "f0_median_hz": ("F0 median", "{:.0f} Hz"),
    "voiced_share": ("voiced", "{:.0%}"),
    "rms_dbfs": ("level (RMS)", "{:.1f} dBFS"),
    "peak": ("peak", "{:.2f}"),
}


def page(about: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> str:
    """Return the HTML for pairs.

    Args:
        about: `recipe`, `corpus`, `seed`, `epoch`, `views` (YAML) and `notes` (sentences).
        records: of every pair, with its `files`.
    """
    title = f"{about['recipe']}: the pairs that training hears"
    facts = "".join(f"<div><dt>{name}</dt><dd>{_text(about[name])}</dd></div>" for name in ("corpus", "seed", "epoch"))
    notes = "".join(f"<p>{_text(note)}</p>" for note in about["notes"])
    pairs = "".join(map(_article, records))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<dl>{facts}</dl>
{notes}<details open><summary>views</summary><pre>{escape(about["views"])}</pre></details>
<p class="quiet">Keys: <kbd>A</kbd> plays the original and <kbd>B</kbd> the augmented one of the marked pair, from the
same place on; again to pause. A click marks a pair.</p>
</header>
<main>{pairs}</main>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _article(record: Mapping[str, Any]) -> str:
    crop, files = record["crop"], record["files"]
    where = f"{crop['start_seconds']:.2f} to {crop['start_seconds'] + crop['seconds']:.2f} s of {record['path']}"
    speaker = f" · speaker {record['speaker']}" if record["speaker"] else ""
    spoken = f"<blockquote>{_text(record['text'])}</blockquote>" if record["text"] else ""
    players = "".join(
        f'<div class="player {side}"><span>{side}</span>'
        f'<audio controls preload="metadata" src="{escape(files[side])}"></audio></div>'
        for side in COLOURS
    )
    words = "; ".join(record["words"]["augmented"]) or "nothing"
    picture = escape(files["picture"])
    return f"""
<article tabindex="-1">
<h2>{record["number"]}. {_text(record["id"])}</h2>
<p class="quiet">{_text(where)}{_text(speaker)}</p>
{spoken}<div class="players">{players}</div>
<a class="picture" href="{picture}"><img src="{picture}" loading="lazy"
alt="Waveform, spectrogram and F0 of both. Augmented by: {escape(words)}."></a>
<div class="tables">{_drawn(record)}{_measured(record)}</div>
{"".join(f'<p class="quiet">{_text(remark)}</p>' for remark in _remarks(record))}</article>"""


def _drawn(record: Mapping[str, Any]) -> str:
    """The parameters of both sides, a line for each."""
    rows = []
    for side in reversed(COLOURS):
        own = "".join(f"<tr>{cells}</tr>" for cells in _cells(record, side))
        if side == "augmented" or own:
            rows.append(f"<tr><th colspan=2 class={side}>{side}: what was drawn</th></tr>")
            rows.append(own or "<tr><td colspan=2>nothing: it is the recording as it is</td></tr>")
    return f"<table class=drawn>{''.join(rows)}</table>"


def _cells(record: Mapping[str, Any], side: str) -> Iterator[str]:
    """The cells of each row about one side: the name of a step, then its parameters."""
    steps = record["steps"].get(side)
    if steps is None:
        yield from (f"<td colspan=2>{_text(words)}</td>" for words in record["words"][side])
    for step in steps or ():
        yield f"<th colspan=2>{_text(step['name'])}{'' if step['changed'] else ': no change'}</th>"
        lines = dict(in_words(step["parameters"]))
        if "measured_snr_db" in step:
            lines["snr, measured"] = f"{step['measured_snr_db']:.2f} dB"
        yield from (f"<td>{_text(name)}</td><td>{_text(value)}</td>" for name, value in lines.items())


def _measured(record: Mapping[str, Any]) -> str:
    """Length, pitch and level of the two, side by side."""
    rows = [f"<tr><th>measured</th>{''.join(f'<th class={side}>{side}</th>' for side in COLOURS)}</tr>"]
    for key, (name, form) in _MEASURES.items():
        values = [record[side][key] for side in COLOURS]
        cells = "".join(f"<td>{'none' if value is None else form.format(value)}</td>" for value in values)
        rows.append(f"<tr><th>{name}</th>{cells}</tr>")
    change = record["f0_change_semitones"]
    if change is not None:
        rows.append(f"<tr><th>F0 change</th><td></td><td>{change:+.1f} semitones</td></tr>")
    return f"<table class=measured>{''.join(rows)}</table>"


def _remarks(record: Mapping[str, Any]) -> Iterator[str]:
    if record["student_hears"] == "original":
        yield "Swapped: the student hears the original, the reference the augmented one."
    if record["lead_seconds"]:
        yield f"The original is delayed by {record['lead_seconds']:.2f} s of silence (views.pad_jitter)."
    if record["scale_in_files"] < 1:
        yield f"Both are played at {record['scale_in_files']:.2f} of their level, so that no peak is cut off."
    if record["fallbacks"]:
        yield "An augmentation could not be applied as it should and fell back to another."


def _text(value: Any) -> str:
    return escape(str(value))


_STYLE = f"""
:root {{ --ink: #1c1e21; --quiet: #5c6168; --page: #f6f6f4; --card: #fff; --line: #dcdcd8;
  --original: {COLOURS["original"]}; --augmented: {COLOURS["augmented"]}; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e8e8e6; --quiet: #a5a9ae; --page: #16181a; --card: #212427; --line: #3b3f44;
    --original: #56b4e9; --augmented: #f0893e; }}
}}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; max-width: 70rem; padding: 1rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.5rem; line-height: 1.25; }}
h2 {{ font-size: 1.1rem; margin: 0; }}
p, blockquote {{ margin: .4rem 0; }}
blockquote {{ padding-left: .7rem; border-left: 3px solid var(--line); }}
.quiet {{ color: var(--quiet); font-size: .875rem; }}
dl {{ display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; margin: 0; }}
dt {{ color: var(--quiet); font-size: .875rem; }}
dd {{ margin: 0; }}
details {{ margin: .6rem 0; }}
summary {{ cursor: pointer; }}
pre {{ margin: .4rem 0; padding: .7rem; overflow-x: auto; font-size: .8125rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 6px; overflow-wrap: normal; }}
kbd {{ padding: 0 .35em; border: 1px solid var(--line); border-radius: 4px; background: var(--card); }}
article {{ margin: 1rem 0; padding: 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }}
article.marked {{ outline: 2px solid var(--quiet); }}
.players, .tables {{ display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr)); }}
.players {{ margin: .7rem 0; }}
.player {{ padding-left: .6rem; border-left: 5px solid; }}
.player.original {{ border-color: var(--original); }}
.player.augmented {{ border-color: var(--augmented); }}
.player span {{ display: block; font-weight: 600; font-size: .875rem; }}
audio {{ width: 100%; height: 2.5rem; }}
.picture {{ display: block; overflow-x: auto; background: #fff; border-radius: 6px; }}
.picture img {{ display: block; width: 100%; min-width: 40rem; }}
.tables {{ margin-top: .8rem; align-items: start; }}
table {{ border-collapse: collapse; width: 100%; font-size: .875rem; }}
th, td {{ padding: .2rem .6rem .2rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top;
  overflow-wrap: normal; }}
.drawn td:last-child {{ width: 99%; overflow-wrap: anywhere; }}
.drawn td:first-child {{ min-width: 8rem; }}
.measured td {{ width: 35%; }}
th {{ font-weight: 600; white-space: nowrap; }}
th.original {{ color: var(--original); }}
th.augmented {{ color: var(--augmented); }}
"""

_SCRIPT = """
const pairs = [...document.querySelectorAll("article")];
let marked, last;
function mark(pair) {
  pairs.forEach(other => other.classList.toggle("marked", other === pair));
  marked = pair;
}
function press(player) {
  if (!player.paused) return player.pause();
  if (last && last !== player && marked.contains(last)) {
    player.currentTime = last.ended ? 0 : player.duration * last.currentTime / last.duration || 0;
  }
  player.play();
}
pairs.forEach(pair => ["pointerdown", "focusin"].forEach(event => pair.addEventListener(event, () => mark(pair))));
document.addEventListener("play", event => {
  document.querySelectorAll("audio").forEach(player => player === event.target || player.pause());
  last = event.target;
  mark(last.closest("article"));
}, true);
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const place = ["a", "b"].indexOf(event.key.toLowerCase());
  if (marked && place >= 0) press(marked.querySelectorAll("audio")[place]);
});
if (pairs.length) mark(pairs[0]);
"""
