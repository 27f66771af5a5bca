"""ssft analyze trajectory: the figures of every checkpoint of a run, and which of them go with errors."""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssft.cli.arguments import above_0, number, tell
from ssft.cli.looking import Look, add_clusters, add_rank

if TYPE_CHECKING:
    from ssft.analysis.trajectory import Moment
    from ssft.evaluation.corpus import LabelledCorpus
    from ssft.evaluation.frames import FrameStore
    from ssft.evaluation.task import Task

TASKS = ("abx", "pr", "asr")
MEASURES = ("ranks", "clusters", "uniformity", "alignment", "drift")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "runs", nargs="+", type=Path, metavar="RUN", help="run folders; train with --train.keep N to keep N checkpoints"
    )
    add(
        "--data", required=True, metavar="CORPUS", help="audio that was not trained on, with or without labels, or demo"
    )
    add("--split", default="test", metavar="NAME", help="of the corpus (default: test, which is all without splits)")
    add("--max-hours", type=above_0, default=0.3, metavar="H", help="of more audio, draw H hours (default: 0.3)")
    add(
        "--tasks",
        nargs="*",
        choices=TASKS,
        default=["abx"],
        metavar="TASK",
        help="errors: abx (default), pr, asr, none",
    )
    add("--train-hours", type=above_0, default=0.5, metavar="H", help="of audio, for probes (default: 0.5)")
    add("--augmented", default="pitch_shift", metavar="NAME", help="as in analyze layers; none leaves it out")
    add("--seed", type=number, default=0, metavar="N", help="of all draws (default: 0)")
    add("--out", type=Path, metavar="DIR", help="for results (default: analysis/trajectory-RUN-CORPUS)")
    add("--json", action="store_true", help="print the results as JSON")
    add_rank(parser)
    add_clusters(parser)


def run(options: argparse.Namespace) -> None:
    from ssft.analysis.folder import analysis_facts, refuse_foreign
    from ssft.analysis.part import analysed_part
    from ssft.analysis.pictures import layer_curves
    from ssft.analysis.trajectory import rank_correlation
    from ssft.analysis.trajectory_page import correlation_table, few, known_figures, step_panels, trajectory_page
    from ssft.evaluation.corpora import open_corpus
    from ssft.evaluation.systems import parse_conditions
    from ssft.evaluation.tasks import make_tasks
    from ssft.runs import environment

    names = [folder.name for folder in options.runs]
    subject = f"trajectory of {', '.join(map(str, options.runs))}"
    out = options.out or Path("analysis") / f"trajectory-{names[0]}-{Path(options.data).name}"
    refuse_foreign(out, subject)
    whole = open_corpus(options.data).limited(train_hours=options.train_hours)
    conditions = [] if options.augmented == "none" else parse_conditions(augmentations=[options.augmented])
    part = analysed_part(
        whole,
        split=options.split,
        max_hours=options.max_hours,
        augmented_hours=options.max_hours if conditions else 0.0,
        seed=options.seed,
    )
    corpus = replace(part, splits={**whole.splits, **part.splits})
    tasks = [task for task in make_tasks(options.tasks) if not _is_obstructed(options, task, corpus)]
    tell(options, f"corpus: {part.summary()}")

    moments: list[Moment] = []
    for moment in _moments(options, corpus, conditions, tasks):
        moments.append(moment)
        tell(options, f"{moment.run}, step {moment.step}: {', '.join(_in_words(moment))}")
    figures = known_figures(moments)
    errors = list(dict.fromkeys(name for one in moments for name in one.errors))
    correlations = {
        column.name: {name: rank_correlation(moments, column.name, name, seed=options.seed) for name in errors}
        for column in figures
    }
    title = f"{', '.join(names)} on {corpus.name}, checkpoint by checkpoint"
    page = trajectory_page(title, moments, correlations, figures, errors, picture="trajectory.png", notes=part.notes)
    settings = {name: getattr(options, name) for name in _SETTINGS}
    settings["conditions"] = [condition.describe() for condition in conditions]
    facts = analysis_facts(options.command, part, [], settings, subject=subject, environment=environment())
    record = {
        "checkpoints": [vars(moment) for moment in moments],
        "correlations": {
            figure: {error: vars(own) for error, own in by_error.items()} for figure, by_error in correlations.items()
        },
    }
    picture = layer_curves(step_panels(moments, figures, errors), title=title, axis="step")
    if errors:
        some = next(own for by_error in correlations.values() for own in by_error.values())
        tell(options, f"\n{correlation_table(correlations, figures, errors)}\n{few(some).strip()}")
    Look(part, [], out, facts).save(options, record, page, {"trajectory": picture})


