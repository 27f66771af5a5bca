"""`EncoderFrames`: the hidden states of an encoder as a system; and encoders that have learnt nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from ssft.encoders import PretrainedEncoder
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.systems.cached import CachedFrames
from ssft.evaluation.systems.condition import Condition
from ssft.features import Extractor
from ssft.randomness import derive_seed

_CPU_BATCH_SECONDS = 20.0
"""More is no faster there, and takes memory: 60 s of HuBERT-base a good GB more."""


class EncoderFrames(CachedFrames):
    """Hidden states of an encoder, as `Extractor` takes them, on a GPU if there is one.

    In conditions recordings are encoded whole, however long, as what is done to them may need all of one.

    Args:
        encoder: any pre-trained or adapted encoder; it is moved to the GPU.
        corpus: the audio.
        name: as in results.
        cache: a folder for frames, which several systems may share.
        layers: which are measured, as `Extractor` numbers them; None is all.
        conditions: in which audio is heard, beside clean.
        condition_layers: which layers are measured in these; None is the last of `layers`, `all` are all of them.
        dtype: `bfloat16` computes under autocast.

    Raises:
        EncoderError: there is no such layer.
        RecipeError: what `CachedFrames` refuses.

    Example:
        >>> store = EncoderFrames(PretrainedEncoder.load("tiny"), corpus, name="tiny", cache=Path("frames"))
        >>> store.frames("test", layer=4)["a.wav"].shape
        (104, 192)
    """

    def __init__(
        self,
        encoder: PretrainedEncoder,
        corpus: LabelledCorpus,
        *,
        name: str,
        cache: Path,
        layers: Sequence[int] | None = None,
        conditions: Sequence[Condition] = (),
        condition_layers: Sequence[int] | Literal["all"] | None = None,
        dtype: Literal["float32", "bfloat16"] = "float32",
    ) -> None:
        encoder.to("cuda" if torch.cuda.is_available() else "cpu")
        super().__init__(
            partial(_extractor, encoder, dtype),
            range(encoder.num_layers + 1) if layers is None else layers,
            corpus,
            name=name,
            cache=cache,
            conditions=conditions,
            condition_layers=condition_layers,
        )


def random_encoder(model: str, *, seed: int = 0) -> PretrainedEncoder:
    """Return an encoder like `model` with the weights that it had before pre-training, drawn anew.

    Raises:
        EncoderError: what `PretrainedEncoder.load` raises.

    Example:
        >>> random_encoder("tiny").num_layers
        6
    """
    trained = PretrainedEncoder.load(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "random encoder"))
        fresh = type(trained.model)(trained.model.config)
    return PretrainedEncoder(fresh, trained.extractor, source=f"random:{model}")


def _extractor(encoder: PretrainedEncoder, dtype: Literal["float32", "bfloat16"], layers: tuple[int, ...]) -> Extractor:
    on_gpu = next(encoder.parameters()).device.type == "cuda"
    return Extractor(encoder, layers=layers, dtype=dtype, batch_seconds=60.0 if on_gpu else _CPU_BATCH_SECONDS)
