"""Hidden states of any encoder over any list of utterances, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ssft.data import batches_by_length, read_audio
from ssft.encoders import PretrainedEncoder
from ssft.errors import EncoderError
from ssft.types import Utterance, Waves


def stream_features(
    encoder: PretrainedEncoder,
    utterances: Sequence[Utterance],
    *,
    layer: int | None = None,
    transform: Callable[[np.ndarray, Utterance], np.ndarray] | None = None,
    batch_seconds: float = 60.0,
    progress: str | None = None,
) -> Iterator[tuple[Utterance, Tensor]]:
    """Yield each utterance with its frames [F, D] float32 on the CPU, in order of length.

    What is yielded does not depend on what shares the batch, beyond rounding.

    Args:
        encoder: any pre-trained or adapted encoder.
        utterances: what to encode, whole.
        layer: 0 is the input of the first transformer layer, k the output of layer k; None is the last hidden state,
            which for large models comes after one more norm.
        transform: changes each waveform [T] before it is encoded, e.g. adds noise.
        batch_seconds: audio per batch, padding included.
        progress: label of a progress bar, shown on a terminal if it takes more than two seconds.

    Raises:
        EncoderError: no such layer.
        AudioError: an utterance that cannot be read.

    Example:
        >>> frames = dict((u.id, f) for u, f in stream_features(PretrainedEncoder.load("tiny"), utterances, layer=4))
    """
    if layer is not None and not 0 <= layer <= encoder.num_layers:
        raise EncoderError(f"layer={layer}: {encoder.source} has layers 0 to {encoder.num_layers}.")
    device = next(encoder.parameters()).device
    bar = tqdm(
        total=len(utterances), desc=progress, unit="utt", delay=2.0, leave=False, disable=None if progress else True
    )
    for indices in batches_by_length([utterance.seconds for utterance in utterances], batch_seconds):
        batch = [utterances[index] for index in indices]
        waves = Waves.stack([torch.from_numpy(_read(utterance, transform)) for utterance in batch]).to(device)
        with torch.no_grad():
            frames = encoder(waves) if layer is None else encoder.hidden_states(waves)[layer]
        yield from zip(batch, (item.float().cpu() for item in frames.items()), strict=True)
        bar.update(len(batch))
    bar.close()


def _read(utterance: Utterance, transform: Callable[[np.ndarray, Utterance], np.ndarray] | None) -> np.ndarray:
    wave = read_audio(utterance.path, start=utterance.start, seconds=utterance.seconds)
    return wave if transform is None else transform(wave, utterance).astype(np.float32)
