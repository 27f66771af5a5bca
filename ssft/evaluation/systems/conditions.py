"""Which conditions a command line asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssft.augment import AUGMENTATIONS, PRESETS, AddNoise, Reverb, Transform
from ssft.augment.noise import SYNTHETIC
from ssft.components import build
from ssft.errors import RecipeError
from ssft.evaluation.corpus import TEST, TRAIN, LabelledCorpus
from ssft.evaluation.systems.babble import Babble
from ssft.evaluation.systems.condition import Condition

NONE = "none"
BABBLE = "babble"


def parse_conditions(
    *,
    noise: str = "pink",
    snrs_db: Sequence[float] = (),
    reverb: str = NONE,
    augmentations: Sequence[str | dict[str, Any]] = (),
    corpus: LabelledCorpus | None = None,
    seed: int = 0,
) -> list[Condition]:
    """Return the conditions beside clean audio, after making sure that what they need is there.

    Args:
        noise: `white` or `pink`; a folder or list of recordings, as `AddNoise` takes it; `babble`, utterances of others
            in the corpus; or `none`.
        snrs_db: a condition for each ratio of signal to noise, e.g. `pink noise 5 dB`.
        reverb: `rooms`, simulated ones; a folder or list of impulse responses; or `none`.
        augmentations: further conditions of that name: of `AUGMENTATIONS` or `PRESETS`, e.g. `pitch_shift`, or a
            mapping of a name and settings.
        corpus: where babble comes from: `train`, if it has such a split.
        seed: of all that is drawn.

    Raises:
        RecipeError: unknown names, no such recordings, or settings that do not fit.

    Example:
        >>> [condition.name for condition in parse_conditions(snrs_db=[10, 0], reverb="rooms")]
        ['pink noise 10 dB', 'pink noise 0 dB', 'reverberation']
    """
    made: list[tuple[str, Transform]] = []
    if noise != NONE:
        made += [(f"{_label(noise)} {snr_db:g} dB", _noise(noise, snr_db, corpus)) for snr_db in snrs_db]
    if reverb != NONE:
        made.append(("reverberation", Reverb(reverb)))
    for spec in augmentations:
        name = str(spec["name"]) if isinstance(spec, dict) else spec
        made.append((name, build({**AUGMENTATIONS, **PRESETS}, spec, where="condition")))
    for _, augmentation in made:
        augmentation.check()
    return [Condition(name, augmentation, seed) for name, augmentation in made]


def _noise(source: str, snr_db: float, corpus: LabelledCorpus | None) -> Transform:
    if source != BABBLE:
        return AddNoise(source, snr_db=[snr_db])
    if corpus is None:
        raise RecipeError("Babble is made of a corpus, and none is given. Use pink or white noise, or recordings.")
    return Babble(corpus.splits.get(TRAIN) or corpus.splits[TEST], snr_db=snr_db)


def _label(source: str) -> str:
    """What noise is called: `pink noise`, `babble`, or what its recordings are called."""
    if source in SYNTHETIC:
        return f"{source} noise"
    path = Path(source).expanduser()
    name = path.stem if path.stem != "manifest" else path.absolute().parent.name
    return name if "noise" in name.lower() or source == BABBLE else f"{name} noise"
