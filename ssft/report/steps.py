"""What an augmentation did to a waveform, one step after the other, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssft.augment import AUGMENTATIONS, AddNoise, Transform
from ssft.augment.compose import Compose, Maybe, OneOf
from ssft.components import describe
from ssft.report.measures import snr_db

_UNITS = {"db": "dB", "hz": "Hz", "seconds": "s", "ms": "ms", "kbps": "kbit/s"}
_SIGNED = ("semitones", "gain", "gains")
_FEW = 4  # numbers that a reader takes in one by one


@dataclass(frozen=True)
class Step:
    """One augmentation as it was applied.

    `name` is its name in recipes, `parameters` are what it drew, `changed` says whether it altered the waveform, and
    `snr_db` is, of noise, the measured ratio of the power of what came in to that of what was added.
    """

    name: str
    parameters: Mapping[str, Any]
    changed: bool
    snr_db: float | None = None

    @property
    def words(self) -> str:
        """All of it in a few words, such as `speed_perturb factor 0.9`."""
        drawn = ", ".join(f"{what} {value}" for what, value in in_words(self.parameters, short=True))
        return " ".join(filter(None, (self.name, drawn, "" if self.changed else "(no change)")))

    def record(self) -> dict[str, Any]:
        """The step as plain values, fit for JSON."""
        measured = {} if self.snr_db is None else {"measured_snr_db": round(self.snr_db, 3)}
        return {
            "name": self.name,
            "parameters": describe(self.parameters),
            "changed": self.changed,
            "words": self.words,
            **measured,
        }


def steps_of(augmentation: Any, drawn: Mapping[str, Any], clean: np.ndarray, result: np.ndarray) -> list[Step]:
    """Return what turned `clean` [T] into `result` [T'], steps inside of `Compose` and its like one by one.

    Args:
        augmentation: as it is for the speaker.
        drawn: its parameters.
        clean: the waveform that it was given.
        result: what it made of it, so that the last step need not be repeated.
    """
    parts = list(_applied(augmentation, drawn))
    steps, wave = [], clean
    for number, (transform, parameters) in enumerate(parts, start=1):
        after = result if number == len(parts) else transform.apply(wave, dict(parameters))
        changed = not np.array_equal(wave, after)
        is_noise = isinstance(transform, AddNoise) and changed
        steps.append(Step(name_of(transform), parameters, changed, snr_db(wave, after - wave) if is_noise else None))
        wave = after
    return steps


def name_of(augmentation: Any) -> str:
    """The name of an augmentation in recipes; of the user's own, the name of the class or function."""
    cls = type(augmentation)
    own: str = getattr(augmentation, "__name__", cls.__name__)
    return next((name for name, known in AUGMENTATIONS.items() if known is cls), own)


def in_words(parameters: Mapping[str, Any], *, short: bool = False) -> Iterator[tuple[str, str]]:
    """Give name and value of every parameter, nested ones too, with units; `short` gives many numbers as a range.

    Example:
        >>> list(in_words({"snr_db": 5.0, "equalizer": {"gains_db": [-3.21, 4.0]}}))
        [('snr', '5 dB'), ('equalizer gains', '-3.21, +4 dB')]
    """
    for key, value in describe(parameters).items():
        if isinstance(value, Mapping):
            for inner, text in in_words(value, short=short):
                yield f"{_spaced(key)} {inner}", text
        elif not (short and key == "seed"):  # says nothing to people
            stem, _, suffix = key.rpartition("_")
            unit = _UNITS.get(suffix, "")
            sign = "+" if stem in _SIGNED or key in _SIGNED else ""
            text = _listed(value, sign, short=short) if isinstance(value, list) else _number(value, sign)
            yield _spaced(stem if unit and stem else key), f"{text} {unit}".rstrip()


def _applied(augmentation: Any, drawn: Mapping[str, Any]) -> Iterator[tuple[Transform, Mapping[str, Any]]]:
    """Give each augmentation that is not made of others, in the order of application, with what was drawn for it."""
    if isinstance(augmentation, Compose):
        for step, parameters in zip(augmentation.steps, drawn["steps"], strict=True):
            yield from _applied(step, parameters)
    elif isinstance(augmentation, OneOf):
        yield from _applied(augmentation.choices[drawn["choice"]], drawn["parameters"])
    elif isinstance(augmentation, Maybe):
        if drawn:
            yield from _applied(augmentation.augmentation, drawn["parameters"])
    else:
        yield augmentation, drawn


def _spaced(key: str) -> str:
    return key.replace("_", " ")


def _listed(values: Sequence[Any], sign: str, *, short: bool) -> str:
    are_numbers = all(isinstance(value, (int, float)) for value in values)
    if short and are_numbers and len(values) > _FEW:
        return f"{_number(min(values), sign)} to {_number(max(values), sign)}"
    return ", ".join(_number(value, sign) for value in values)


def _number(value: Any, sign: str) -> str:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and abs(value) < 1000:
        return f"{value:{sign}.3g}"
    return str(value).encode(errors="backslashreplace").decode()  # a file name that is not UTF-8
