"""`Train`: how long, how fast and how much at a time."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

from ssft.components import build
from ssft.engine.anchors import ANCHORS, Anchor
from ssft.errors import RecipeError, closest

Schedule = Literal["linear", "cosine", "constant"]
Precision = Literal["auto", "float32", "bf16"]
OnCollapse = Literal["warn", "stop", "ignore"]


TRACKERS = ("mlflow", "tensorboard", "trackio", "wandb")


@dataclass(frozen=True)
class Train:
    """Settings of the optimisation.

    Args:
        steps: optimizer steps.
        batch_seconds: audio per optimizer step, over all processes and micro-batches, in seconds of original audio.
        accumulate: micro-batches that a step is split into; changes memory, not the mean (dropout draws differ).
        lr: learning rate of the encoder's layers at the end of the warm-up.
        head_lr: learning rate of the head and of a loss with weights; `lr` if None.
        layer_decay: each trained layer learns at the rate of the layer above it times this; 1 treats all alike.
        unfreeze_steps: from which steps the second, third, ... trained layer from the top learns too, ascending, as in
            [500, 1000] for three layers; without any, all learn from the first step on.
        warmup_steps: steps over which the learning rate rises linearly to its peak.
        schedule: what follows: `linear` or `cosine` towards 0, which would be reached one step after the last, or
            `constant`.
        clip_norm: gradients with a larger norm are scaled down to it.
        anchor: what keeps the adapted encoder near its start: `L2SP`, `RecAdam` or `Distillation`; None is nothing.
        weight_decay: of AdamW.
        betas: of AdamW.
        eps: of AdamW.
        precision: `auto` is bf16 autocast on a GPU and float32 on a CPU. Weights and losses are float32 in any case.
        save_every: steps between checkpoints; the last step is always saved.
        keep: how many of the newest checkpoints stay on disk.
        select: which checkpoint becomes the adapted model: `last`; `label_free`, the best on utterances that
            `data.held_out` keeps from training; or the one with the least or most of any number in metrics.jsonl,
            averaged since the checkpoint before, such as `min:loss` or `max:accuracy`.
        keep_best: how many of the best checkpoints, as `select` ranks them, stay on disk besides the newest.
        patience: stop once this many checkpoints in a row were no better than the best by `select`; 0 never.
        max_discarded: steps in a row that may be thrown away because their loss or gradient was not finite; one more
            stops the run.
        on_collapse: what to do once frames have become too much alike: `warn`, `stop` or `ignore`.
        cache_variants: keep the frozen bottom's output in memory, for this many augmented versions of each utterance,
            so that later epochs run only the top; the versions then repeat. 0 augments afresh in every epoch.
        processes: how many processes must take part, for launchers that start fewer without a word; null takes what
            there is.
        trackers: where metrics also go: `tensorboard`, `wandb`, `trackio` or `mlflow`, which must be installed.
        seed: of everything random.
    """

    steps: int = 1000
    batch_seconds: float = 100.0
    accumulate: int = 1
    lr: float = 2e-5
    head_lr: float | None = None
    layer_decay: float = 1.0
    unfreeze_steps: tuple[int, ...] = ()
    warmup_steps: int = 0
    schedule: Schedule = "linear"
    clip_norm: float = 1.0
    anchor: Anchor | None = None
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    precision: Precision = "auto"
    save_every: int = 500
    keep: int = 2
    select: str = "last"
    keep_best: int = 1
    patience: int = 0
    max_discarded: int = 3
    on_collapse: OnCollapse = "warn"
    cache_variants: int = 0
    processes: int | None = None
    trackers: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        at_least_one = ("steps", "accumulate", "save_every", "keep")
        not_negative = (
            "warmup_steps", "weight_decay", "cache_variants", "keep_best", "patience", "max_discarded",
        )  # fmt: skip
        positive = ("batch_seconds", "lr", "clip_norm", "eps")
        for names, lowest, rule in (
            (at_least_one, 1, "at least 1"),
            (not_negative, 0, "not negative"),
            (positive, math.ulp(0.0), "positive"),
        ):
            for name in names:
                if not getattr(self, name) >= lowest:
                    raise RecipeError(f"train.{name}={getattr(self, name)} must be {rule}.")
        for name, choices in (
            ("schedule", get_args(Schedule)),
            ("precision", get_args(Precision)),
            ("on_collapse", get_args(OnCollapse)),
        ):
            if getattr(self, name) not in choices:
                value = getattr(self, name)
                raise RecipeError(f"train.{name}='{value}' is not known. {closest(value, choices)}")
        if not 0 < self.layer_decay <= 1:
            raise RecipeError(f"train.layer_decay={self.layer_decay} must lie above 0 and not above 1; 0.9 is usual.")
        later = [0, *self.unfreeze_steps]
        if any(not before < after for before, after in pairwise(later)) or later[-1] >= self.steps:
            raise RecipeError(
                f"train.unfreeze_steps={list(self.unfreeze_steps)} must rise, from 1 on, and stay below "
                f"train.steps={self.steps}."
            )
        if self.anchor is not None and not isinstance(self.anchor, Anchor):
            raise RecipeError(f"train.anchor: {self.anchor!r} is no anchor. Give one of {', '.join(ANCHORS)}, or null.")
        if not re.fullmatch(r"last|label_free|(min|max):\S+", self.select):
            raise RecipeError(
                f"train.select='{self.select}' is no way to choose. Give last, label_free, or a number of "
                "metrics.jsonl as min:loss or max:NAME."
            )
        if self.patience and self.select == "last":
            raise RecipeError(
                f"train.patience={self.patience} needs something to wait for: set train.select to label_free, or to a "
                "number such as min:loss."
            )
        if self.processes is not None and self.processes < 1:
            raise RecipeError(f"train.processes={self.processes} must be at least 1, or null for what there is.")
        if unknown := sorted(set(self.trackers) - set(TRACKERS)):
            raise RecipeError(f"train.trackers: '{unknown[0]}' is not known. {closest(unknown[0], TRACKERS)}")
        if self.head_lr is not None and not self.head_lr > 0:
            raise RecipeError(f"train.head_lr={self.head_lr} must be positive, or null for the encoder's.")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise RecipeError(f"train.betas={list(self.betas)} must lie between 0 and 1, as in [0.9, 0.999].")
        if self.warmup_steps >= self.steps:
            raise RecipeError(
                f"train.warmup_steps={self.warmup_steps} leaves nothing of train.steps={self.steps}. "
                "Lower the one or raise the other."
            )

    @staticmethod
    def components(settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings with components built of their descriptions.

        Raises:
            RecipeError: an unknown name or setting, or a value that does not fit.
        """
        if "anchor" not in settings:
            return dict(settings)
        return {**settings, "anchor": build(ANCHORS, settings["anchor"], where="train.anchor")}
