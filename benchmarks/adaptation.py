"""What a step of adaptation costs: memory, time and stages, beside the usual ways of freezing an encoder.

    python benchmarks/adaptation.py [--threads 1] [--rounds 3] [--device cuda --pairs 1 8] [--only ways stages options]

Prints Markdown. The encoder has the size of HuBERT-base and random weights, its two upper layers are trained as SCORE
trains them: soft-DTW between what the student says of one waveform and what the encoder as it was says of the other.
Both waveforms are 16 s of noise, so that nobody pays for padding. The ways compared give the same gradients, which is
asserted without dropout; with the dropout of HuBERT's configuration they are timed. Layer drop and SpecAugment are off.

- ssft: the bottom runs once for both waveforms without gradients; student and reference are two tops above it.
- joined: `requires_grad_(False)` on all but two layers of a model in training mode, which hears both waveforms as one
  batch, and a second, frozen model, which does too.
- separate: the same with the original and the augmented waveform one after the other.
- one each: the student hears only one waveform and the frozen model the other, as in SCORE's own code.
- one each, switched: with the stem frozen by transformers' own switch too. Without it a model in training mode asks for
  gradients of the stem's input, and all frozen layers are recorded for nothing.

`saved` counts what autograd keeps between forward and backward: distinct storages, weights and inputs left out. `peak`
is by how much memory rises in a step; each is measured in a process of its own. Rounds are interleaved, figures are
medians. Times on a CPU are of the processor's own clock for this process, which stands still while something else runs.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import gc
import importlib
import importlib.metadata
import itertools
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from ssft.augment import PRESETS
from ssft.data.audio import read_audio
from ssft.encoders import Encoder
from ssft.engine import CorrespondenceModel
from ssft.heads import Projection
from ssft.losses import SoftDTW
from ssft.randomness import derive_rng
from ssft.types import SAMPLE_RATE, Frames, Pair, PairBatch

SHARED = Path(__file__).resolve().parents[2] / "shared" / "speech"
CORPORA = ("librivox_bits", "ljspeech_141", "speechocean762_train")
AUDIO = {".flac", ".mp3", ".ogg", ".opus", ".wav"}
TRAINED = 2
MB = 2**20
WAYS = {"joined": (2, False), "separate": (1, False), "one each": (0, False), "one each, switched": (0, True)}
"""Of plain freezing: how many waveforms the models hear at once, 0 for one each; and whether the switch is used."""
OURS, PLAIN = "ssft", "joined"
LEAST_MEMORY_RATIO, MOST_TIME_RATIO = 8.0, 0.4
GRADIENT_TOLERANCE, GRADIENT_SECONDS = 1e-4, 4.0
DISTRIBUTIONS = ("torch", "transformers", "numba", "numpy", "soundfile")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=16.0)
    parser.add_argument("--pairs", type=int, nargs="+", default=[1], help="in a batch")
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--small", action="store_true", help="a small encoder, to try this script")
    parser.add_argument("--speech", type=Path, nargs="+", default=[SHARED / name for name in CORPORA])
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.device = torch.device(options.device)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    importlib.import_module("numba").set_num_threads(options.threads)
    if options.memory_of:
        print(json.dumps(memory(options.memory_of, options)))
        return
    print_machine(options)
    with tempfile.TemporaryDirectory() as folder:
        options.folder = Path(folder)
        make_encoders(options.folder, small=options.small)
        for part in options.only:
            PARTS[part](options)


# --------------------------------------------------------------------------------------------------------- contenders


@dataclasses.dataclass
class Contender:
    """A way to make a step: the loss of a batch, the modules that it needs, and the two that learn."""

    loss: Callable[[PairBatch], Tensor]
    modules: Sequence[nn.Module]
    student: nn.Module
    head: nn.Module
    bf16: bool = False

    def __post_init__(self) -> None:
        self.trained = {
            name: parameter
            for part in (self.student, self.head)
            for name, parameter in part.named_parameters()
            if parameter.requires_grad
        }
        self.optimizer = torch.optim.AdamW(self.trained.values(), lr=2e-5)

    def forward(self, batch: PairBatch) -> Tensor:
        with torch.autocast(batch.swapped.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            return self.loss(batch)

    def step(self, batch: PairBatch) -> None:
        self.optimizer.zero_grad()
        self.forward(batch).backward()
        self.optimizer.step()

    def weights(self) -> set[nn.Parameter]:
        return {parameter for module in self.modules for parameter in module.parameters()}


def make_encoders(folder: Path, *, small: bool) -> None:
    """Write encoders with random weights: HuBERT, the same without dropout, and WavLM."""
    size: dict[str, Any] = {"layerdrop": 0.0, "apply_spec_augment": False}
    if small:
        size |= {"hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 192}
        size |= {"conv_dim": (64,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    none = dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout"), 0.0)
    for name, family, settings in (("hubert", "hubert", {}), ("still", "hubert", none), ("wavlm", "wavlm", {})):
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(family, **size, **settings)
        transformers.AutoModel.from_config(config).save_pretrained(folder / name)


def contender(name: str, folder: Path, device: torch.device) -> Contender:
    """By its name: a way of plain freezing, or ssft with an option."""
    if name in WAYS:
        return plain(folder, *WAYS[name], device=device)
    return ours(folder, device=device, **OPTIONS.get(name, {}))


def ours(
    folder: Path, *, device: torch.device, bf16: bool = False, projected: bool = False, **settings: Any
) -> Contender:
    encoder = Encoder(str(folder), trainable_layers=TRAINED, **settings).load()
    if projected:
        importlib.import_module("ssft.encoders.wavlm_attention").project_attention(encoder.encoder.model)
    head = Projection(256)
    model = CorrespondenceModel(encoder, head, SoftDTW()).to(device).train()
    return Contender(lambda batch: model(batch)["loss"], [model], encoder.encoder.model, head, bf16)


def plain(folder: Path, waveforms: int, switched: bool, *, device: torch.device) -> Contender:
    student, frozen = (transformers.AutoModel.from_pretrained(folder).to(device) for _ in range(2))
    student.train().requires_grad_(False)
    student.encoder.layers[-TRAINED:].requires_grad_(True)
    frozen.eval().requires_grad_(False)
    if switched:
        student.feature_extractor._freeze_parameters()
    head = Projection(256)
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the weights that ssft begins with
        head.materialize(student.config.hidden_size)
    head.to(device)
    compare = SoftDTW()

    def of_model(model: nn.Module, samples: Sequence[Tensor]) -> list[Tensor]:
        """What a model says of originals and augmented, or of one of them."""
        if waveforms == 2:
            return list(model(torch.cat(list(samples))).last_hidden_state.chunk(2))
        return [model(each).last_hidden_state for each in samples]

    def loss(batch: PairBatch) -> Tensor:
        sides = [batch.original.samples, batch.augmented.samples]
        of_student = of_model(student, sides[1:] if waveforms == 0 else sides)[-1]
        with torch.no_grad():
            of_frozen = of_model(frozen, sides[:1] if waveforms == 0 else sides)[0]
        frames = torch.full((len(batch),), of_student.shape[1], device=device)
        return compare(head(Frames(of_student, frames)), head(Frames(of_frozen, frames))).loss

    return Contender(loss, [student, frozen, head], student, head)


def noise(pairs: int, seconds: float, device: torch.device) -> PairBatch:
    generator = torch.Generator().manual_seed(0)
    size = round(seconds * SAMPLE_RATE)
    waves = (0.1 * torch.randn(2, size, generator=generator) for _ in range(pairs))
    made = [Pair(str(n), original, augmented, seconds=seconds) for n, (original, augmented) in enumerate(waves)]
    return PairBatch.collate(made).to(device)


# -------------------------------------------------------------------------------------------------------------- memory


def memory(name: str, options: argparse.Namespace) -> dict[str, float] | None:
    """MB that a contender's weights take, that autograd saves in a step, and by which memory rises in it."""
    device = options.device
    made = contender(name, options.folder, device)
    made.step(noise(1, 1.0, device))  # compiles, and makes the optimizer's state
    batch = noise(options.pairs[0], options.seconds, device)
    try:
        peak = added_on_gpu(made, batch) if device.type == "cuda" else added_on_cpu(made, batch)
        saved = saved_bytes(made, batch)
    except torch.OutOfMemoryError:
        return None
    weights = sum(parameter.numel() * parameter.element_size() for parameter in made.weights())
    return {"weights": weights / MB, "saved": saved / MB, "peak": peak / MB}


