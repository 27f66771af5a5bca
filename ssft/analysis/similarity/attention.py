"""Similarity of attention: whether heads of one layer look where heads of another do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ssft.analysis.moments import Floats
from ssft.encoders import PretrainedEncoder
from ssft.errors import DataError, EncoderError
from ssft.features import Batch
from ssft.randomness import derive_rng, derive_seed
from ssft.types import SAMPLE_RATE, Utterance, Waves

LONGEST_SECONDS = 20.0
"""Only so much of an utterance is encoded: a map has the square of its frames."""

QUERIES = 32
"""Rows of the maps of an utterance that are compared, drawn anew for each; the same in all heads."""


@dataclass(frozen=True)
class AttentionSimilarity:
    """How alike the heads of layers are: 1 where each head of x has one in y that attends to the same frames.

    Every similarity is the mean over utterances for a pair of heads, then the largest over the heads of y, then the
    mean over those of x: asymmetric.

    Args:
        frobenius: `1 - ||P - Q||_F / sqrt(2 F)` of maps with F rows: 0 to 1, [L_x, L_y].
        pearson: the mean correlation of rows, where one that is uniform has 0: -1 to 1, [L_x, L_y].
        jensen_shannon: `1 -` the mean Jensen-Shannon divergence of rows, to the base of 2: 0 to 1, [L_x, L_y].
        layers_x: numbers of transformer layers, from 1.
        layers_y: the same of y.
        utterances: how many were compared.
    """

    frobenius: Floats
    pearson: Floats
    jensen_shannon: Floats
    layers_x: tuple[int, ...]
    layers_y: tuple[int, ...]
    utterances: int


def attention_similarity(
    x: PretrainedEncoder,
    y: PretrainedEncoder,
    utterances: Sequence[Utterance],
    *,
    layers_x: Sequence[int] | None = None,
    layers_y: Sequence[int] | None = None,
    most_utterances: int = 20,
    seed: int = 0,
) -> AttentionSimilarity:
    """Compare the attention of two encoders on the same utterances, one at a time.

    Attention is computed eagerly meanwhile, as the fast kernels keep no weights, and as it was afterwards. Of each
    utterance the first 20 s are encoded, and 32 query frames are drawn: memory does not depend on how much audio there
    is. Utterances that cannot be read, or have another number of frames in one of the encoders, are left out.

    Args:
        x: whose heads are looked for.
        y: where they are looked for.
        utterances: of these some are drawn.
        layers_x: transformer layers, counted from 1; None is all.
        layers_y: the same of y.
        most_utterances: how many are drawn.
        seed: of the draws.

    Raises:
        DataError: no utterance that can be compared.
        EncoderError: no such layer, other frame rates, or a family that gives no attention of single heads (WavLM).

    Source: El Kheir et al., 2024; maximum over heads as in Wu et al., ACL 2020.

    Example:
        >>> found = attention_similarity(PretrainedEncoder.load("tiny"), adapted, corpus.splits["test"])
        >>> found.jensen_shannon.shape
        (6, 6)
    """
    if x.frame_rate != y.frame_rate:
        raise EncoderError(
            f"{x.source} has {x.frame_rate:g} frames a second and {y.source} {y.frame_rate:g}, so their attention "
            "cannot be compared. Leave out attention."
        )
    chosen_x, chosen_y = _layers(x, layers_x), _layers(y, layers_y)
    drawn = sorted(utterances, key=lambda utterance: derive_seed(seed, "attention", utterance.id))[:most_utterances]
    sums, compared = np.zeros(()), 0
    with ExitStack() as stack:
        for encoder in (x, y):
            stack.enter_context(eager_attention(encoder))
        for utterance in drawn:
            waves = Batch.read([utterance], needed=max(x.min_samples, y.min_samples)).waves
            if not waves:
                continue

            def queries(count: int, name: str = utterance.id) -> Tensor:
                rng = derive_rng(seed, "attention queries", name)
                return torch.from_numpy(rng.choice(count, size=min(QUERIES, count), replace=False))

            maps_x, maps_y = (
                attention_rows(encoder, waves[0][: round(LONGEST_SECONDS * SAMPLE_RATE)], queries) for encoder in (x, y)
            )
            if len({one.shape[-1] for one in (*maps_x, *maps_y)}) > 1:
                continue
            sums = sums + _of_heads(
                [maps_x[layer - 1] for layer in chosen_x], [maps_y[layer - 1] for layer in chosen_y]
            )
            compared += 1
    if not compared:
        raise DataError(
            f"No utterance of {len(drawn)} can be read and has the same number of frames in all layers of {x.source} "
            f"and {y.source}, so their attention cannot be compared. Leave out attention."
        )
    frobenius, pearson, jensen_shannon = (sums / compared).max(axis=-1).mean(axis=-1)
    return AttentionSimilarity(frobenius, pearson, jensen_shannon, chosen_x, chosen_y, compared)


@contextmanager
def eager_attention(encoder: PretrainedEncoder) -> Iterator[None]:
    """Within this context the attention of an encoder is computed eagerly, so that there are weights to look at."""
    before = encoder.model.config._attn_implementation
    encoder.model.set_attn_implementation("eager")
    try:
        yield
    finally:
        encoder.model.set_attn_implementation(before)


def attention_rows(encoder: PretrainedEncoder, wave: np.ndarray, queries: Callable[[int], Tensor]) -> list[Tensor]:
    """Return rows of the attention maps of each layer, [heads, queries, F] float64, for a waveform [T].

    Args:
        encoder: its attention is eager.
        wave: at 16 kHz.
        queries: which rows of F; called for each layer.

    Raises:
        EncoderError: the layers give no attention weights, or the same for all heads.
    """
    kept: list[Tensor] = []

    def keep(attention: nn.Module, inputs: Any, output: Any) -> None:
        weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        # WavLM's are the average over the heads, handed out once for each head without a copy.
        if weights is None or (weights.shape[1] > 1 and weights.stride(1) == 0):
            raise EncoderError(
                f"{encoder.source} ({encoder.model.config.model_type}) gives no attention weights of single heads, so "
                "they cannot be compared. Leave out attention."
            )
        kept.append(weights[0, :, queries(weights.shape[2]).to(weights.device)].double())

    hooks = [_attention_of(layer).register_forward_hook(keep) for layer in encoder.layers]
    try:
        device = next(encoder.parameters()).device
        encoder.hidden_states(Waves.stack([torch.from_numpy(wave)]).to(device))
    finally:
        for hook in hooks:
            hook.remove()
    return kept


def head_similarities(p: Tensor, q: Tensor) -> Tensor:
    """Return Frobenius, Pearson and Jensen-Shannon similarity of maps [..., R, F]: [3, ...], broadcast.

    Rows are distributions over F frames. With fewer rows than the maps have, R, the Frobenius distance is estimated
    from these.
    """
    frobenius = 1 - ((p - q).square().sum(-1).mean(-1) / 2).sqrt()
    pearson = (_standardised(p) * _standardised(q)).sum(-1).mean(-1)
    divergence = _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2
    return torch.stack([frobenius, pearson, 1 - divergence.clamp(0, 1).mean(-1)])


def _of_heads(layers_x: Sequence[Tensor], layers_y: Sequence[Tensor]) -> Floats:
    """Similarities [3, L_x, L_y, H_x, H_y] of the maps [H, R, F] of layers."""
    heads_y = torch.stack(list(layers_y)).to(layers_x[0].device)
    found = torch.stack([torch.stack([head_similarities(head, heads_y) for head in layer]) for layer in layers_x])
    similarities: Floats = found.permute(2, 0, 3, 1, 4).cpu().numpy()
    return similarities


def _standardised(rows: Tensor) -> Tensor:
    """Rows with mean 0 and norm 1; zeros for uniform ones."""
    centred = rows - rows.mean(-1, keepdim=True)
    norms = centred.norm(dim=-1, keepdim=True)
    return torch.where(norms > 1e-12, centred / norms, 0.0)


def _entropy(rows: Tensor) -> Tensor:
    """Entropies in bits of distributions along the last axis."""
    entropies: Tensor = -torch.xlogy(rows, rows).sum(-1) / np.log(2)
    return entropies


def _attention_of(layer: nn.Module) -> nn.Module:
    attention: nn.Module = layer.get_submodule("attention" if hasattr(layer, "attention") else "self_attn")
    return attention


def _layers(encoder: PretrainedEncoder, chosen: Sequence[int] | None) -> tuple[int, ...]:
    layers = tuple(range(1, encoder.num_layers + 1) if chosen is None else chosen)
    if not layers:
        raise EncoderError(f"No layer of {encoder.source} that has attention is named; they are counted from 1.")
    for layer in layers:
        if not 1 <= layer <= encoder.num_layers:
            raise EncoderError(f"layer={layer}: {encoder.source} has attention in layers 1 to {encoder.num_layers}.")
    return layers
