"""What a plan says of a run: figures that can be counted by hand, and what the run then really writes."""

from __future__ import annotations

import json
import math
import multiprocessing
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
import torch
import yaml

from ssft.augment import Gain
from ssft.data import Data, DurationBatchSampler
from ssft.encoders import Encoder, Lora
from ssft.engine import CheckpointFolder, CorrespondenceModel, Train
from ssft.engine.costs import Cost, Costs, StepCost, Work
from ssft.engine.step import OptimizerStep
from ssft.errors import DataError, RecipeError, RunError
from ssft.heads import Projection
from ssft.losses import FrameRegression, SwappedPrediction
from ssft.plan import in_words, making, refuse_to_overwrite, write_plan
from ssft.plan.making import make_plan
from ssft.recipe import Recipe, load_recipe
from ssft.run_export import export
from ssft.runs import pairs_of, start
from ssft.views import Views


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, make_audio) -> Path:
    """A manifest of eight recordings of a second, of two speakers and of nobody, and two that are none."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = [(f"{number}.wav", ("ann", "bob", "")[number % 3]) for number in range(8)]
    for number, (name, _) in enumerate(rows):
        make_audio(folder / name, seconds=1.0, hz=200 + 20 * number)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "page.wav").write_text("<html>404</html>\n" * 40)
    rows += [("empty.wav", "ann"), ("page.wav", "bob")]
    manifest = folder / "manifest.tsv"
    manifest.write_text("path\tspeaker\n" + "".join(f"{name}\t{speaker}\n" for name, speaker in rows))
    return manifest


def make_recipe(corpus: Path, *, encoder=None, loss=None, workers=0, max_rejects=0.5, **train) -> Recipe:
    settings = {"steps": 6, "batch_seconds": 2.5, "save_every": 2, "on_collapse": "ignore", **train}
    return Recipe(
        name="planned",
        encoder=encoder or Encoder("tiny", trainable_layers=1),
        views=Views(augmented=Gain(), reference="student"),
        head=Projection(8),
        loss=loss or SwappedPrediction(4),
        data=Data(str(corpus), workers=workers, max_rejects=max_rejects),
        train=Train(**settings),
    )


# --- figures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variants", [0, 2])
def test_figures_are_those_that_one_counts(corpus, tmp_path, monkeypatch, variants):
    monkeypatch.chdir(tmp_path)
    plan = make_plan(make_recipe(corpus, cache_variants=variants), steps=1)
    # Eight seconds, of which two fit into a batch: four batches an epoch, so six steps are an epoch and a half.
    assert (plan.audio.utterances, plan.audio.hours, plan.audio.speakers) == (8, pytest.approx(8 / 3600), 2)
    assert plan.audio.rejected == {"empty": 1, "corrupt": 1}
    assert {Path(reject["path"]).name for reject in plan.audio.rejects} == {"empty.wav", "page.wav"}
    steps = plan.steps
    assert (steps.steps, steps.steps_per_epoch, steps.epochs, steps.micro_batches) == (6, 4, 1.5, 1)
    assert (steps.utterances_per_step, steps.seconds_per_step) == (2, 2)
    assert steps.heard_hours == pytest.approx(12 / 3600)
    assert plan.time.heard_hours_per_hour == pytest.approx(12 / (60 * plan.time.minutes))
    # Two variants of all but four, of the second epoch, and the original once; 50 frames of 192 numbers a second.
    seconds = 8 + 8 + 4 if variants else 0
    assert plan.space.memory_of_cache == seconds * 50 * 192 * 4
    assert plan.space.memory == pytest.approx(psutil.Process().memory_info().rss, rel=1)
    assert (plan.problems, list(tmp_path.iterdir())) == ([], [])


def test_what_is_kept_from_training_is_not_counted(corpus):
    recipe = make_recipe(corpus, select="label_free")
    plan = make_plan(replace(recipe, data=replace(recipe.data, held_out=3)), steps=1)
    assert (plan.audio.utterances, plan.audio.held_out, plan.steps.epochs) == (5, 3, 2)  # of 2, 2 and 1
    assert plan.audio.hours == pytest.approx(5 / 3600)
    assert plan.time.judging_minutes > 0


@pytest.mark.parametrize(
    ("encoder", "train", "checkpoints"),
    [
        (None, {"keep": 1}, 2),
        (None, {"keep": 1, "keep_best": 2, "select": "min:loss", "steps": 8}, 4),
        (Encoder("tiny", trainable_layers=2, adapter=Lora(rank=4)), {"keep": 1, "keep_best": 0}, 2),
        (Encoder("tiny", trainable_layers=3), {"unfreeze_steps": (1, 2), "keep": 3}, 3),
    ],
    ids=["newest", "best", "adapter", "layers that learn later"],
)
def test_the_disk_is_filled_as_was_said(corpus, tmp_path, monkeypatch, encoder, train, checkpoints):
    recipe = make_recipe(corpus, encoder=encoder, **train)
    space = make_plan(recipe, steps=1).space
    folders: list[int] = []
    prune = CheckpointFolder._prune

    def count(self, *arguments):
        folders.append(len(self.steps()))
        prune(self, *arguments)

    monkeypatch.setattr(CheckpointFolder, "_prune", count)
    start(make_recipe(corpus, encoder=encoder, **train), tmp_path / "run")
    newest = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))[-1]
    assert space.checkpoint == pytest.approx(
        bytes_of(newest), rel=0.02, abs=1e5
    )  # an adapter is as small as its file's header
    assert space.adapted == pytest.approx(bytes_of(export(tmp_path / "run")), rel=0.02)
    # Those that are there while the last is written.
    assert (space.checkpoints, max(folders)) == (checkpoints, checkpoints)
    left = len(list(newest.parent.glob("step-*")))
    assert space.disk == max(checkpoints * space.checkpoint, left * space.checkpoint + space.adapted)


def bytes_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def costs(*steps: StepCost, workers=0, cores=1, encoding=None, **more) -> Costs:
    facts = {"first": steps[0], "arrival": 0.0, "judging": 0.0, "rejects": (), "discarded": (), "halvings": 0}
    facts |= {"checkpoint_bytes": 0, "memory_bytes": 0, "device_bytes": None, "reader_bytes": 0, **more}
    return Costs(steps=steps, workers=workers, cores=cores, encoding=encoding or Cost(), **facts)


@pytest.mark.parametrize(
    ("workers", "cores", "seconds"),
    [
        (0, 8, 5.0),  # one after the other
        (1, 8, 3.0),  # reading is slower
        (2, 8, 2.0),  # computing is slower
        (2, 2, 3.5),  # the processors are busy: 3 + 4 seconds of them
    ],
)
def test_time_is_that_of_the_slower_part_or_of_all_processors(workers, cores, seconds):
    step = StepCost(10.0, reading=Cost(3.0, 3.0), computing=Cost(2.0, 4.0))
    found = costs(step, workers=workers, cores=cores)
    assert found.estimates(Work(heard=100.0)) == [10 * seconds]
    assert found.estimates(Work(heard=100.0), reading=False) == [20.0]
    assert found.processors(Work(heard=100.0)) == 70.0


def test_a_cache_is_filled_once_and_then_steps_only_compute():
    slow, fast = (StepCost(10.0, reading=Cost(1.0, 1.0), computing=Cost(wall, wall)) for wall in (4.0, 2.0))
    found = costs(slow, fast, encoding=Cost(0.5, 0.5))
    # 30 s are read in 3 s, 50 s encoded in 25 s, and 100 s heard in ten steps.
    assert found.estimates(Work(heard=100.0, read=30.0, encoded=50.0)) == [28 + 40, 28 + 20]
    assert found.filling(Work(heard=100.0, read=30.0, encoded=50.0)) == 28
    assert found.processors(Work(heard=100.0, read=30.0, encoded=50.0)) == 3 + 25 + 30 + 1  # and a slower first step


def test_the_first_step_counts_once():
    first, other = (StepCost(10.0, reading=Cost(), computing=Cost(wall, wall)) for wall in (9.0, 2.0))
    assert costs(other, first=first, arrival=1.5).starting == 1.5 + 7.0
    assert costs(other, first=other._replace(computing=Cost(1.0, 1.0)), arrival=1.5).starting == 1.5


# --- the rehearsal -------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
@pytest.mark.parametrize("workers", [0, 3])
def test_the_largest_batch_is_among_the_steps(recordings, monkeypatch, workers):
    made = []
    make = OptimizerStep.__call__

    def note(self, batches, step, *, watch=False):
        made.append((sum(map(len, batches)) * max(max(batch.seconds_of_each) for batch in batches), step))
        return make(self, batches, step, watch=watch)

    monkeypatch.setattr(OptimizerStep, "__call__", note)
    recipe = make_recipe(recordings, workers=workers)
    make_plan(recipe, steps=2)
    pairs = pairs_of(recipe, recipe.data.load())
    sampler = DurationBatchSampler(pairs.seconds, batch_seconds=recipe.train.batch_seconds, seed=recipe.train.seed)
    assert len(made) == 1 + 1 + 2
    largest = max(len(batch) * pairs.seconds[batch].max() for batch in sampler.epoch_batches(0))
    assert made[1][0] == pytest.approx(largest, rel=1e-3)
    assert {step for _, step in made} == {recipe.train.steps - 1}
    assert multiprocessing.active_children() == []


def test_a_recipe_stays_as_it_was(corpus):
    recipe = make_recipe(corpus, loss=SwappedPrediction(4), processes=3)
    first, again = make_plan(recipe, steps=1), make_plan(recipe, steps=1)
    assert list(recipe.loss.parameters()) == list(recipe.head.parameters()) == []
    assert first.recipe.describe() == again.recipe.describe() == recipe.describe()
    assert first.time.processes == 3
    assert "3 that have a device each" in "\n".join(in_words(first))


def test_memory_that_runs_out_makes_micro_batches_smaller(corpus, monkeypatch):
    def out_of_memory():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 4 GiB.")

    encode = CorrespondenceModel.encode
    monkeypatch.setattr(
        CorrespondenceModel, "encode", lambda self, batch: out_of_memory() if len(batch) > 2 else encode(self, batch)
    )
    plan = make_plan(make_recipe(corpus, batch_seconds=8.0, accumulate=1), steps=1)
    assert (plan.recipe.train.accumulate, plan.steps.micro_batches) == (4, 4)
    assert any("train.accumulate=4 in place of 1" in note for note in plan.notes)
    monkeypatch.setattr(CorrespondenceModel, "encode", lambda self, batch: out_of_memory())
    with pytest.raises(RunError, match="A single pair does not fit into memory"):
        make_plan(make_recipe(corpus), steps=1)


@pytest.mark.parametrize("variants", [0, 1])
def test_what_only_decoding_finds_is_said(corpus, tmp_path, variants):
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", 0.1 * np.sin(np.arange(16_000)), 16_000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    plan = make_plan(make_recipe(tmp_path, cache_variants=variants, batch_seconds=6.0), steps=1)
    assert (plan.audio.utterances, plan.audio.rejected, plan.problems) == (5, {"silent": 1}, [])
    assert any("1 of the utterances that were read cannot be used (silent 1)" in note for note in plan.notes)
    strict = make_plan(make_recipe(tmp_path, cache_variants=variants, batch_seconds=6.0, max_rejects=0.1), steps=1)
    assert strict.problems[0].startswith("1 of 5 recordings (20 %) cannot be used")
    for path in tmp_path.glob("?.wav"):
        soundfile.write(path, np.zeros(16_000), 16_000)
    with pytest.raises(DataError, match=r"None of the 3 utterances that were read can be used \(silent 3\)"):
        make_plan(make_recipe(tmp_path, cache_variants=variants), steps=1)


# --- what is wrong -------------------------------------------------------------------------------------------------


def test_notes_name_what_is_worth_knowing(corpus, monkeypatch):
    plan = make_plan(make_recipe(corpus, steps=2), steps=1, notes=["first of all"])
    assert plan.notes[0] == "first of all"
    assert any("0.1 minutes of audio are little" in note for note in plan.notes)
    assert "4 utterances are never heard; train.steps=4 would hear each of them once" in plan.notes
    monkeypatch.setattr(making, "_MUCH_WAITING", -1.0)
    assert any(
        "waiting for audio: raise data.workers" in note for note in make_plan(make_recipe(corpus), steps=1).notes
    )


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (
            "rejects",
            r"2 of 10 recordings \(20 %\) cannot be used(.|\n)*corrupt(.|\n)*--json(.|\n)*--data.max_rejects 0.2",
        ),
        ("disk", r"MB of disk are needed, and 1.0 MB are free"),
        ("memory", r"[MG]B of memory are needed, of 1\.0 MB"),
        ("cache", r"train.cache_variants=2 would keep \d+\.\d GiB of frames"),
    ],
)
def test_a_run_that_cannot_go_has_a_reason(corpus, monkeypatch, what, says):
    if what == "disk":
        monkeypatch.setattr(making, "free_bytes", lambda path: 1_000_000)
    if what == "memory":
        monkeypatch.setattr(making, "_memory_there", lambda: 1_000_000)
    if what == "cache":
        monkeypatch.setattr("os.sysconf", lambda name: 1000)  # a thousand pages of a thousand bytes
    limit, variants = 0.1 if what == "rejects" else 0.5, 2 if what == "cache" else 0
    plan = make_plan(make_recipe(corpus, max_rejects=limit, cache_variants=variants), steps=1)
    assert len(plan.problems) == 1
    assert re.search(says, plan.problems[0])
    assert plan.described()["ok"] is False


def test_a_loss_that_is_never_finite_is_a_problem(corpus, monkeypatch):
    compare = FrameRegression.compare

    def poisoned(self, student, reference, targets):
        output = compare(self, student, reference, targets)
        return replace(output, loss=output.loss * math.nan)

    monkeypatch.setattr(FrameRegression, "compare", poisoned)
    plan = make_plan(make_recipe(corpus, loss=FrameRegression(), max_discarded=2), steps=1)
    assert plan.problems[0].startswith("Every step is thrown away: The loss became nan, on ")


def test_a_tracker_that_is_not_there_is_refused(corpus, monkeypatch):
    monkeypatch.setattr("ssft.engine.trackers.get_available_trackers", list)
    with pytest.raises(RecipeError, match="wandb is not installed"):
        make_plan(make_recipe(corpus, trackers=("wandb",)), steps=1)


# --- the file ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plan(corpus):
    return make_plan(make_recipe(corpus), steps=1)


def test_the_file_is_the_recipe_below_its_figures(plan, tmp_path):
    path = tmp_path / "a plan.yaml"
    write_plan(plan, path)
    write_plan(plan, path)  # over an older plan
    text = path.read_text()
    assert text.startswith("# A plan of ssft ")
    assert all(f"# {line}".rstrip() in text for line in in_words(plan))
    assert load_recipe(str(path)).describe() == plan.recipe.describe()
    assert yaml.safe_load(text) == plan.recipe.describe()
    assert list(tmp_path.iterdir()) == [path]


def test_whatever_a_recording_is_called_the_file_can_be_read(plan, tmp_path):
    odd = replace(plan, notes=["a\nb: c\x00\x1b[31m\udcff\u2028d"])
    write_plan(odd, tmp_path / "plan.yaml")
    assert load_recipe(str(tmp_path / "plan.yaml")).describe() == plan.recipe.describe()


def test_nothing_but_a_plan_is_written_over(plan, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text(plan.recipe.to_yaml())
    with pytest.raises(RunError, match="is no plan of ssft"):
        write_plan(plan, mine)
    assert mine.read_text() == plan.recipe.to_yaml()
    for path in (tmp_path, tmp_path / "nowhere" / "plan.yaml", mine / "plan.yaml"):
        with pytest.raises(RunError, match=r"Cannot write .* Choose another --out"):
            refuse_to_overwrite(path)


def test_figures_are_plain_values(plan):
    described = plan.described()
    described["time"]["minutes_range"] = list(described["time"]["minutes_range"])
    assert json.loads(json.dumps(described)) == described
