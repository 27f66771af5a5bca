"""`Encoder`: which checkpoint a recipe adapts, and which of its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ssft.encoders.loading import commit_of, load_config, weightless_model
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

    def __post_init__(self) -> None:
        counted = self.trainable_layers if isinstance(self.trainable_layers, int) else len(self.trainable_layers)
        if counted < 1:
            raise RecipeError(
                f"encoder.trainable_layers={self.trainable_layers!r} trains nothing; give at least one layer."
            )

    def check(self, *, loss_layers: Sequence[int] = (), local_files_only: bool = False) -> tuple[int, ...]:
        """Return the numbers of the layers to train, reading nothing but the configuration.

        Args:
            loss_layers: layers whose output is to be compared, checked as well.
            local_files_only: do not ask the Hub.

        Raises:
            EncoderError: the checkpoint is not found or of an unknown family.
            RecipeError: it has no such layers or parts, or a loss would compare a layer that is not trained.
        """
        config = load_config(self.model, revision=self.revision, local_files_only=local_files_only)
        if self.train_also:
            parameter_names(weightless_model(config), self.train_also, self.model)
        layers = layer_numbers(self.trainable_layers, config.num_hidden_layers, self.model)
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
        )
