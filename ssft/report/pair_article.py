"""A pair as a part of a web page: what one hears, sees, and reads of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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


def article(record: Mapping[str, Any], *, heading: str = "h2") -> str:
    """Return the HTML of a pair: its sounds, its picture, what was drawn and what was measured.

    Args:
        record: what `HeardPair.record` says, with `number` and `files`: where both sounds and the picture are, by name
            or as data URIs.
        heading: the tag of its title.
    """
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
    source = escape(files["picture"])
    picture = (
        f'<img src="{source}" loading="lazy" '
        f'alt="Waveform, spectrogram and F0 of both. Augmented by: {escape(words)}.">'
    )
    if not source.startswith("data:"):
        picture = f'<a href="{source}">{picture}</a>'
    return f"""
<article tabindex="-1">
<{heading}>{record["number"]}. {_text(record["id"])}</{heading}>
<p class="quiet">{_text(where)}{_text(speaker)}</p>
{spoken}<div class="players">{players}</div>
<div class="picture">{picture}</div>
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
