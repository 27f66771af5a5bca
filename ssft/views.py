"""`Views`: the two views of an utterance that training compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ssft.augment import AUGMENTATIONS, PRESETS, Transform
from ssft.components import build
from ssft.encoders import MASKS, SpanMask
from ssft.encoders.reference import REFERENCES, MovingAverage, ReferenceKind
from ssft.errors import RecipeError, closest
from ssft.types import Augmentation

Where = Literal["worker", "device"]


@dataclass(frozen=True)
class Views:
    """The two views of an utterance.

    Args:
        augmented: makes the second waveform; None compares an utterance with itself.
        reference: whose view the student's is compared with: `frozen`, the encoder as it was, `student`, itself, or
            `moving_average`, which follows the student slowly.
        swap: probability that the student gets the original and the reference the augmented waveform.
        original: changes the first waveform too, as where both views are noisy; None leaves it as it was recorded.
        loss_layers: layers whose output is a view, each with a head and a loss of its own; the last if none is named.
        mask: hides frames from the student, for losses that predict them; None hides nothing.
        pad_jitter: least and largest share of its length by which the original is delayed with silence, such as
            [0.02, 0.05]; the frames of the silence are cut off after encoding. So position says nothing about content.
        where: the augmentations run: `worker`, in the processes that read the audio, or `device`, on whole batches
            beside the encoder, which is what keeps a fast GPU busy. Both draw the same.
    """

    augmented: Augmentation | None = None
    reference: ReferenceKind = "frozen"
    swap: float = 0.0
    original: Augmentation | None = None
    loss_layers: Sequence[int] = ()
    mask: SpanMask | None = None
    pad_jitter: Sequence[float] = ()
    where: Where = "worker"

    def __post_init__(self) -> None:
        for name in ("augmented", "original"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise RecipeError(
                    f"views.{name}: {value!r} is not an augmentation. Give one, such as SpeedPerturb(), or several as "
                    "Compose([...])."
                )
        words = ("frozen", "student", *REFERENCES)
        if self.reference not in words and not isinstance(self.reference, MovingAverage):
            raise RecipeError(f"views.reference={self.reference!r} is not known. {closest(str(self.reference), words)}")
        if not 0 <= self.swap <= 1:
            raise RecipeError(f"views.swap={self.swap} is a probability; give a number from 0 to 1.")
        if self.mask is not None and not isinstance(self.mask, SpanMask):
            raise RecipeError(f"views.mask: {self.mask!r} is not a mask. Give SpanMask(), or null for none.")
        jitter = tuple(self.pad_jitter)
        if jitter and not (len(jitter) == 2 and 0 <= jitter[0] <= jitter[1] <= 1):
            raise RecipeError(
                f"views.pad_jitter={list(jitter)} is not a least and a largest share of the length; "
                "[0.02, 0.05] is published, [] is none."
            )

        if self.where not in get_args(Where):
            raise RecipeError(f"views.where='{self.where}' is no place. {closest(str(self.where), get_args(Where))}")
        for name in ("augmented", "original") if self.where == "device" else ():
            slow = _not_on_device(getattr(self, name))
            if slow:
                raise RecipeError(
                    f"views.where='device', but {' and '.join(slow)} in views.{name} can only run in workers. "
                    "Set views.where to 'worker', or leave it out."
                )

    def check_sources(self) -> None:
        """Look for what augmentations read besides the audio, such as noise.

        Raises:
            RecipeError: it is not there.
        """
        for augmentation in (self.augmented, self.original):
            check: Callable[[], None] | None = getattr(augmentation, "check", None)
            if check is not None:
                check()

    @staticmethod
    def components(settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings with components built of their descriptions.

        Raises:
            RecipeError: an unknown name or setting, or a value that does not fit.
        """
        tables: dict[str, Mapping[str, Any]] = {
            "augmented": {**AUGMENTATIONS, **PRESETS},
            "original": {**AUGMENTATIONS, **PRESETS},
            "mask": MASKS,
        }
        if isinstance(settings.get("reference"), Mapping):
            tables["reference"] = REFERENCES
        built = {
            name: build(table, settings[name], where=f"views.{name}")
            for name, table in tables.items()
            if name in settings
        }
        return {**settings, **built}


def _not_on_device(augmentation: Augmentation | None) -> list[str]:
    """The augmentations, inside of others too, that have no form for batches."""
    if augmentation is None or (isinstance(augmentation, Transform) and augmentation.runs_on_device):
        return []
    parts = getattr(augmentation, "parts", None)
    return [name for part in parts for name in _not_on_device(part)] if parts else [repr(augmentation)]