_SETTINGS = ("split", "max_hours", "tasks", "train_hours", "frames", "clusters", "center", "eps", "seed")
_VALIDATED = ("score", "discrimination", "invariance")


def _moments(
    options: argparse.Namespace, corpus: LabelledCorpus, conditions: Sequence[Any], tasks: Sequence[Task]
) -> Iterator[Moment]:
    """Measure the base of each run as its step 0, once if several share it, and all checkpoints."""
    from ssft.analysis.trajectory import Moment
    from ssft.encoders import PretrainedEncoder
    from ssft.engine import CheckpointFolder
    from ssft.errors import RunError
    from ssft.evaluation.systems import EncoderFrames
    from ssft.run_export import export
    from ssft.runs import recorded_recipe

    known: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="ssft-trajectory-") as name:
        work = Path(name)

        def store(encoder: PretrainedEncoder, title: str, cache: Path) -> FrameStore:
            own = (encoder.num_layers,)
            return EncoderFrames(encoder, corpus, name=title, cache=cache, layers=own, conditions=conditions)

        for folder in options.runs:
            recipe = recorded_recipe(folder)
            steps = CheckpointFolder(folder / "checkpoints").steps()
            if not steps:
                raise RunError(f"{folder} has no checkpoint. Train it first: ssft resume {folder}")
            loaded = PretrainedEncoder.load(recipe.encoder.model, revision=recipe.encoder.revision)
            base = store(loaded, recipe.encoder.model, work / "frames")
            if (weights := base.describe()["weights"]) not in known:
                known.add(weights)
                yield Moment(folder.name, 0, *_measured(options, corpus, base, None, tasks))
            recorded = _recorded(folder, steps)
            for step in steps:
                # Neither weights nor frames of a checkpoint are needed again, and all of them may not fit.
                with tempfile.TemporaryDirectory(dir=work) as own:
                    to = export(folder, Path(own) / "adapted", step=step)
                    checkpoint = PretrainedEncoder.load(str(to))
                    heard = store(checkpoint, f"{folder.name}, step {step}", Path(own) / "frames")
                    figures, errors = _measured(options, corpus, heard, base, tasks)
                yield Moment(folder.name, step, figures | recorded.get(step, {}), errors)


def _measured(
    options: argparse.Namespace,
    corpus: LabelledCorpus,
    store: FrameStore,
    base: FrameStore | None,
    tasks: Sequence[Task],
) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """The figures and the errors of the last hidden state."""
    from ssft.analysis.layer_quality import layer_quality
    from ssft.evaluation.suite import evaluate, primary

    [quality] = layer_quality(
        corpus,
        store,
        base=base,
        measures=[name for name in MEASURES if base or name != "drift"],
        most_frames=options.frames,
        clusters=options.clusters,
        center=options.center,
        epsilon=options.eps,
        seed=options.seed,
    )
    figures = quality.values()
    if base is None:
        figures |= {"cosine_distance": 0.0, "cka_distance": 0.0}
    if not tasks:
        return figures, {}
    [found] = evaluate(corpus, [store], tasks, seeds=1)
    clean: dict[str, float | None] = {
        one.measure.name: one.value for one in primary(found) if one.measure.better == "lower"
    }
    across = {name: value for name, value in clean.items() if "within" not in name}
    return figures, across or clean


def _recorded(folder: Path, steps: Sequence[int]) -> dict[int, dict[str, float | None]]:
    """What the run itself wrote down: the mean loss since the checkpoint before, and what it may select by."""
    from ssft.report.run_files import RunFiles

    files = RunFiles.read(folder)
    found: dict[int, dict[str, float | None]] = {}
    for begin, step in pairwise([0, *sorted(steps)]):
        losses = [line["loss"] for line in files.metrics if begin < line["step"] <= step and line.get("loss")]
        found[step] = {"loss": math.fsum(losses) / len(losses) if losses else None}
    for line in files.validation:
        if line["step"] in found:
            found[line["step"]] |= {name: line[name] for name in _VALIDATED if name in line}
    return found


def _in_words(moment: Moment) -> Iterator[str]:
    """The errors of a checkpoint, and what its run selects by."""
    yield from (f"{name} {100 * value:.2f} %" for name, value in moment.errors.items() if value is not None)
    rank, score = moment.figures.get("global_rank"), moment.figures.get("score")
    if rank is not None:
        yield f"global rank {rank:.1f}"
    if score is not None:
        yield f"score {score:.2f}"


def _is_obstructed(options: argparse.Namespace, task: Task, corpus: LabelledCorpus) -> bool:
    """Whether a task cannot be measured on the corpus, which is said: figures without labels need none."""
    why = task.obstacle(corpus)
    if why:
        tell(options, f"{task.name} is left out: {why}")
    return bool(why)
