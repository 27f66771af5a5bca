"""`Encoder`: which checkpoint a recipe adapts, and which of its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ssft.encoders.loading import commit_of, load_config
from ssft.encoders.pretrained import PretrainedEncoder
from ssft.encoders.split import SplitEncoder, layer_numbers
from ssft.errors import RecipeError


@dataclass(frozen=True)
class Encoder:
    """A pre-trained encoder and the layers of it that are trained.

    Args:
        model: a Hub id, a folder that `save_pretrained` wrote, or `tiny`, the embedded encoder.
        trainable_layers: how many layers from the top, or their numbers, counted from 1 as `hidden_states` counts them.
        revision: commit, tag or branch of the Hub repository.

    Example:
        >>> Encoder("tiny", trainable_layers=2).load().trainable_layers
        (5, 6)
        >>> Encoder("microsoft/wavlm-base", trainable_layers=[7, 8, 9, 10, 11, 12])
    """

    model: str = "tiny"
    trainable_layers: int | Sequence[int] = 2
    revision: str | None = None

    def __post_init__(self) -> None:
        counted = self.trainable_layers if isinstance(self.trainable_layers, int) else len(self.trainable_layers)
        if counted < 1:
            raise RecipeError(
                f"encoder.trainable_layers={self.trainable_layers!r} trains nothing; give at least one layer."
            )

    def check(self, *, local_files_only: bool = False) -> tuple[int, ...]:
        """Return the numbers of the layers to train, reading nothing but the configuration.

        Raises:
            EncoderError: the checkpoint is not found or of an unknown family.
            RecipeError: it has no such layers.
        """
        config = load_config(self.model, revision=self.revision, local_files_only=local_files_only)
        return layer_numbers(self.trainable_layers, config.num_hidden_layers, self.model)

    def pinned(self) -> Encoder:
        """Return the same encoder at the commit that its name stands for now, so that a replay loads the same.

        Raises:
            EncoderError: the checkpoint is not found.
        """
        load_config(self.model, revision=self.revision)
        return replace(self, revision=commit_of(self.model, self.revision) or self.revision)

    def load(self) -> SplitEncoder:
        """Load the weights and split the encoder below its lowest trained layer."""
        self.check()
        return SplitEncoder(PretrainedEncoder.load(self.model, revision=self.revision), self.trainable_layers)
