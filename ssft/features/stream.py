"""`stream_features`: utterances and their hidden states, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, overload

import torch
from torch import Tensor

from ssft.data.audio import AudioError
from ssft.encoders import PretrainedEncoder
from ssft.errors import RecipeError
from ssft.features.batch import Transform
from ssft.features.extractor import Extractor, States
from ssft.types import Reject, Utterance


@overload
def stream_features(
    encoder: PretrainedEncoder,
    utterances: Sequence[Utterance],
    *,
    layer: int | None = ...,
    transform: Transform | None = ...,
    batch_seconds: float = ...,
    window_seconds: float = ...,
    overlap_seconds: float = ...,
    dtype: Literal["float32", "bfloat16"] = ...,
    on_reject: Callable[[Reject], None] | None = ...,
    progress: str | None = ...,
) -> Iterator[tuple[Utterance, Tensor]]: ...


@overload
def stream_features(
    encoder: PretrainedEncoder,
    utterances: Sequence[Utterance],
    *,
    layers: Sequence[int],
    transform: Transform | None = ...,
    batch_seconds: float = ...,
    window_seconds: float = ...,
    overlap_seconds: float = ...,
    dtype: Literal["float32", "bfloat16"] = ...,
    on_reject: Callable[[Reject], None] | None = ...,
    progress: str | None = ...,
) -> Iterator[tuple[Utterance, States]]: ...


def stream_features(
    encoder: PretrainedEncoder,
    utterances: Sequence[Utterance],
    *,
    layer: int | None = None,
    layers: Sequence[int] | None = None,
    transform: Transform | None = None,
    batch_seconds: float = 60.0,
    window_seconds: float = 40.0,
    overlap_seconds: float = 4.0,
    dtype: Literal["float32", "bfloat16"] = "float32",
    on_reject: Callable[[Reject], None] | None = None,
    progress: str | None = None,
) -> Iterator[tuple[Utterance, Tensor]] | Iterator[tuple[Utterance, States]]:
    """Give each utterance with its frames [F, D] float32 on the CPU, in order of length.

    What is given does not depend on what shares the batch, beyond rounding. Long utterances are encoded in windows;
    `Extractor` says what that changes, and its `parts` give these in parts too, so that not even the frames of a whole
    recording have to fit into memory.

    Args:
        encoder: any pre-trained or adapted encoder.
        utterances: what to encode.
        layer: 0 is the input of the first transformer layer, k the output of layer k; None is the last hidden state,
            which for large models comes after one more norm.
        layers: several of them at once; each utterance then comes with a mapping from layer to frames.
        transform: changes each waveform [T] before it is encoded, e.g. adds noise. As it may need all of it, nothing
            is cut into windows.
        batch_seconds: audio per batch, padding included.
        window_seconds: longer utterances are encoded in windows of about this length.
        overlap_seconds: what neighbouring windows share.
        dtype: `bfloat16` computes under autocast; frames are float32 either way.
        on_reject: is told of an utterance that cannot be read, and the others go on; without it that is an error.
        progress: label of a progress bar, shown on a terminal if it takes more than two seconds.

    Raises:
        EncoderError: no such layer.
        RecipeError: other settings that do not fit.
        AudioError: an utterance that cannot be read.

    Example:
        >>> frames = dict((u.id, f) for u, f in stream_features(PretrainedEncoder.load("tiny"), utterances, layer=4))
    """
    if layer is not None and layers is not None:
        raise RecipeError(f"stream_features(layer={layer}, layers={layers}): give one or the other.")
    extractor = Extractor(
        encoder,
        layers=layers if layer is None else (layer,),
        batch_seconds=batch_seconds,
        window_seconds=window_seconds,
        overlap_seconds=overlap_seconds,
        dtype=dtype,
    )
    whole = _whole(extractor, utterances, transform, on_reject, progress)
    if layers is not None:
        return whole
    (only,) = extractor.layers
    return ((utterance, states[only]) for utterance, states in whole)


def _whole(
    extractor: Extractor,
    utterances: Sequence[Utterance],
    transform: Transform | None,
    on_reject: Callable[[Reject], None] | None,
    progress: str | None,
) -> Iterator[tuple[Utterance, States]]:
    """Put the parts of each utterance together."""
    held: list[States] = []
    for part in extractor.parts(utterances, transform=transform, progress=progress):
        if isinstance(part, Reject):
            if on_reject is None:
                raise AudioError(part.reason, part.path, part.detail)
            held.clear()
            on_reject(part)
            continue
        held.append(part.states)
        if part.is_last:
            yield part.utterance, {layer: torch.cat([states[layer] for states in held]) for layer in extractor.layers}
            held.clear()
