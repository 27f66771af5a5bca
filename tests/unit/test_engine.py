"""What a step does to the weights: only what was asked for, as a true mean, the same however it is split."""

from __future__ import annotations

import json
import multiprocessing

import pytest
import torch
from interrupting import interrupt_at
from random_encoders import VARIETIES, random_encoder

from ssft.augment import Compose, PitchShift, SpeedPerturb
from ssft.data import Data, PairDataset
from ssft.encoders import SplitEncoder
from ssft.engine import CorrespondenceModel, CorrespondenceTrainer, Train
from ssft.engine.optim import lr_factor, trainable
from ssft.errors import DataError, RunError
from ssft.heads import Identity, Projection
from ssft.losses import SoftDTW
from ssft.runs import trainable_table
from ssft.types import Frames, LossOutput, Pair, PairBatch

AUGMENT = Compose([SpeedPerturb(factors=(0.9, 1.0, 1.1)), PitchShift(semitones=2)])


def make_trainer(
    recordings, *, workers=0, dropout=0.0, loss=None, head=None, family=("hubert", "group"), leave_out=0, **train
):
    settings = {"steps": 4, "batch_seconds": 5.0, "lr": 1e-3, "save_every": 2, **train}
    utterances = Data(str(recordings)).load().utterances[leave_out:]
    pairs = PairDataset(utterances, augment=AUGMENT, swap=0.5, max_seconds=1.0)
    return CorrespondenceTrainer(
        encoder=SplitEncoder(random_encoder(*family, dropout=dropout), 2),
        head=head or Projection(8),
        loss=loss or SoftDTW(),
        pairs=pairs,
        train=Train(**settings),
        workers=workers,
    )


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(trainer):
    return {name: tensor.detach().clone() for name, tensor in trainer.model.state_dict().items()}


@pytest.mark.parametrize("family", VARIETIES)
def test_frozen_stays_bit_identical_and_trainable_moves(recordings, tmp_path, family):
    trainer = make_trainer(recordings, family=family, dropout=0.1)
    before = weights(trainer)
    trainer.fit(tmp_path)
    after = weights(trainer)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    # Parameters of the encoder show up once; buffers, reference and frozen layers may not change by a bit.
    assert moved == set(trainable(trainer.model))
    assert any(name.startswith("heads.") for name in moved)
    assert not any(name.startswith("reference.") for name in moved)


def test_printed_list_is_exactly_what_trains(recordings):
    trainer = make_trainer(recordings)
    lines = trainable_table(trainer.model).splitlines()[1:-1]
    printed = {line.split()[0]: line.split()[1] for line in lines}
    names = {name.removeprefix("encoder.encoder.model."): p for name, p in trainable(trainer.model).items()}
    assert printed == {name: "x".join(map(str, p.shape)) for name, p in names.items()}
    assert {name.split(".")[2] for name in printed if name.startswith("encoder.layers")} == {"1", "2"}


@pytest.mark.parametrize("accumulate", [2, 3, 8])
def test_accumulation_changes_nothing_but_memory(recordings, tmp_path, accumulate):
    straight, split = make_trainer(recordings), make_trainer(recordings, accumulate=accumulate)
    straight.fit(tmp_path / "straight")
    split.fit(tmp_path / "split")
    torch.testing.assert_close(losses(tmp_path / "split"), losses(tmp_path / "straight"), rtol=1e-5, atol=1e-6)


def test_accumulated_gradient_is_the_gradient_of_the_mean_over_all_pairs(recordings):
    """Micro-batches of unequal size: a mean of means would weigh the pairs of the small one more."""
    trainer = make_trainer(recordings, dropout=0.0)
    pairs = [trainer.pairs[0, index] for index in range(7)]
    trainer.model.train()
    whole = trainer.model(PairBatch.collate(pairs))
    whole["loss"].backward()
    expected = {name: p.grad.clone() for name, p in trainable(trainer.model).items()}
    trainer.model.zero_grad()
    found = {}
    trainer.optimizer.step = lambda: found.update({n: p.grad.clone() for n, p in trainable(trainer.model).items()})
    trainer.make_step.train = Train(steps=1, clip_norm=1e9)
    record = trainer.make_step([PairBatch.collate(pairs[:5]), PairBatch.collate(pairs[5:])], 0)
    assert record["loss"] == pytest.approx(float(whole["loss"].detach()), rel=1e-5)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("workers", [1, 4])
def test_workers_change_nothing(recordings, tmp_path, workers):
    make_trainer(recordings).fit(tmp_path / "none")
    make_trainer(recordings, workers=workers).fit(tmp_path / "some")
    assert losses(tmp_path / "some") == losses(tmp_path / "none")


