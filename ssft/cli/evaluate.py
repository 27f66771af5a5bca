"""ssft evaluate: measure what an encoder tells apart, on any corpus, and whether it is better than another."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from ssft.cli.arguments import layer_numbers, positive, tell

if TYPE_CHECKING:
    from ssft.evaluation.suite import SystemScores

TASKS = ("abx", "pr", "asr", "qbe", "units", "speaker")
SUITES = ("robustness", "suite")
CONDITIONS = {
    "units": {"snrs_db": (10.0,), "reverb": "rooms", "augmentations": ("pitch_shift",)},
    "robustness": {"snrs_db": (20.0, 10.0, 5.0, 0.0), "reverb": "rooms"},
    "suite": {"snrs_db": (10.0,), "reverb": "rooms"},
}
"""What audio is heard in beside clean, unless it is said; for other tasks nothing."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "ssft evaluate TASK MODEL --data CORPUS [--against BASE] [--TASK.setting VALUE] [options]"
    parser.epilog = (
        "Tasks: abx (are words and phones told apart?), pr and asr (probes: phones, letters), qbe (query by example), "
        "units (do k-means units follow phones?), speaker (what is left of the voice), robustness (all of them, in "
        "noise and reverberation), suite (all of them). Their settings: docs/evaluation.md."
    )
    parser.add_argument("task", choices=(*TASKS, *SUITES), metavar="TASK", help="one of these")
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a Hub id, a folder (also a run), tiny, mfcc, or random:MODEL, untrained; add +mean-removed and the like "
        "for a free control",
    )
    add = parser.add_argument
    add("--data", required=True, metavar="CORPUS", help="audio with labels (docs/corpora.md), or demo")
    add("--against", nargs="+", default=[], metavar="BASE", help="compare with the first of these")
    add("--out", type=Path, metavar="DIR", help="for results (default: evaluation/TASK-MODEL-CORPUS)")
    add("--cache", type=Path, metavar="DIR", help="keep frames there, for further calls")
    add("--layers", type=layer_numbers, metavar="L,L", help="which layers (default: all)")
    add("--tasks", nargs="+", choices=TASKS, metavar="TASK", help="of a suite, only these")
    add("--seeds", type=positive, default=3, metavar="N", help="trainings of each probe (default: 3)")
    add("--train-hours", type=float, default=1.0, metavar="H", help="of audio, for probes (default: 1)")
    add("--noise", default="pink", metavar="SOURCE", help="pink (default), white, babble, or a folder")
    add("--snr-db", type=float, nargs="*", metavar="DB", help="measure in noise at these ratios, too")
    add("--reverb", metavar="SOURCE", help="and in rooms (simulated), a folder of responses, or none")
    add("--augmented", nargs="*", metavar="NAME", help="and after augmentations, e.g. pitch_shift")
    add("--no-controls", action="store_true", help="leave out the base with its utterance means removed")
    add("--lexicon", type=Path, metavar="FILE", help="pronunciations of words, for pr")
    add("--alignments", type=Path, metavar="DIR", help="aligned phones and words, where not in CORPUS")
    add("--items", type=Path, nargs="+", default=[], metavar="FILE", help="ABX items of ZeroSpeech")
    add("--replicates", type=positive, default=1000, metavar="N", help="draws for intervals (default: 1000)")
    add("--json", action="store_true", help="print the results as JSON")


def run(options: argparse.Namespace) -> None:
    from ssft.components import describe
    from ssft.evaluation.bootstrap import Bootstrap
    from ssft.evaluation.corpora import open_corpus
    from ssft.evaluation.page import summary
    from ssft.evaluation.results_folder import PAGE, RESULTS, ResultsFolder
    from ssft.evaluation.suite import evaluate
    from ssft.evaluation.systems import MeanRemoved, open_system, parse_conditions
    from ssft.evaluation.tasks import make_tasks
    from ssft.files import remove_folder
    from ssft.overrides import parse_overrides
    from ssft.runs import environment

    is_suite = options.task in SUITES
    names = (options.tasks or TASKS) if is_suite else (options.task,)
    tasks = make_tasks(names, parse_overrides(options.overrides))
    corpus = open_corpus(
        options.data, lexicon=options.lexicon, alignments=options.alignments, items=options.items
    ).limited(train_hours=options.train_hours)
    typed = {"snrs_db": options.snr_db, "reverb": options.reverb, "augmentations": options.augmented}
    chosen = CONDITIONS.get(options.task, {}) | {name: value for name, value in typed.items() if value is not None}
    conditions = parse_conditions(noise=options.noise, corpus=corpus, **chosen)
    out = options.out or _default_folder(options)
    # The base first, so that what is saved on the way has differences from it.
    compared = list(dict.fromkeys((*options.against[:1], options.model, *options.against)))
    has_control = bool(options.against) and is_suite and not options.no_controls
    folder = ResultsFolder(
        out,
        corpus,
        base=next(iter(options.against), None),
        bootstrap=Bootstrap(replicates=options.replicates),
        facts={
            "subject": f"{options.task} of {', '.join(compared)}",
            "command": options.command,
            "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "environment": environment(),
            "tasks": {task.name: describe(task, named=False) for task in tasks},
            "conditions": [condition.describe() for condition in conditions],
            "seeds": options.seeds,
            "train_hours": options.train_hours,
        },
    )
    tell(options, f"corpus: {corpus.summary()}")

    def after_each(systems: Sequence[SystemScores], task: str) -> None:
        folder.save(systems, complete=False)
        tell(options, f"{systems[-1].name}: {task} in {systems[-1].seconds[task]:.0f} s")

    stores = [
        open_system(
            spec,
            corpus=corpus,
            cache=options.cache or out / "features",
            layers="last" if options.task == "robustness" and not options.layers else options.layers,
            conditions=conditions,
        )
        for spec in compared
    ]
    controls = [MeanRemoved(stores[0])] if has_control else []
    given = {store.name for store in stores}
    systems = evaluate(
        corpus,
        [*stores, *(control for control in controls if control.name not in given)],
        tasks,
        seeds=options.seeds,
        untrained_only=[control.name for control in controls],
        after_each=after_each,
    )
    record = folder.save(systems, complete=True)
    if not options.cache:
        remove_folder(out / "features")
    if options.json:
        print(json.dumps(record))
    tell(options, f"\n{summary(record)}\n\nall of it: {out / PAGE}, {out / RESULTS}")


def _default_folder(options: argparse.Namespace) -> Path:
    """evaluation/suite-score-demo for `ssft evaluate suite runs/score --data demo`."""
    parts = (options.task, *(Path(name).name or name for name in (options.model, options.data)))
    return Path("evaluation") / "-".join(part.replace(":", "-") for part in parts)
