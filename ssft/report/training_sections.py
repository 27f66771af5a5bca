"""What a run wrote down, as sections of its report: what was trained, its curves, its audio."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssft.components import as_call
from ssft.data import Utterances
from ssft.data.audio import REASONS
from ssft.errors import RunError
from ssft.evaluation.items import UNKNOWN_SPEAKERS
from ssft.report.curves import names_of, training_curves
from ssft.report.document import Block, Code, Facts, Fold, Made, Picture, Table, Text
from ssft.report.run_files import RunFiles
from ssft.types import Reject

_REJECTS_NAMED = 3


def trained(files: RunFiles) -> Made:
    """What the run was told to do, and what it did."""
    facts = training_facts(files)
    blocks: list[Block] = [Text(note) for note in (*_state(files), *files.problems)]
    blocks.append(_facts(facts))
    if packages := files.environment.get("packages"):
        blocks.append(Fold("versions", [Facts({name: str(number) for name, number in packages.items()})]))
    summary = "recipe.yaml: every setting; `ssft train recipe.yaml` repeats the run"
    blocks.append(Fold(summary, [Code(files.recipe_text)]))
    return blocks, {**facts, "environment": dict(files.environment), "problems": list(files.problems)}


def training_facts(files: RunFiles) -> dict[str, Any]:
    """Return what was trained as plain values; None for what is not known."""
    exported, last = files.exported, files.metrics[-1] if files.metrics else {}
    base = exported.get("base") or {}
    hours, speed = last.get("hours"), last.get("audio_per_second")
    augmented = files.setting("views", "augmented")
    adapter = files.setting("encoder", "adapter")
    return {
        "recipe": files.setting("name"),
        "base": files.setting("encoder", "model"),
        "revision": files.setting("encoder", "revision"),
        "weights_of_the_base": str(base.get("sha256", ""))[:16],
        "trained_layers": exported.get("trained_layers") or files.setting("encoder", "trainable_layers"),
        "trained_parameters": exported.get("trained_parameters"),
        "adapter": as_call(adapter) if adapter else None,
        "loss": as_call(files.setting("loss")),
        "head": as_call(files.setting("head")),
        "augmentation": as_call(augmented) if augmented else "none",
        "reference": as_call(files.setting("views", "reference")),
        "steps": files.steps_made,
        "steps_planned": files.setting("train", "steps"),
        "exported_step": files.chosen_step,
        "chosen_by": files.setting("train", "select"),
        "heard_hours": None if hours is None else round(hours, 3),
        "minutes_of_steps": round(60 * hours / speed, 1) if hours and speed else None,
        "times_real_time": speed,
        "learning_rate": files.setting("train", "lr"),
        "seed": files.setting("train", "seed"),
        "device": files.environment.get("device"),
        "python": files.environment.get("python"),
        "folder": str(files.folder),
    }


def curves(files: RunFiles) -> Made:
    """Every number over steps."""
    if not files.metrics:
        raise RunError(f"{files.folder / 'metrics.jsonl'} holds no step: the run has made none, or the file is lost.")
    # Where the last one is taken, what checkpoints are ranked by is the step itself.
    judged = [record for record in files.validation if record.get("select") != "last"]
    discarded = [record["step"] for record in files.discarded]
    png = training_curves(files.metrics, judged, discarded=discarded, chosen=files.chosen_step)
    blocks: list[Block] = [Picture(png, f"curves of {', '.join(names_of([*files.metrics, *judged]))} over steps")]
    if discarded:
        reasons = Counter(str(record.get("what", "unknown")) for record in files.discarded)
        named = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
        blocks.append(Text(f"Steps thrown away: {len(discarded):,}, {named}. discarded.jsonl names the recordings."))
    if judged:
        names = ["value", *(name for name in names_of(judged) if name != "value")]
        rows = [
            [f"{record['step']}{' (exported)' if record['step'] == files.chosen_step else ''}"]
            + [_number(record.get(name)) for name in names]
            for record in judged
        ]
        header = ["step", f"value, {judged[-1].get('select')}", *names[1:]]
        blocks.append(Fold("checkpoints as they were judged", [Table(header, rows)]))
    ends = {name: [files.metrics[0].get(name), files.metrics[-1].get(name)] for name in names_of(files.metrics)}
    record = {"steps": files.steps_made, "first_and_last": ends, "validation": judged, "discarded": discarded}
    return blocks, record


def audio(files: RunFiles, utterances: Utterances | None, *, held_out: int = 0, lost: str = "") -> Made:
    """What the run listened to, and what it could not use.

    Args:
        files: of the run.
        utterances: all that could be used; None if the run's list is lost.
        held_out: how many of them were kept from training.
        lost: why the list is.
    """
    facts: dict[str, Any] = {"root": files.setting("data", "root"), "split": files.setting("data", "split")}
    blocks: list[Block] = []
    if utterances is None:
        known = files.exported.get("data") or {}
        facts |= {name: known.get(name) for name in ("utterances", "hours")}
        blocks.append(Text(f"Speakers are not known: {lost}"))
    else:
        first_of_each = np.unique(utterances.speakers.codes, return_index=True)[1].tolist()
        speakers = {utterances.speakers[place] for place in first_of_each} - {None, *UNKNOWN_SPEAKERS}
        median = float(np.median(utterances.seconds)) if len(utterances) else None
        facts |= {
            "utterances": len(utterances),
            "hours": round(utterances.hours, 3),
            "speakers": len(speakers) or None,
            "median_seconds": median and round(median, 2),
            "kept_from_training": held_out,
            "fingerprint": utterances.fingerprint,
        }
    blocks.append(_facts(facts))
    by_reason = Counter(reject.reason for reject in files.rejects)
    if by_reason:
        blocks.append(_rejects(files.rejects, by_reason))
    else:
        blocks.append(Text("No file was rejected."))
    named = [{"id": one.id, "path": str(one.path), "reason": one.reason, "detail": one.detail} for one in files.rejects]
    return blocks, {**facts, "rejects": dict(by_reason.most_common()), "rejected": named[:100]}


def _rejects(rejects: Sequence[Reject], by_reason: Counter[str]) -> Block:
    rows = []
    for reason, count in by_reason.most_common():
        paths = [str(one.path) for one in rejects if one.reason == reason]
        more = f" and {count - _REJECTS_NAMED:,} more" if count > _REJECTS_NAMED else ""
        rows.append([reason, f"{count:,}", REASONS.get(reason, ""), ", ".join(paths[:_REJECTS_NAMED]) + more])
    return Table(["rejected", "files", "what it means", "such as"], rows)


def _state(files: RunFiles) -> list[str]:
    planned, made = files.setting("train", "steps"), files.steps_made
    notes = []
    if isinstance(planned, int) and made < planned:
        notes.append(
            f"The run has made {made:,} of {planned:,} steps: unfinished, or ended as no checkpoint got better. "
            f"`ssft resume {files.folder}` goes on."
        )
    if not files.exported:
        notes.append(f"There is no adapted model. `ssft export {files.folder}` makes it of the newest checkpoint.")
    return notes


def _facts(facts: Mapping[str, Any]) -> Facts:
    return Facts({name.replace("_", " "): _shown(value) for name, value in facts.items() if value not in (None, "")})


def _shown(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float, list)):
        return str(value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else "-"