def test_seed_changes_the_run_and_equal_seeds_repeat_it(recordings, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_trainer(recordings, seed=seed, dropout=0.1).fit(tmp_path / name)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert losses(tmp_path / "a") != losses(tmp_path / "c")


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("stop", [2, 5, 7])
def test_resume_is_bit_equal(recordings, tmp_path, stop, cached):
    """Mid-epoch and over an epoch's end, with dropout live and accumulation on: 3 batches make an epoch."""
    settings = {"steps": 9, "save_every": stop, "accumulate": 2, "dropout": 0.1, "cache_variants": 2 if cached else 0}
    straight = make_trainer(recordings, **settings)
    straight.fit(tmp_path / "straight")
    first = make_trainer(recordings, **settings)
    interrupt_at(first, stop + 1)  # one more step than was saved, as when a run is killed
    with pytest.raises(KeyboardInterrupt):
        first.fit(tmp_path / "resumed")
    resumed = make_trainer(recordings, **settings)
    resumed.fit(tmp_path / "resumed", resume=True)
    assert losses(tmp_path / "resumed") == losses(tmp_path / "straight")
    after, expected = weights(resumed), weights(straight)
    assert all(torch.equal(after[name], expected[name]) for name in expected)


def test_cached_bottom_gives_the_same_losses(recordings, tmp_path):
    """The cache repeats its variants; so does the uncached data set when told to."""
    cached = make_trainer(recordings, steps=7, cache_variants=2)
    cached.fit(tmp_path / "cached")
    uncached = make_trainer(recordings, steps=7)
    uncached.pairs.variants = 2
    uncached.fit(tmp_path / "uncached")
    torch.testing.assert_close(losses(tmp_path / "cached"), losses(tmp_path / "uncached"), rtol=1e-4, atol=1e-5)


def test_cache_that_does_not_fit_is_refused(recordings, tmp_path, monkeypatch):
    trainer = make_trainer(recordings, cache_variants=2)
    monkeypatch.setattr("os.sysconf", lambda name: 100)  # a machine with 10 kB of memory
    with pytest.raises(RunError, match="Use fewer variants"):
        trainer.fit(tmp_path)


class Recording(torch.nn.Module):
    """A loss that keeps what it was given."""

    needs_same_length = False

    def forward(self, student: Frames, reference: Frames) -> LossOutput:
        self.student, self.reference = student, reference
        return LossOutput(student.values.mean() - reference.values.mean(), weight=len(student.lengths))


def test_roles_are_swapped_where_the_pair_says_so():
    """With an untrained encoder the student's and the reference's tops agree, so the views only change places."""
    loss = Recording()
    model = CorrespondenceModel(SplitEncoder(random_encoder("hubert", "group"), 1), Identity(False), loss).eval()
    waves = [torch.randn(8000), torch.randn(6000), torch.randn(7000), torch.randn(7500)]
    pairs = [
        Pair("a", waves[0], waves[1], 0.5, swapped=False),
        Pair("b", waves[2], waves[3], 0.5, swapped=True),
    ]
    model(PairBatch.collate(pairs))
    frames = [int(model.encoder.encoder.frame_lengths(torch.tensor([len(wave)]))) for wave in waves]
    assert loss.student.lengths.tolist() == [frames[1], frames[2]]
    assert loss.reference.lengths.tolist() == [frames[0], frames[3]]


def test_head_learns_from_both_sides_but_the_frozen_reference_does_not():
    model = CorrespondenceModel(
        SplitEncoder(random_encoder("hubert", "group", dropout=0.0), 1), Projection(8), SoftDTW(), reference="frozen"
    )
    batch = PairBatch.collate([Pair("a", torch.randn(8000), torch.randn(8000), 0.5)])
    ((student, reference),) = model.views(batch)
    assert student.values.requires_grad
    assert reference.values.requires_grad  # through the head, not through the frozen top
    (one_side,) = torch.autograd.grad(
        model.losses[0](student, Frames(reference.values.detach(), reference.lengths)).loss,
        model.heads[0].layers[0].weight,
        retain_graph=True,
    )
    (both,) = torch.autograd.grad(model.losses[0](student, reference).loss, model.heads[0].layers[0].weight)
    assert not torch.allclose(one_side, both)
    assert not any(p.requires_grad for p in model.reference.parameters())


def test_student_reference_trains_through_both_views():
    model = CorrespondenceModel(
        SplitEncoder(random_encoder("hubert", "group"), 1), Identity(), SoftDTW(), reference="student"
    )
    ((_, reference),) = model.views(PairBatch.collate([Pair("a", torch.randn(8000), torch.randn(8000), 0.5)]))
    assert reference.values.requires_grad


class HeadOnly(Recording):
    def forward(self, student: Frames, reference: Frames) -> LossOutput:
        return LossOutput(self.bias.sum() * 1.0, weight=1)

    def materialize(self, dim):
        self.bias = torch.nn.Parameter(torch.ones(dim))


def test_a_trainable_tensor_without_gradient_is_named(recordings, tmp_path):
    with pytest.raises(RunError, match=r"encoder\.layers\.1.* got no gradient"):
        make_trainer(recordings, loss=HeadOnly()).fit(tmp_path)


def test_a_second_run_in_the_same_folder_is_refused(recordings, tmp_path):
    make_trainer(recordings).fit(tmp_path)
    with pytest.raises(RunError, match=r"already holds a run.*ssft resume"):
        make_trainer(recordings).fit(tmp_path)


def test_resume_refuses_other_audio_and_another_base(recordings, tmp_path):
    make_trainer(recordings).fit(tmp_path)
    fewer = make_trainer(recordings, steps=6, leave_out=1)
    with pytest.raises(RunError, match=r"audio has changed \(16 utt.* -> 15 utt[\s\S]*--allow-change corpus"):
        fewer.fit(tmp_path, resume=True)
    other = make_trainer(recordings, steps=6, family=("hubert", "layer"))
    with pytest.raises(RunError, match=r"its weights have changed.*\n.*--allow-change base"):
        other.fit(tmp_path, resume=True)


def test_resume_refuses_other_settings_and_names_them(recordings, tmp_path):
    pairs = PairDataset(Data(str(recordings)).load().utterances)

    def fit(settings, *, resume):
        encoder = SplitEncoder(random_encoder("hubert", "group"), 1)
        parts = {"encoder": encoder, "head": Identity(), "loss": SoftDTW(), "pairs": pairs, "train": Train(steps=1)}
        return CorrespondenceTrainer(**parts, settings=settings).fit(tmp_path, resume=resume)

    fit({"loss": {"name": "soft_dtw", "gamma": 0.1}, "seed": 0}, resume=False)
    with pytest.raises(
        RunError, match=r"loss\.gamma 0\.1 -> 5\n  seed 0 -> 7\n.*--allow-change loss\.gamma --allow-change seed"
    ):
        fit({"loss": {"name": "soft_dtw", "gamma": 5}, "seed": 7}, resume=True)
    fit({"loss": {"name": "soft_dtw", "gamma": 0.1}, "seed": 0}, resume=True)


def test_a_trainer_that_was_stopped_can_resume_itself(recordings, tmp_path):
    trainer = make_trainer(recordings, steps=4, save_every=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.make_step, "_attempt", trainer.make_step._attempt)
        interrupt_at(trainer, 3)
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(tmp_path)
    assert trainer.fit(tmp_path, resume=True).steps == 4


def test_audio_that_turns_out_unusable_everywhere_ends_the_run(tmp_path):
    import numpy as np
    import soundfile

    folder = tmp_path / "silent"
    folder.mkdir()
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", np.zeros(16_000), 16_000)
    utterances = Data(str(folder), verify="header").load().utterances
    trainer = CorrespondenceTrainer(
        encoder=SplitEncoder(random_encoder("hubert", "group"), 1),
        head=Identity(),
        loss=SoftDTW(),
        pairs=PairDataset(utterances),
        train=Train(steps=5),
    )
    with pytest.raises(DataError, match=r"None of the 3 utterances can be used \(silent 3\)"):
        trainer.fit(tmp_path / "run")
    assert (tmp_path / "run" / "rejects.tsv").read_text().count("silent") >= 3


class Broken(SpeedPerturb):
    def apply(self, wave, parameters):
        raise ZeroDivisionError("a mistake in the augmentation")


@pytest.mark.parametrize("cached", [0, 2])
@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_worker_ends_the_run_with_its_message_and_leaves_no_process(
    recordings, tmp_path, workers, cached
):
    trainer = make_trainer(recordings, workers=workers, cache_variants=cached)
    trainer.pairs.augment = Broken()
    with pytest.raises(DataError, match=r"failed on '.*wav'.*a mistake in the augmentation") as caught:
        trainer.fit(tmp_path)
    assert "Traceback" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert multiprocessing.active_children() == []


def test_learning_rate_schedule():
    train = Train(steps=10, warmup_steps=4)
    assert [lr_factor(step, train) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert lr_factor(4, train) == 1.0
    assert lr_factor(9, train) == pytest.approx(1 / 6)
    assert lr_factor(9, Train(steps=10, schedule="constant")) == 1.0
    assert lr_factor(5, Train(steps=10, schedule="cosine")) == pytest.approx(0.5)


def test_head_may_have_its_own_learning_rate(recordings):
    groups = make_trainer(recordings, lr=1e-4, head_lr=1e-2).optimizer.param_groups
    assert [group["peak_lr"] for group in groups] == [1e-4, 1e-2]
    assert len(groups[1]["params"]) == 2