def saved_bytes(made: Contender, batch: PairBatch) -> int:
    """What is kept for backward, in storages that the step itself made."""
    present = {parameter.untyped_storage().data_ptr() for parameter in made.weights()}
    present |= {side.samples.untyped_storage().data_ptr() for side in (batch.original, batch.augmented)}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in present:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = made.forward(batch)
    total = sum(kept.values())
    del loss
    return total


def added_on_gpu(made: Contender, batch: PairBatch) -> float:
    made.optimizer.zero_grad()
    gc.collect()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    made.step(batch)
    return torch.cuda.max_memory_allocated() - before


def added_on_cpu(made: Contender, batch: PairBatch) -> float:
    """By how much resident memory rises above its level before a step, by Linux's own high-water mark."""
    made.optimizer.zero_grad()
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what was freed is given back, so that using it again counts
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from what is in use
    except (OSError, AttributeError):
        return float("nan")  # this needs Linux with glibc
    before = high_water_mark()
    made.step(batch)
    return high_water_mark() - before


def high_water_mark() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def memory_in_own_process(name: str, folder: Path, pairs: int, options: argparse.Namespace) -> dict[str, float] | None:
    command = [sys.executable, __file__, "--memory-of", name, "--folder", str(folder), "--device", str(options.device)]
    command += ["--threads", str(options.threads), "--seconds", str(options.seconds), "--pairs", str(pairs)]
    found = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    return json.loads(found.stdout) if found.returncode == 0 else None  # killed for want of memory


