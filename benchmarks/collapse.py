"""How often collapse alarms come when they should, and when they should not, and what measuring costs.

    OMP_NUM_THREADS=1 python benchmarks/collapse.py healthy [--seeds 20] [--steps 200] [--only NAME ...]
    OMP_NUM_THREADS=1 python benchmarks/collapse.py collapsing [--seeds 5] [--steps 200] [--only NAME ...]
    OMP_NUM_THREADS=1 python benchmarks/collapse.py cost

Adapts the tiny encoder to the demo speech, with recipes as they are or with one thing wrong, in batches of 8 s. Prints
a Markdown table with a row for each: how many runs raised an alarm, when the first one came, and the lowest that each
number fell to in any of the runs, as a share of its highest value so far. Seeds change the order of utterances, the
weights of head and loss, and dropout; the bottom's frames are encoded once for all of them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import torch
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

from ssft.data import DurationBatchSampler
from ssft.encoders import PretrainedEncoder, SplitEncoder
from ssft.engine import CorrespondenceModel, Train
from ssft.engine.cache import CachedPairs
from ssft.engine.collapse import EVERY_STEPS, CollapseWatch, measure
from ssft.engine.optim import make_optimizer
from ssft.engine.ranks import Ranks
from ssft.engine.step import Discarded, OptimizerStep
from ssft.heads import Projection
from ssft.losses import SoftDTW
from ssft.randomness import derive_seed
from ssft.recipe import Recipe, load_recipe
from ssft.runs import pairs_of, with_overrides
from ssft.types import Pair, PairBatch

BATCH_SECONDS = 8


class Case(NamedTuple):
    """A recipe and what is changed in it."""

    name: str
    recipe: str
    settings: str = ""


HEALTHY = (
    Case("score", "score_tiny"),
    Case("spin", "spin_tiny"),
    Case("laser", "laser_tiny"),
    Case("spin, codebooks of 64 and 2048", "spin_tiny", "--loss.codebook_size [64,2048]"),
    Case("spin, moving average", "spin_tiny", "--views.reference moving_average"),
    Case("noise_robust_mse", "noise_robust_mse_tiny"),
)
COLLAPSING = (
    Case("score, reference=student", "score_tiny", "--views.reference student"),
    Case("score, reference=student, lr 1e-3", "score_tiny", "--views.reference student --train.lr 1e-3"),
    Case("laser without its regulariser", "laser_tiny", "--loss.alpha 0"),
    Case(
        "frame_regression, reference=student, lr 3e-3",
        "noise_robust_mse_tiny",
        "--loss frame_regression --train.lr 3e-3",
    ),
    Case("score, lr 3e-2", "score_tiny", "--train.lr 3e-2"),
    Case("laser, lr 3e-2", "laser_tiny", "--train.lr 3e-2"),
    Case("spin, lr 3e-2", "spin_tiny", "--train.lr 3e-2"),
    Case("spin, lr and head_lr 1e-1", "spin_tiny", "--train.lr 1e-1 --train.head_lr 1e-1"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("what", choices=["healthy", "collapsing", "cost"])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--only", nargs="+", help="names of cases")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "cost":
        print(cost())
        return
    cases = [
        case
        for case in {"healthy": HEALTHY, "collapsing": COLLAPSING}[options.what]
        if not options.only or case.name in options.only
    ]
    print("| case | runs | with an alarm | first alarm, step | its number | lowest / highest so far |")
    print("|---|---|---|---|---|---|", flush=True)
    bottoms: dict[str, CachedPairs] = {}
    for case in cases:
        print(row(case, options.seeds, options.steps, bottoms), flush=True)


def row(case: Case, seeds: int, steps: int, bottoms: dict[str, CachedPairs]) -> str:
    """Run a case with several seeds, and return its row of the table; `bottoms` is kept from case to case."""
    firsts: list[tuple[int, str]] = []
    lowest: dict[str, float] = {}
    for seed in range(seeds):
        settings = ["--train.steps", str(steps), "--train.seed", str(seed), *case.settings.split()]
        recipe = with_overrides(load_recipe(case.recipe), settings)
        model = CorrespondenceModel(
            recipe.encoder.load(),
            recipe.head,
            recipe.loss,
            reference=recipe.views.reference,
            seed=derive_seed(seed, "weights"),
        )
        if case.recipe not in bottoms:
            bottoms[case.recipe] = encoded(recipe, model.encoder)
        watch, highest = CollapseWatch(), dict[str, float]()
        alarms: list[tuple[int, str]] = []
        for number, line in enumerate(lines(recipe, model, bottoms[case.recipe]), 1):
            alarms += [(number, alarm.split(": ")[2].split()[0]) for alarm in watch.note(number, line)]
            for name, value in line.items():
                if name.startswith("frame_") or "code_perplexity" in name:
                    highest[name] = max(highest.get(name, value), value)
                    lowest[name] = min(lowest.get(name, 1.0), value / highest[name])
        firsts += alarms[:1]
    when = "-"
    if firsts:
        when = f"{statistics.median(step for step, _ in firsts):g} (latest {max(firsts)[0]})"
    which = ", ".join(sorted({name for _, name in firsts})) or "-"
    shares = ", ".join(f"{name.removeprefix('frame_')} {value:.2f}" for name, value in lowest.items())
    return f"| {case.name} | {seeds} | {len(firsts)} | {when} | {which} | {shares} |"


def encoded(recipe: Recipe, encoder: SplitEncoder) -> CachedPairs:
    """What the frozen bottom says of the demo speech."""
    pairs = pairs_of(recipe, recipe.data.load())
    keys = [(epoch, index) for epoch in range(pairs.variants) for index in range(len(pairs))]
    return CachedPairs(pairs, encoder, keys=keys)


def lines(recipe: Recipe, model: CorrespondenceModel, pairs: CachedPairs) -> Iterator[dict[str, float]]:
    """Train, and give what there is to write down of every step."""
    train = recipe.train
    make_step = OptimizerStep(model, make_optimizer(model, train), train=train, ranks=Ranks())
    sampler = DurationBatchSampler(pairs.pairs.seconds, batch_seconds=BATCH_SECONDS, seed=train.seed)
    for step, keys in enumerate(islice(sampler, train.steps)):
        batch = PairBatch.collate([pair for key in keys if isinstance(pair := pairs[key], Pair)])
        made = make_step([batch], step, watch=step % EVERY_STEPS == 0)
        yield {} if isinstance(made, Discarded) else made


def cost() -> str:
    """What measuring costs beside a step of SCORE with an encoder of the size of HuBERT-base, 24 s in a batch."""
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False)
    encoder = PretrainedEncoder(HubertModel(HubertConfig()), extractor, source="HuBERT-base, random weights")
    model = CorrespondenceModel(SplitEncoder(encoder, 2), Projection(256), SoftDTW())
    train = Train(steps=10)
    make_step = OptimizerStep(model, make_optimizer(model, train), train=train, ranks=Ranks())
    waves = 0.1 * torch.randn(4, 6 * 16_000)
    pairs = [
        Pair(str(number), wave, wave + 0.01 * torch.randn_like(wave), seconds=6.0) for number, wave in enumerate(waves)
    ]
    batch = PairBatch.collate(pairs)
    states = model.encode(batch).states
    steps, measurements = [], []
    for step in range(4):
        steps.append(seconds(lambda: make_step([batch], step)))  # noqa: B023 (called at once)
        measurements.append(seconds(lambda: measure(*states)))
    one, own = statistics.median(steps[1:]), statistics.median(measurements[1:])
    share = own / (EVERY_STEPS * one)
    return f"a step {one:.2f} s, measuring {1000 * own:.0f} ms: {share:.2%} of the time, every {EVERY_STEPS} steps"


def seconds(work: Callable[[], object]) -> float:
    """The process time of a call."""
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main()
