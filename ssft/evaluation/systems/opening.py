"""`open_system` and `open_encoder`: a system by what users call it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ssft.encoders import PretrainedEncoder
from ssft.errors import EncoderError, RecipeError, closest
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.frames import FrameStore
from ssft.evaluation.systems.condition import Condition
from ssft.evaluation.systems.controls import CONTROLS
from ssft.evaluation.systems.encoder import EncoderFrames, random_encoder
from ssft.evaluation.systems.mfcc import MfccFrames

MFCC, RANDOM = "mfcc", "random:"


def open_system(
    spec: str,
    *,
    corpus: LabelledCorpus,
    cache: Path,
    layers: Sequence[int] | Literal["last"] | None = None,
    conditions: Sequence[Condition] = (),
    condition_layers: Sequence[int] | Literal["all"] | None = None,
    seed: int = 0,
) -> FrameStore:
    """Return a system; its audio is encoded when it is first asked for.

    Args:
        spec: a Hub id, a folder with an encoder, a run (which stands for its `adapted`), or `tiny`; `mfcc`; or
            `random:MODEL`, the same architecture with fresh weights. Behind any of these `+mean-removed`, `+smoothed`
            or `+whitened`, one or several.
        corpus: the audio.
        cache: a folder for frames, which several systems and calls may share.
        layers: which are measured; None is all. MFCC have one.
        conditions: in which audio is heard, beside clean.
        condition_layers: which layers are measured in these; None is the last of `layers`, `all` are all of them.
        seed: of fresh weights.

    Raises:
        EncoderError: there is no such model or layer.
        RecipeError: there is no such control, or what `CachedFrames` refuses.

    Example:
        >>> store = open_system("runs/score+mean-removed", corpus=open_corpus("demo"), cache=Path("frames"))
        >>> store.name, store.layers
        ('runs/score+mean-removed', (0, 1, 2, 3, 4, 5, 6))
    """
    model, controls = _parse(spec)
    store: FrameStore
    if model == MFCC:
        store = MfccFrames(corpus, cache=cache, name=model, conditions=conditions)
    else:
        encoder = open_encoder(model, seed=seed)
        store = EncoderFrames(
            encoder,
            corpus,
            name=model,
            cache=cache,
            layers=(encoder.num_layers,) if layers == "last" else layers,
            conditions=conditions,
            condition_layers=condition_layers,
        )
    for control in controls:
        store = CONTROLS[control](store)
    return store


def open_encoder(spec: str, *, seed: int = 0) -> PretrainedEncoder:
    """Return the encoder that `open_system` takes frames from.

    Args:
        spec: what `open_system` knows, but `mfcc` and what has a control behind it.
        seed: of fresh weights.

    Raises:
        EncoderError: there is no such encoder, or these are only frames.
        RecipeError: there is no such control.

    Example:
        >>> open_encoder("random:tiny").num_layers
        6
    """
    model, controls = _parse(spec)
    if model == MFCC or controls:
        raise EncoderError(
            f"{spec} is not an encoder but only frames, so there are no weights or attention to look at."
        )
    is_random = model.startswith(RANDOM)
    source = model.removeprefix(RANDOM)
    path = Path(source).expanduser()
    if (path / "adapted").is_dir():
        source = str(path / "adapted")
    elif (path / "recipe.yaml").is_file() and not (path / "config.json").is_file():
        raise EncoderError(f"{path} is a run without an adapted model. Make it with `ssft export {path}`.")
    try:
        return random_encoder(source, seed=seed) if is_random else PretrainedEncoder.load(source)
    except EncoderError as error:
        if "/" in source or path.exists():
            raise
        raise EncoderError(f"{error} {closest(model, ('tiny', MFCC, f'{RANDOM}tiny'))}") from error


def _parse(spec: str) -> tuple[str, list[str]]:
    """A model, and the controls behind it."""
    model, controls = spec, list[str]()
    while "+" in model and not Path(model).expanduser().exists():  # a folder may have a + in its name
        model, _, control = model.rpartition("+")
        if control not in CONTROLS:
            raise RecipeError(f"'{spec}': there is no control '{control}'. {closest(control, CONTROLS)}")
        controls.insert(0, control)
    return model, controls