# ---------------------------------------------------------------------------------------------------------------- time


def clock(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def times(made: dict[str, Contender], batch: PairBatch, *, rounds: int, device: torch.device) -> dict[str, float]:
    """Seconds for a step; the medians of interleaved rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in made}
    for each in made.values():
        each.step(noise(1, 1.0, device))  # compiles
    for turn in range(rounds + (device.type == "cuda")):
        for name, each in made.items():
            with contextlib.suppress(torch.OutOfMemoryError):
                began = clock(device)
                each.step(batch)
                if turn or device.type == "cpu":  # on a GPU kernels are chosen by the first of a size
                    seconds[name].append(clock(device) - began)
    return {name: statistics.median(each) for name, each in seconds.items() if each}


# --------------------------------------------------------------------------------------------------------------- parts


def ways(options: argparse.Namespace) -> None:
    """Ours and plain freezing: gradients, memory, time, and whether the goals are met."""
    print(f"Largest difference of gradients to ours, over the largest gradient: {gradient_difference(options):.0e}.\n")
    names = [OURS, *WAYS]
    goals = []
    for pairs in options.pairs:
        found = {name: memory_in_own_process(name, options.folder / "hubert", pairs, options) or {} for name in names}
        made = {name: contender(name, options.folder / "hubert", options.device) for name in names}
        batch = noise(pairs, options.seconds, options.device)
        took = times(made, batch, rounds=options.rounds, device=options.device)
        print(f"### {pairs} pair{'s' * (pairs > 1)} of {options.seconds:g} s: MB, seconds, and how many times ours\n")
        columns = {
            **{column: {name: found[name].get(column) for name in names} for column in ("weights", "saved", "peak")},
            "step": {name: took.get(name) for name in names},
        }
        rows = [[name, *(beside(values, name) for values in columns.values())] for name in names]
        table(["", "weights, MB", "saved, MB", "peak, MB", "step, s"], rows)
        for column, goal in (("saved", LEAST_MEMORY_RATIO), ("peak", LEAST_MEMORY_RATIO), ("step", MOST_TIME_RATIO)):
            goals.append([f"{pairs} x {options.seconds:g} s, {column}", *goal_line(columns[column], column, goal)])
        del made
        gc.collect()
    print(f"\n### Goals, against `{PLAIN}`: saved or peak 1/8 of it, a step 40 %\n")
    table(["", "ours / theirs", "goal", "met"], goals)


def goal_line(values: dict[str, float | None], column: str, goal: float) -> list[str]:
    mine, theirs = values[OURS], values[PLAIN]
    wish = goal if column == "step" else 1 / goal
    if not mine or not theirs:
        return ["not measured", f"<= {wish:g}", ""]
    return [f"{mine / theirs:.3f}", f"<= {wish:g}", "yes" if mine / theirs <= wish else "no"]


def gradient_difference(options: argparse.Namespace) -> float:
    """Between ours and every other way, for the weights of an encoder without dropout."""
    seconds, gradients = min(options.seconds, GRADIENT_SECONDS), {}
    for name in (OURS, *WAYS):
        made = contender(name, options.folder / "still", options.device)
        made.forward(noise(1, seconds, options.device)).backward()
        gradients[name] = {key: parameter.grad for key, parameter in made.trained.items()}
    mine = gradients.pop(OURS)
    largest = max(float(gradient.abs().max()) for gradient in mine.values())
    worst = 0.0
    for theirs in gradients.values():
        assert theirs.keys() == mine.keys()
        worst = max(worst, *(float((theirs[key] - mine[key]).abs().max()) / largest for key in mine))
    assert worst <= GRADIENT_TOLERANCE, f"gradients differ by {worst:.1e} of the largest"
    return worst


def stages(options: argparse.Namespace) -> None:
    """Where the time of a step goes, from the file to the optimizer."""
    for pairs in options.pairs:
        made = ours(options.folder / "hubert", device=options.device)
        made.step(noise(1, 1.0, options.device))
        batch = noise(pairs, options.seconds, options.device)
        taken: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            for name, seconds in stage_times(made, batch, options).items():
                taken.setdefault(name, []).append(seconds)
        print(f"\n### Stages, {pairs} pair{'s' * (pairs > 1)} of {options.seconds:g} s\n")
        print("Seconds of utterances per second; an utterance is one waveform of the two that the bottom hears.\n")
        medians = {name: statistics.median(each) for name, each in taken.items()}
        whole = sum(medians.values())
        rows = [
            [name, f"{1000 * seconds:.0f}", f"{batch.seconds / seconds:,.1f}", f"{100 * seconds / whole:.1f} %"]
            for name, seconds in medians.items()
        ]
        table(
            ["", "ms", "s of audio / s", "share"],
            [*rows, ["all", f"{1000 * whole:.0f}", f"{batch.seconds / whole:,.1f}", ""]],
        )


def stage_times(made: Contender, batch: PairBatch, options: argparse.Namespace) -> dict[str, float]:
    (model,) = made.modules
    encoder, device = model.encoder, options.device
    taken = material_times(options.speech, batch.seconds)
    made.optimizer.zero_grad()

    def timed(name: str, job: Callable[[], Any]) -> Any:
        began = clock(device)
        result = job()
        taken[name] = clock(device) - began
        return result

    rows = torch.arange(len(batch), device=device)
    layers = model.loss_layers
    hidden = timed("bottom, both waveforms", lambda: encoder.bottom(batch.joined()))
    (student,) = timed("top, with gradients", lambda: encoder.top_states(hidden.select(rows + len(batch)), layers))
    (reference,) = timed("top of the reference", lambda: model.reference(encoder, hidden.select(rows), layers))
    loss = timed("head and loss", lambda: model.losses[0](made.head(student), made.head(reference)).loss)
    timed("backward", lambda: loss.backward())
    timed("optimizer", lambda: made.optimizer.step())
    return taken


def material_times(folders: Iterable[Path], seconds: float) -> dict[str, float]:
    """Seconds that decoding and augmenting so much speech takes; on the CPU, whatever the encoder is on."""
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in AUDIO)
    if not files:
        return {}
    augment, rng = PRESETS["score_hubert"](), derive_rng("benchmark")
    augment(read_audio(files[0]), rng)  # compiles
    took, heard = {"decode": 0.0, "augmentation (score_hubert)": 0.0}, 0.0
    for path in itertools.islice(itertools.cycle(files), 7, None, 5):
        began = time.process_time()
        wave = read_audio(path)
        decoded = time.process_time()
        augment(wave, rng)
        took["decode"] += decoded - began
        took["augmentation (score_hubert)"] += time.process_time() - decoded
        heard += len(wave) / SAMPLE_RATE
        if heard >= max(seconds, 60.0):
            break
    return {name: total * seconds / heard for name, total in took.items()}


OPTIONS: dict[str, dict[str, Any]] = {
    OURS: {},
    "bf16": {"bf16": True},
    "checkpointed layers": {"checkpoint_layers": True},
    "compiled bottom": {"compile_bottom": True},
    "WavLM, transformers' attention": {},
    "WavLM, projected attention": {"projected": True},
    "WavLM, projected attention, bf16": {"projected": True, "bf16": True},
}
"""Of ssft, by row: settings of `Encoder`, autocast, and which attention WavLM takes."""


def choices(options: argparse.Namespace) -> None:
    """What options of ours change."""
    known = {field.name for field in dataclasses.fields(Encoder)} | {"bf16", "projected"}
    names = [name for name, settings in OPTIONS.items() if settings.keys() <= known]
    left_out = [name for name in OPTIONS if name not in names]
    for pairs in options.pairs:
        batch = noise(pairs, options.seconds, options.device)
        print(
            f"\n### Options, {pairs} pair{'s' * (pairs > 1)} of {options.seconds:g} s; beside the family's first row\n"
        )
        rows = []
        for family in ("hubert", "wavlm"):
            own = [name for name in names if name.startswith("WavLM") == (family == "wavlm")]
            folder = options.folder / family
            made = {name: contender(name, folder, options.device) for name in own}
            took = times(made, batch, rounds=options.rounds, device=options.device)
            found = {name: memory_in_own_process(name, folder, pairs, options) or {} for name in own}
            columns = [{name: found[name].get(column) for name in own} for column in ("saved", "peak")]
            columns.append({name: took.get(name) for name in own})
            rows += [[name, *(beside(values, name, first=own[0]) for values in columns)] for name in own]
            del made
        table(["", "saved, MB", "peak, MB", "step, s"], rows)
    if left_out:
        print(f"\nNot there: {', '.join(left_out)}.")


PARTS = {"ways": ways, "stages": stages, "options": choices}


# ------------------------------------------------------------------------------------------------------------ printing


def beside(values: dict[str, float | None], name: str, *, first: str = OURS) -> str:
    """A figure, and how many times that of the first it is."""
    value, mine = values[name], values[first]
    if value is None:
        return "out of memory"
    figure = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return figure if name == first or not mine else f"{figure} ({value / mine:.2f}x)"


def print_machine(options: argparse.Namespace) -> None:
    processor, described = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if described.is_file():
        processor = re.search(r"model name\s*: (.*)|$", described.read_text())[1] or processor
    gpu = torch.cuda.get_device_name() if options.device.type == "cuda" else "no GPU"
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in DISTRIBUTIONS)
    print(f"`python {' '.join(sys.argv)}`, {time.strftime('%Y-%m-%d')}.")
    print(
        f"{processor}, {options.threads} of {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start, {gpu}."
    )
    print(f"Python {platform.python_version()}, {versions}.\n")


def table(header: list[str], rows: Iterable[list[str]]) -> None:
    for cells in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
