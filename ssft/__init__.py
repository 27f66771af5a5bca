"""Self-supervised fine-tuning of speech encoders: a folder of audio in, an adapted Hugging Face checkpoint out.

Importing ssft is light: a name below loads its module, and PyTorch with it, when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssft.cli.main import run
    from ssft.data import Data, PairDataset
    from ssft.encoders import Encoder, PretrainedEncoder, SpanMask, SplitEncoder
    from ssft.engine import CorrespondenceModel, CorrespondenceTrainer, Train
    from ssft.recipe import Recipe
    from ssft.types import Frames, PairBatch, Utterance, Waves
    from ssft.views import Views

__version__ = "0.1.0"

_HOMES = {
    "CorrespondenceModel": "ssft.engine",
    "CorrespondenceTrainer": "ssft.engine",
    "Data": "ssft.data",
    "Encoder": "ssft.encoders",
    "Frames": "ssft.types",
    "PairBatch": "ssft.types",
    "PairDataset": "ssft.data",
    "PretrainedEncoder": "ssft.encoders",
    "Recipe": "ssft.recipe",
    "SpanMask": "ssft.encoders",
    "SplitEncoder": "ssft.encoders",
    "Train": "ssft.engine",
    "Utterance": "ssft.types",
    "Views": "ssft.views",
    "Waves": "ssft.types",
    "run": "ssft.cli.main",
}

__all__ = [
    "CorrespondenceModel",
    "CorrespondenceTrainer",
    "Data",
    "Encoder",
    "Frames",
    "PairBatch",
    "PairDataset",
    "PretrainedEncoder",
    "Recipe",
    "SpanMask",
    "SplitEncoder",
    "Train",
    "Utterance",
    "Views",
    "Waves",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ssft' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
