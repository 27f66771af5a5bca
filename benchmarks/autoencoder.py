"""Which layers to train, and whether to reset them: what `ssft analyze autoencoder` recommends, put to the test.

    python benchmarks/autoencoder.py CORPUS WORK [--recipes score_tiny spin_tiny] [--part 0/2]
    python benchmarks/autoencoder.py CORPUS WORK --table

CORPUS is a folder like speechocean762_train (docs/evaluation.md). Tiny recipes are trained on some utterances of its
split `train`, without labels: the top 1, 2, 3, all, or the recommended layers, as they are and reset, three seeds each,
all on the same audio for as many steps. Each is measured on the speakers of the manifest's split `dev`, whom nothing is
trained on. WORK keeps the scores, so that processes can share the work (`--part 1/2` is every second run) and a second
call does what is left; `--table` puts them together as Markdown.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent / "replication"))
import recorded
from shared_bottom import SharedBottom

from ssft.analysis.autoencoder import Material
from ssft.analysis.fold_back import Recommendation, recommend
from ssft.analysis.part import analysed_part
from ssft.data import PairDataset
from ssft.data.sampler import DurationBatchSampler
from ssft.encoders import SplitEncoder
from ssft.engine.cache import CachedPairs
from ssft.engine.model import CorrespondenceModel
from ssft.engine.optim import make_optimizer, set_lr, trainable
from ssft.evaluation.abx.task import Abx
from ssft.evaluation.bootstrap import Bootstrap
from ssft.evaluation.corpora import open_corpus
from ssft.evaluation.corpus import TRAIN, LabelledCorpus
from ssft.evaluation.frames import FrameStore
from ssft.evaluation.measure import Score
from ssft.evaluation.page import MARKS, table
from ssft.evaluation.probe import PhoneRecognition
from ssft.evaluation.suite import SystemScores, evaluate
from ssft.evaluation.systems import CachedFrames, LastLayer, open_system
from ssft.randomness import derive_seed
from ssft.recipe import Recipe, load_recipe
from ssft.runs import with_overrides
from ssft.types import PairBatch, Utterance

BASE, LAYERS = "tiny", 6
SEEDS = (0, 1, 2)
STEPS, BATCH_SECONDS, TRAINING = 80, 24, 300
TRAIN_HOURS = 0.5
TASKS = (
    Abx(level="phone", max_group=5),
    Abx(level="word", max_group=5),
    PhoneRecognition(layers="last", updates=400),
)
MEASURES = ("PER", "phone ABX across (any context)", "word ABX across")


@dataclass(frozen=True)
class Choice:
    """How many layers from the top are trained, and how many of these begin with random weights."""

    trained: int
    reset: int = 0

    @property
    def typed(self) -> list[str]:
        """What is typed to train so."""
        return ["--encoder.trainable_layers", str(self.trained), "--encoder.reset_layers", str(self.reset)]

    def __str__(self) -> str:
        layers = "all" if self.trained == LAYERS else f"top {self.trained}"
        return f"{layers}, top {self.reset} reset" if self.reset else layers


# Of all layers the top 2 are reset: with nothing but random layers 80 steps would train a small encoder from scratch.
CHOICES = tuple(Choice(n, reset) for n, often in ((1, 1), (2, 2), (3, 3), (LAYERS, 2)) for reset in (0, often))


@dataclass(frozen=True)
class Run:
    """A recipe, what it trains, and the seed."""

    recipe: str
    choice: Choice
    seed: int

    @property
    def name(self) -> str:
        return f"{self.recipe}-{self.choice.trained}-{self.choice.reset}-seed{self.seed}"

    def load(self) -> Recipe:
        settings = {"steps": STEPS, "batch_seconds": BATCH_SECONDS, "seed": self.seed}
        typed = [text for key, value in settings.items() for text in (f"--train.{key}", str(value))]
        return with_overrides(load_recipe(self.recipe), [*self.choice.typed, *typed])


class Bench:
    """A corpus, cut into what is trained on and who is measured, and what was measured so far."""

    def __init__(self, corpus: Path, work: Path) -> None:
        self.whole = whole = open_corpus(corpus)
        by_hash = sorted(whole.splits[TRAIN], key=lambda one: derive_seed("autoencoder benchmark", one.id))
        self.training: list[Utterance] = by_hash[:TRAINING]
        self.corpus: LabelledCorpus = whole.limited(train_hours=TRAIN_HOURS)
        self.work = work
        self.bootstrap = Bootstrap()
        self.base: FrameStore = open_system(BASE, corpus=self.corpus, cache=work / "frames")
        self.pairs = lru_cache(maxsize=5)(self._pairs)
        work.mkdir(parents=True, exist_ok=True)

    @cached_property
    def recommendation(self) -> Recommendation:
        """What `ssft analyze autoencoder tiny --split train` would recommend: without the speakers who are measured."""
        part = analysed_part(self.whole, split=TRAIN)
        store = open_system(BASE, corpus=part, cache=self.work / "frames")
        profile = Material(part, [store], cache=self.work / "frames").profile(store)
        return recommend(profile.fold_backs(), last=LAYERS)

    @property
    def recommended(self) -> Choice:
        return Choice(self.recommendation.trainable_layers, self.recommendation.reset_layers)

    @property
    def choices(self) -> list[Choice]:
        """All that is tried; what is recommended may be among the fixed ones, and is then not trained twice."""
        return list(dict.fromkeys([*CHOICES, self.recommended, Choice(self.recommended.trained)]))

    def scores(self, run: Run | None) -> Path:
        """Where the scores of a run, or of the base, are kept."""
        return self.work / "scores" / f"{run.name if run else BASE}.npz"

    def measure_base(self) -> None:
        if not self.scores(None).exists():
            [found] = evaluate(self.corpus, [LastLayer(self.base)], TASKS, seeds=1)
            recorded.save(found, self.scores(None), self.bootstrap)

    def measure(self, run: Run) -> None:
        """Train and measure a run, if that has not been done."""
        if self.scores(run).exists():
            return
        began = time.process_time()
        encoder = self.train(run)
        trained = time.process_time()
        encoder.eval()
        source = SharedBottom(encoder.encoder, self.base, self.corpus, cut=encoder.cut)
        with tempfile.TemporaryDirectory(dir=self.work) as cache:
            store = CachedFrames(lambda layers: source, source.layers, self.corpus, name=run.name, cache=Path(cache))
            [found] = evaluate(self.corpus, [store], TASKS, seeds=1)
        recorded.save(found, self.scores(run), self.bootstrap)
        seconds = f"{trained - began:.0f} s of processor time for training, {time.process_time() - trained:.0f} s after"
        print(f"{run.name}: {values(found)}; {seconds}", flush=True)

    def train(self, run: Run) -> SplitEncoder:
        recipe = run.load()
        encoder = recipe.encoder.load()
        pairs = self.pairs(run.recipe, run.choice.trained)
        pairs.pairs.swap = recipe.views.swap
        model = CorrespondenceModel(encoder, recipe.head, recipe.loss, reference=recipe.views.reference, seed=run.seed)
        optimizer = make_optimizer(model, recipe.train)
        sampler = DurationBatchSampler(pairs.pairs.seconds, batch_seconds=BATCH_SECONDS, seed=run.seed)
        for step, keys in enumerate(islice(sampler, STEPS)):
            set_lr(optimizer, step, recipe.train)
            torch.manual_seed(derive_seed(run.seed, step, 0))
            model(PairBatch.collate([pairs[key] for key in keys]))["loss"].backward()
            torch.nn.utils.clip_grad_norm_(trainable(model).values(), recipe.train.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            model.after_step()
        return encoder

    def _pairs(self, recipe: str, trained: int) -> CachedPairs:
        """Two augmented variants of each utterance, as the layers below those that are trained say them."""
        loaded = load_recipe(recipe)
        pairs = PairDataset(self.training, augment=loaded.views.augmented, max_seconds=4.0, variants=2)
        keys = [(variant, index) for variant in range(2) for index in range(len(pairs))]
        return CachedPairs(pairs, replace(loaded.encoder, trainable_layers=trained).load(), keys=keys)


class Table:
    """What is known of all runs of a recipe: the runs of a choice are seeds of one system."""

    def __init__(self, bench: Bench, recipe: str) -> None:
        self.bench = bench
        self.base = self._scores([bench.scores(None)])
        self.scores: dict[Choice, dict[str, Score]] = {}
        self.seeds: dict[Choice, int] = {}
        for choice in bench.choices:
            paths = [path for seed in SEEDS if (path := bench.scores(Run(recipe, choice, seed))).exists()]
            if paths:
                self.scores[choice], self.seeds[choice] = self._scores(paths), len(paths)

    def text(self) -> str:
        """Percent, less is better, with the difference from the base, and from what is recommended."""
        recommended = self.scores.get(self.bench.recommended)
        rows = [["base", "", *(f"{100 * self.base[name].value:.2f}" for name in MEASURES), *["" for _ in MEASURES]]]
        for choice, scores in self.scores.items():
            name = f"**{choice}**, recommended" if choice == self.bench.recommended else str(choice)
            cells = [f"{100 * scores[m].value:.2f} {self._difference(scores[m], self.base[m])}" for m in MEASURES]
            if recommended:
                is_same = choice == self.bench.recommended
                cells += ["" if is_same else self._difference(scores[m], recommended[m]) for m in MEASURES]
            rows.append([name, str(self.seeds[choice]), *cells])
        heads = ["PER", "phone ABX across", "word ABX across"]
        others = [f"{head} - recommended" for head in heads] if recommended else []
        return table(["trained", "seeds", *heads, *others], [row[: 2 + len(heads) + len(others)] for row in rows])

    def _scores(self, paths: Sequence[Path]) -> dict[str, Score]:
        runs = [list(recorded.load(path).scores.values()) for path in paths]
        scores = [
            replace(one[0], measures=tuple(m for own in one for m in own.measures)) for one in zip(*runs, strict=True)
        ]
        return {score.measure.name: score for score in scores}

    def _difference(self, score: Score, other: Score) -> str:
        found = self.bench.bootstrap.difference(score, other)
        interval = f"{100 * found.value:+.2f} [{100 * found.low:+.2f}, {100 * found.high:+.2f}]"
        return f"({interval}{MARKS.get(found.verdict, '')})"


def values(system: SystemScores) -> str:
    found = {score.measure.name: 100 * score.value for score in system.scores.values()}
    return ", ".join(f"{name} {found[name]:.2f}" for name in MEASURES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--recipes", nargs="+", default=["score_tiny", "spin_tiny"])
    parser.add_argument("--part", default="0/1", help="do every N-th run, beginning with I: I/N")
    parser.add_argument("--table", action="store_true", help="print what is known, and do nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(options.corpus, options.work)
    if options.table:
        print(bench.recommendation.evidence)
        for recipe in options.recipes:
            print(f"\n**`{recipe}`**\n\n{Table(bench, recipe).text()}")
        return
    bench.measure_base()
    runs = [Run(recipe, choice, seed) for recipe in options.recipes for seed in SEEDS for choice in bench.choices]
    first, step = map(int, options.part.split("/"))
    for run in runs[first::step]:
        bench.measure(run)


if __name__ == "__main__":
    main()
