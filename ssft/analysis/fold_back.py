"""`FoldBack`: whether curves turn back in the top layers; and `Recommendation`, which layers to train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ssft.analysis.held_out import Estimate

SMALLEST_SHARE = 0.1
"""A turn that takes back less of what went before is none to act on."""
USUAL = 2
"""How many layers from the top are trained where nothing speaks for other ones."""

Curve = Mapping[int, Estimate]
"""Similarity to a target by layer."""


@dataclass(frozen=True)
class FoldBack:
    """A curve turns, and goes back until the last layer: that of acoustics rises, or that of phones falls.

    Args:
        target: what is compared with.
        rises: whether it fell before.
        layer: where it turns: the layer of the extreme, among 1 to the last.
        last: the last layer.
        before: how far it went the other way, from the layer below that is farthest: above 0 if it did.
        after: how far it then goes in the direction of `rises` until the last layer.
    """

    target: str
    rises: bool
    layer: int
    last: int
    before: Estimate
    after: Estimate

    @property
    def share(self) -> float | None:
        """How much of what it went before is taken back; None if it is not shown to have gone anywhere."""
        return self.after.mean / self.before.mean if self.before.low > 0 else None

    @property
    def is_shown(self) -> bool:
        return self.after.low > 0 and self.share is not None and self.share >= SMALLEST_SHARE

    def __str__(self) -> str:
        if self.share is None or not self.is_shown:
            kind = "a renewed rise" if self.rises else "a fall"
            return f"{kind} of similarity to {self.target} in the top layers is not shown"
        verb, gone = ("rises again", "fallen") if self.rises else ("falls", "risen")
        return (
            f"similarity to {self.target} {verb} from layer {self.layer} to {self.last}, by {self.after.mean:.3f} "
            f"[{self.after.low:.3f}, {self.after.high:.3f}], {self.share:.0%} of what it had {gone}"
        )


@dataclass(frozen=True)
class Recommendation:
    """Which layers to train, and why.

    Args:
        trainable_layers: how many from the top.
        reset_layers: how many of these are to begin with random weights.
        has_symptom: whether the top layers are shown to fold back to acoustics.
        evidence: sentences.
    """

    trainable_layers: int
    reset_layers: int
    has_symptom: bool
    evidence: str

    @property
    def settings(self) -> str:
        """What is typed behind `ssft train RECIPE`.

        Example:
            >>> recommend(turns, last=6).settings
            '--encoder.trainable_layers 3 --encoder.reset_layers 1'
        """
        reset = f" --encoder.reset_layers {self.reset_layers}" if self.reset_layers else ""
        return f"--encoder.trainable_layers {self.trainable_layers}{reset}"


def fold_back(target: str, curve: Curve, *, rises: bool) -> FoldBack:
    """Return where a curve turns, and how far it then goes back.

    What follows the extreme of several numbers always seems to be a turn. So how far the curve goes back is measured,
    in each fold, from the layer that is extreme in the mean of the other folds.

    Args:
        target: what is compared with.
        curve: similarity by layer, two layers above 0 or more.
        rises: look for a rise after the lowest layer; otherwise for a fall after the best.

    Example:
        >>> fold_back("log-mel", profile.pwcca["log-mel"], rises=True).layer
        4
    """
    sign = 1.0 if rises else -1.0
    signed = {layer: [sign * value for value in one.folds] for layer, one in sorted(curve.items())}
    above = [layer for layer in signed if layer > 0]
    last, folds = above[-1], range(len(signed[above[-1]]))

    def mean(layer: int, without: int | None = None) -> float:
        values = [value for fold, value in enumerate(signed[layer]) if fold != without]
        return sum(values) / len(values)

    def lowest(without: int | None = None) -> int:
        return min(above, key=lambda layer: mean(layer, without))

    after = tuple(signed[last][fold] - signed[lowest(fold)][fold] for fold in folds)
    turn = lowest()
    highest = max((layer for layer in signed if layer <= turn), key=mean)
    before = tuple(high - low for high, low in zip(signed[highest], signed[turn], strict=True))
    return FoldBack(target, rises, turn, last, Estimate(before), Estimate(after))


def recommend(turns: Mapping[str, FoldBack], *, last: int) -> Recommendation:
    """Return which layers to train: docs/autoencoder.md has the rule.

    Args:
        turns: by target: `log-mel`, `layer 0`, and `phones` if they are known.
        last: the encoder's last layer.
    """
    shown = [turns[target] for target in ("log-mel", "layer 0") if turns[target].is_shown]
    phones = turns.get("phones")
    evidence = "; ".join(str(turn) for turn in turns.values())
    evidence = f"{evidence[0].upper()}{evidence[1:]}."
    if not shown or (phones is not None and not phones.is_shown):
        usual = max(1, min(USUAL, last - 1))
        known = "" if phones is not None else " Without phones that is all that can be said."
        return Recommendation(
            usual, 0, False, f"{evidence} Autoencoder behaviour is not shown: train the usual top {usual}.{known}"
        )
    acoustic = shown[0].layer
    layers = [acoustic] if phones is None else [acoustic, phones.layer]
    trained, reset = last - min(layers), last - max(layers)
    why = f"acoustics turn at layer {acoustic}" + ("" if phones is None else f", phones at layer {phones.layer}")
    return Recommendation(
        trained,
        reset,
        True,
        f"{evidence} The top layers behave like those of an autoencoder ({why}): train the top {trained} and "
        f"{'reset them' if trained == reset else f'reset the top {reset}'}.",
    )
