"""What the installed versions of libraries are known to do wrong, and what ssft does about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ssft.doctor.finding import Finding
from ssft.doctor.packages import installed


@dataclass(frozen=True)
class Known:
    """A fault of a package: of which versions, as a specifier; how it is known; and what ssft does about it."""

    package: str
    versions: str
    source: str
    fault: str
    answer: str


KNOWN = (
    Known(
        "transformers",
        ">=5",
        "seen in 5.17 and 5.23",
        "WavLM's attention never calls its projections: LoRA on them trains nothing, merging it changes the output.",
        "WavLM with an adapter gets an attention that calls them; a parameter without a gradient stops the run.",
    ),
    Known(
        "transformers",
        ">=5",
        "seen in 5.23",
        "Encoders with a group norm (HuBERT, WavLM, wav2vec 2.0 base) hear padding, attention mask or not: an "
        "utterance gets other features beside a longer one.",
        "Their statistics are taken over real samples only.",
    ),
    Known(
        "transformers",
        ">=5",
        "seen in 5.23",
        "A frozen encoder in training mode still masks its input and drops layers, and autograd records its stem.",
        "What is frozen runs in evaluation mode, without gradients.",
    ),
    Known(
        "transformers",
        "",
        "reported for HuBERT in GPT-SoVITS, issues 72 and 89",
        "Encoders in half precision (fp16) give NaN for many recordings.",
        "There is no fp16: encoders run in bf16 autocast or float32, and weights and losses are float32.",
    ),
    Known(
        "transformers",
        ">=5",
        "seen in 5.23",
        "The feature extractor takes stereo for a batch of two, and lets NaN and an unknown sampling rate pass.",
        "Audio is checked, and made mono and 16 kHz, when it is read.",
    ),
    Known(
        "accelerate",
        "",
        "seen in 1.15",
        "`accelerate launch --cpu --num_processes 2` starts one process, without an error.",
        "--train.processes 2 refuses to train in any other number; torchrun --nproc_per_node 2 starts two.",
    ),
    Known(
        "torch",
        ">=2.15",
        "seen in 2.15.0",
        "torch 2.15 and torchaudio 2.11 are built for different versions of CUDA and refuse each other.",
        "ssft requires torch below 2.15; the command is above, under packages.",
    ),
    Known(
        "torchaudio",
        ">=2.11",
        "seen in 2.11.0",
        "load and save need torchcodec and FFmpeg; pitch_shift takes 4 to 18 s for 5 s of audio.",
        "soundfile decodes, soxr resamples, and PitchShift is a phase vocoder of ssft's own.",
    ),
    Known(
        "soundfile",
        "",
        "seen in 0.14.0",
        "A WAV file that was cut is read as a shorter one, without an error.",
        "The length that its header states is compared with the size of the file.",
    ),
    Known(
        "safetensors",
        "",
        "seen in 0.8.0",
        "A file in which a bit has flipped is loaded without complaint.",
        "Checkpoints have a manifest of hashes, which is checked before anything is loaded.",
    ),
)


def look() -> Iterator[Finding]:
    """Name what is known of the versions installed here."""
    from packaging.specifiers import SpecifierSet

    for one in KNOWN:
        found = installed(one.package)
        if found is not None and SpecifierSet(one.versions).contains(found, prereleases=True):
            facts = {"version": found, "source": one.source, "fault": one.fault, "answer": one.answer}
            yield Finding(one.package, f"{one.fault} ({one.source})\nssft: {one.answer}", "note", facts=facts)
