"""`Encoder`: which checkpoint a recipe adapts, and which of its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ssft.components import build
from ssft.encoders.loading import commit_of, load_config, weightless_model
from ssft.encoders.lora import ADAPTERS, Lora
from ssft.encoders.pretrained import PretrainedEncoder
from ssft.encoders.selection import layer_numbers, loss_layer_numbers, parameter_names
from ssft.encoders.split import SplitEncoder
from ssft.errors import RecipeError


@dataclass(frozen=True)
class Encoder:
    """A pre-trained encoder and the layers of it that are trained.

    Args:
        model: a Hub id, a folder that `save_pretrained` wrote, or `tiny`, the embedded encoder.
        trainable_layers: how many layers from the top, or their numbers, counted from 1 as `hidden_states` counts them.
        revision: commit, tag or branch of the Hub repository.
        train_also: further parts to train, by their names in the checkpoint: parameters, modules or patterns such as
            `feature_projection.layer_norm` or `feature_extractor.*`. Parts below the layers cost gradients through all
            of them.
        frozen_dropout: let the dropout of frozen layers live while training, as published code does; off by default.
        adapter: trained in these layers in place of their own weights; None trains the weights.
        reset_layers: how many layers from the top begin with random weights (Vielzeuf 2024; SPIN's `randomize_layers`).
            A frozen reference is the encoder as it was before.
        checkpoint_layers: compute trained layers a second time in the backward pass in place of keeping what they
            computed: less memory, more time.
        compile_bottom: compile the frozen layers with `torch.compile`. Pays on a GPU, after a minute.

    Example:
        >>> Encoder("tiny", trainable_layers=2).load().trainable_layers
        (5, 6)
        >>> Encoder("microsoft/wavlm-base", trainable_layers=[7, 8, 9, 10, 11, 12])
    """

    model: str = "tiny"
    trainable_layers: int | Sequence[int] = 2
    revision: str | None = None
    train_also: Sequence[str] = ()
    frozen_dropout: bool = False
    adapter: Lora | None = None
    reset_layers: int = 0
    checkpoint_layers: bool = False
    compile_bottom: bool = False

    def __post_init__(self) -> None:
        counted = self.trainable_layers if isinstance(self.trainable_layers, int) else len(self.trainable_layers)
        if counted < 1:
            raise RecipeError(
                f"encoder.trainable_layers={self.trainable_layers!r} trains nothing; give at least one layer."
            )
        if self.reset_layers < 0:
            raise RecipeError(
                f"encoder.reset_layers={self.reset_layers}: give how many layers from the top, 0 for none."
            )
        if self.adapter is not None and not isinstance(self.adapter, Lora):
            raise RecipeError(f"encoder.adapter: {self.adapter!r} is no adapter. Give Lora(), or null for none.")

    @staticmethod
    def components(settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings with the adapter built of its description.

        Raises:
            RecipeError: an unknown name or setting, or a value that does not fit.
        """
        adapter = build(ADAPTERS, settings.get("adapter"), where="encoder.adapter")
        return {**settings, "adapter": adapter}

    def check(self, *, loss_layers: Sequence[int] = (), local_files_only: bool = False) -> tuple[int, ...]:
        """Return the numbers of the layers to train, reading nothing but the configuration.

        Args:
            loss_layers: layers whose output is to be compared, checked as well.
            local_files_only: do not ask the Hub.

        Raises:
            EncoderError: the checkpoint is not found or of an unknown family.
            RecipeError: it has no such layers or parts, the adapter does not fit them, or a loss would compare a layer
                that is not trained.
        """
        config = load_config(self.model, revision=self.revision, local_files_only=local_files_only)
        layers = layer_numbers(self.trainable_layers, config.num_hidden_layers, self.model)
        if self.train_also or self.adapter is not None:
            weightless = weightless_model(config)
            names = parameter_names(weightless, self.train_also, self.model)
            if self.adapter is not None:
                self.adapter.modules(weightless, layers, self.model, trained=names)
        lowest = 1 if self.train_also else layers[0]
        loss_layer_numbers(loss_layers, lowest, config.num_hidden_layers, self.model)
        return layers

    def pinned(self) -> Encoder:
        """Return the same encoder at the commit that its name stands for now, so that a replay loads the same.

        Raises:
            EncoderError: the checkpoint is not found.
        """
        load_config(self.model, revision=self.revision)
        return replace(self, revision=commit_of(self.model, self.revision) or self.revision)

    def load(self) -> SplitEncoder:
        """Load the weights and split the encoder below the lowest part that is trained."""
        self.check()
        return SplitEncoder(
            PretrainedEncoder.load(self.model, revision=self.revision),
            self.trainable_layers,
            train_also=self.train_also,
            frozen_dropout=self.frozen_dropout,
            adapter=self.adapter,
            reset_layers=self.reset_layers,
            checkpoint_layers=self.checkpoint_layers,
            compile_bottom=self.compile_bottom,
        )
