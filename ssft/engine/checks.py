"""What a recipe's own check cannot see, or was not asked to."""

from __future__ import annotations

from ssft.data import PairDataset
from ssft.engine.model import CorrespondenceModel
from ssft.engine.settings import Train
from ssft.errors import RecipeError


def refuse_misfits(model: CorrespondenceModel, pairs: PairDataset, train: Train) -> None:
    """Raise where model, pairs and settings do not go together.

    Raises:
        RecipeError: they do not, with the remedy.
    """
    for part in model.losses.modules():
        name = type(part).__name__
        if getattr(part, "needs_targets", False) and pairs.targets is None:
            raise RecipeError(f"{name} needs labels of the frames; give them with --data.targets FILE.")
        found = 0 if pairs.targets is None else pairs.targets.classes
        if (classes := getattr(part, "classes", found)) < found:
            raise RecipeError(f"{name} tells {classes} classes apart, but data.targets has {found}: set classes.")
    encoder = model.encoder
    if len(train.unfreeze_steps) >= len(encoder.trainable_layers):
        raise RecipeError(
            f"train.unfreeze_steps={list(train.unfreeze_steps)} names {len(train.unfreeze_steps)} layers "
            f"below the highest, but {len(encoder.trainable_layers)} layers train in all."
        )
    if train.cache_variants and (model.mask or encoder.frozen_dropout or encoder.cut < 0):
        raise RecipeError(
            "train.cache_variants keeps what the frozen bottom says, but here that is not the same in every epoch "
            "(views.mask, encoder.frozen_dropout or encoder.train_also). Set train.cache_variants to 0."
        )
