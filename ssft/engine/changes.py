"""What may not change while a run lasts, unless it is changed on purpose."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ssft.errors import RecipeError, RunError, closest

_THINGS = ("base", "corpus", "labels")


def refuse_changes(recorded: Mapping[str, Any], now: Mapping[str, Any], *, allowed: Collection[str] = ()) -> list[str]:
    """Compare what a run stands on with what a checkpoint recorded; return what was changed on purpose.

    Args:
        recorded: `base`, `corpus`, `labels` and `settings` of the checkpoint.
        now: the same, or some of it, as it is now.
        allowed: settings, or sections of them, that may differ, such as `train.steps`; and `base`, `corpus`, `labels`.

    Raises:
        RunError: something else differs; names everything that does.
        RecipeError: `allowed` names what does not exist.
    """
    changes = {**_changed_things(recorded, now), **_changed_settings(recorded, now)}
    known = {*_THINGS, *_flat_keys(recorded.get("settings")), *_flat_keys(now.get("settings"))}
    for key in allowed:
        if key not in known and not any(name.startswith(f"{key}.") for name in known):
            raise RecipeError(f"--allow-change {key}: there is no such setting. {closest(key, known)}")
    refused = {key: text for key, text in changes.items() if not _is_covered(key, allowed)}
    if refused:
        lines = "".join(f"\n  {text}" for text in refused.values())
        flags = " ".join(f"--allow-change {key}" for key in refused)
        raise RunError(
            f"What the run stands on has changed since it began:{lines}\nUndo that, start a new run, or, if it is "
            f"meant, add: {flags}"
        )
    return list(changes.values())


def _changed_things(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    if "base" in now and now["base"] != recorded["base"]:
        found["base"] = "The base encoder is not what the run began with: its weights have changed."
    if "corpus" in now and now["corpus"] != recorded["corpus"]:
        before, after = (
            f"{corpus['utterances']:,} utterances, {corpus['hours']:.3f} h"
            for corpus in (recorded["corpus"], now["corpus"])
        )
        found["corpus"] = f"The audio has changed ({before} -> {after})."
    if "labels" in now and now["labels"] != recorded["labels"]:
        found["labels"] = "The labels in data.targets have changed."
    return found


def _changed_settings(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    before, after = (dict(_flat(settings.get("settings"))) for settings in (recorded, now))
    if "settings" not in now:
        return {}
    keys = sorted(set(before) | set(after))
    return {key: f"{key} {before.get(key)} -> {after.get(key)}" for key in keys if before.get(key) != after.get(key)}


def _is_covered(key: str, allowed: Collection[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in allowed)


def _flat_keys(settings: Any) -> set[str]:
    return {key for key, _ in _flat(settings)}


def _flat(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(settings, list) and any(isinstance(item, Mapping) for item in settings):
        for index, value in enumerate(settings):
            yield from _flat(value, f"{prefix}.{index}")
    elif settings is not None or prefix:
        yield prefix, settings
