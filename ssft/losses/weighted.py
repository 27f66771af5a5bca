"""Several losses as one."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import nn

from ssft.errors import RecipeError, closest
from ssft.losses.base import FrameLoss
from ssft.types import Frames, LossOutput, Materializable


class Weighted(FrameLoss):
    """A sum of losses that are known by name, each with a weight and, if need be, a head of its own.

    `sum over names of weights[name] * losses[name](head(student), head(reference)[, targets])`, where `head` is
    `heads[name]` if there is one; other terms see the frames [B, F, D] as they come. Labels go to the terms that need
    them. A term that does not need the reference gets the student in its place.

    Args:
        losses: the terms by name. A name is free but for dots and a few words that are taken, such as `loss`.
        weights: of the terms by name, 0 or more; 1 for those that are not named.
        heads: frames to frames by name of the term, made new and thrown away after training.

    Source:
        R-Spin, Chang and Glass, NAACL 2024: swapped prediction behind a projection to 256, plus 5 times `PseudoLabel`
        on the encoder's own frames (that is the example, with the recipe's head left at Identity(l2_normalize=False)).

    Requirements:
        What the terms need, all of it: one that compares frame t with frame t makes the sum do so. A head keeps
        the number of frames.

    Relations:
        The sum repels if one term with enough weight does: `SoftDTW` beside `PseudoLabel` is held up by the labels.
        Terms are means over different things (pairs, frames, masked frames), which no single count can carry, so the
        output's weight is the number of pairs: within a micro-batch, over all processes, every term is its own mean,
        and accumulation averages these by pairs. That is exact for terms that average over pairs, and close for the
        others as long as micro-batches hold utterances of similar length.

    Example:
        >>> loss = Weighted(
        ...     losses={"spin": SwappedPrediction(codebook_size=32), "labels": PseudoLabel(classes=2048)},
        ...     weights={"labels": 5.0},
        ...     heads={"spin": Projection(256)},
        ... )
        >>> loss.materialize(768)
        >>> loss(student, reference, targets).loss.backward()
    """

    compares_across_utterances = True  # whatever the terms are: their means do not add up by the number of pairs

    def __init__(
        self,
        losses: Mapping[str, nn.Module],
        weights: Mapping[str, float] = {},
        heads: Mapping[str, nn.Module] = {},
    ) -> None:
        super().__init__()
        if not losses:
            raise RecipeError("Weighted(losses={}): give at least one loss by name.")
        for setting, given in (("weights", weights), ("heads", heads)):
            for name in given:
                if name not in losses:
                    raise RecipeError(f"Weighted({setting}): there is no loss '{name}'. {closest(name, losses)}")
        for name in losses:
            _check_name(name)
        for setting, modules in (("losses", losses), ("heads", heads)):
            for name, module in modules.items():
                if not isinstance(module, nn.Module):
                    raise RecipeError(f"Weighted({setting}): {name} is {module!r}, which is no module.")
        for name, weight in weights.items():
            if not 0 <= weight < math.inf:
                raise RecipeError(f"Weighted(weights): {name} has {weight}; a weight is finite, and 0 or more.")
        self.weights = {name: float(weights.get(name, 1.0)) for name in losses}
        self.terms = nn.ModuleDict(losses)
        self.term_heads = nn.ModuleDict(heads)
        self.needs_same_length = any(getattr(loss, "needs_same_length", False) for loss in losses.values())
        self.needs_targets = any(getattr(loss, "needs_targets", False) for loss in losses.values())
        self.needs_mask = any(getattr(loss, "needs_mask", False) for loss in losses.values())
        self.needs_reference = any(getattr(loss, "needs_reference", True) for loss in losses.values())
        counted = [loss for name, loss in losses.items() if self.weights[name] > 0]
        self.lets_collapse = all(getattr(loss, "lets_collapse", False) for loss in counted)

    @property
    def losses(self) -> dict[str, nn.Module]:
        """The terms, as they were given."""
        return dict(self.terms.items())

    @property
    def heads(self) -> dict[str, nn.Module]:
        """The heads of terms, as they were given."""
        return dict(self.term_heads.items())

    def materialize(self, dim: int) -> None:
        """Make the weights of every head for frames of width `dim`, and those of its loss for what comes out of it."""
        for name, loss in self.losses.items():
            head, width = self.heads.get(name), dim
            if isinstance(head, Materializable):
                width = head.materialize(dim) or dim
            if isinstance(loss, Materializable):
                loss.materialize(width)

    def after_step(self) -> None:
        for loss in self.losses.values():
            after_step = getattr(loss, "after_step", None)
            if after_step is not None:
                after_step()

    def compare(self, student: Frames, reference: Frames, targets: Frames | None) -> LossOutput:
        total = student.values.new_zeros(())
        logs: dict[str, float] = {}
        for name, loss in self.losses.items():
            seen = self._seen(student, name)
            compared = self._seen(reference, name) if getattr(loss, "needs_reference", True) else seen
            labels = (targets,) if getattr(loss, "needs_targets", False) else ()
            output: LossOutput = loss(seen, compared, *labels)
            total = total + self.weights[name] * output.loss
            logs[name] = output.loss.item()
            logs |= {f"{name}.{key}": value for key, value in output.logs.items()}
        return LossOutput(total, weight=len(student.lengths), logs=logs)

    def _seen(self, frames: Frames, name: str) -> Frames:
        """Frames as the loss `name` sees them."""
        return self.term_heads[name](frames) if name in self.term_heads else frames


def _check_name(name: str) -> None:
    # `name` marks a component in a recipe, and `loss` the total in the logs; the rest are attributes of a ModuleDict.
    if not name or "." in name or name in ("name", "loss") or hasattr(nn.ModuleDict(), name):
        raise RecipeError(f"Weighted(losses): a loss cannot be called '{name}'; call it otherwise.")
