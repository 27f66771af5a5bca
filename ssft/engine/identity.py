"""What a run stands on: it must be unchanged when the run is resumed or exported."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ssft.data.corpus import fingerprint
from ssft.data.targets import Targets
from ssft.errors import RunError
from ssft.types import Utterance


def corpus_identity(utterances: Sequence[Utterance]) -> dict[str, Any]:
    """Return how much audio there is, and a fingerprint of it."""
    hours = round(sum(utterance.seconds for utterance in utterances) / 3600, 6)
    return {"fingerprint": fingerprint(utterances), "utterances": len(utterances), "hours": hours}


def labels_identity(targets: Targets | None) -> str | None:
    """Return a hash of all labels and of whose they are."""
    if targets is None:
        return None
    digest = hashlib.sha256(targets.flat.tobytes())
    digest.update(repr(sorted(targets.ranges.items())).encode())
    return digest.hexdigest()


def refuse_changes(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise if anything in `now` (`base`, `corpus`, `labels`, `settings`) is not what a checkpoint recorded.

    Raises:
        RunError: it is not; names every setting that differs.
    """
    if "base" in now and now["base"] != recorded["base"]:
        raise RunError("The base encoder is not what the run began with: its weights have changed since.")
    if "corpus" in now and now["corpus"] != recorded["corpus"]:
        before, after = (
            f"{corpus['utterances']:,} utterances, {corpus['hours']:.3f} h"
            for corpus in (recorded["corpus"], now["corpus"])
        )
        raise RunError(f"The audio has changed since the run began ({before} -> {after}).")
    if "labels" in now and now["labels"] != recorded["labels"]:
        raise RunError("The labels in data.targets have changed since the run began.")
    before_settings, after_settings = dict(_flat(recorded.get("settings"))), dict(_flat(now.get("settings")))
    keys = sorted(set(before_settings) | set(after_settings))
    changed = [
        f"{key} {before_settings.get(key)} -> {after_settings.get(key)}"
        for key in keys
        if before_settings.get(key) != after_settings.get(key)
    ]
    if changed:
        raise RunError(f"The recipe has changed since the run began ({', '.join(changed)}). Start a new run with it.")


def _flat(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(settings, list) and any(isinstance(item, Mapping) for item in settings):
        for index, value in enumerate(settings):
            yield from _flat(value, f"{prefix}.{index}")
    elif settings is not None or prefix:
        yield prefix, settings
