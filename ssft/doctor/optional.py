"""Packages that some features need, and how they are installed."""

from __future__ import annotations

from collections.abc import Iterator

from ssft.doctor.finding import Finding, pip_install
from ssft.doctor.packages import installed

OPTIONAL: dict[str, tuple[str, str]] = {
    "praat-parselmouth": ("SpeakerPerturb(backend='praat')", "ssft[praat]"),
    "datasets": ("Hugging Face datasets as data.root", "ssft[datasets]"),
    "lhotse": ("lhotse cuts as data.root", "ssft[lhotse]"),
    "pyroomacoustics": ("some transforms of audiomentations", "audiomentations[extras]"),
    "tensorboard": ("--train.trackers tensorboard", "tensorboard"),
    "wandb": ("--train.trackers wandb", "wandb"),
    "trackio": ("--train.trackers trackio", "trackio"),
    "mlflow": ("--train.trackers mlflow", "mlflow"),
}
"""By package, what it is for, and what is installed to have it."""


def look() -> Iterator[Finding]:
    """Look for every optional package, without importing it."""
    for name, (use, requirement) in OPTIONAL.items():
        found = installed(name)
        facts = {"version": found}
        if found is None:
            yield Finding(name, f"not there    {use}", "note", pip_install(requirement), facts)
        else:
            yield Finding(name, f"{found:<13}{use}", facts=facts)
