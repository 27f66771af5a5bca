"""What goes wrong inside a step leaves the weights as they were: numbers that are not finite, and too little memory."""

from __future__ import annotations

import json
import re

import pytest
import torch
from interrupting import interrupt_at
from random_encoders import random_encoder

from ssft.augment import SpeedPerturb
from ssft.data import Data, PairDataset
from ssft.encoders import SplitEncoder
from ssft.engine import CorrespondenceTrainer, Train
from ssft.engine.optim import optimizer_tensors
from ssft.engine.step import Discarded, HalfMovedError
from ssft.errors import RunError
from ssft.heads import Identity, Projection
from ssft.losses import SoftDTW, SwappedPrediction
from ssft.types import PairBatch

OUT_OF_MEMORY = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000000 bytes."


class Poisoned(SoftDTW):
    """Becomes NaN, or has a gradient that does, whenever it is called for one of these times, counted from 0."""

    def __init__(self, calls=(), *, gradient=False):
        super().__init__()
        self.calls, self.gradient, self.count = tuple(calls), gradient, 0

    def compare(self, student, reference, targets):
        output = super().compare(student, reference, targets)
        poison = self.count in self.calls
        self.count += 1
        if not poison:
            return output
        if self.gradient:
            output.loss.register_hook(lambda gradient: gradient * torch.nan)
            return output
        return type(output)(output.loss * torch.nan, output.weight, output.logs)


def make_trainer(recordings, *, loss=None, head=None, augment=None, **train):
    settings = {"steps": 6, "batch_seconds": 4.0, "lr": 1e-3, "save_every": 2, "on_collapse": "ignore", **train}
    pairs = PairDataset(Data(str(recordings)).load().utterances, augment=augment or SpeedPerturb(), max_seconds=1.0)
    return CorrespondenceTrainer(
        encoder=SplitEncoder(random_encoder("hubert", "group", dropout=0.0), 2),
        head=head or Projection(8),
        loss=loss or SoftDTW(),
        pairs=pairs,
        train=Train(**settings),
    )


def batches(trainer, *sizes):
    numbers = iter(range(sum(sizes)))
    return [PairBatch.collate([trainer.pairs[0, next(numbers)] for _ in range(size)]) for size in sizes]


def state(trainer):
    tensors = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    moments = optimizer_tensors(trainer.optimizer, trainer.model)
    return {**tensors, **{name: tensor.clone() for name, tensor in moments.items()}}


def equal(before, after):
    return set(before) == set(after) and all(torch.equal(before[name], after[name]) for name in before)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_one_bad_micro_batch_discards_the_whole_window_and_nothing_moves(recordings, which, gradient):
    trainer = make_trainer(recordings, loss=Poisoned([3 + which], gradient=gradient))
    assert isinstance(trainer.make_step(batches(trainer, 2, 3, 1), 0), dict)
    before = state(trainer)
    parts = batches(trainer, 2, 3, 1)
    made = trainer.make_step(parts, 1)
    assert isinstance(made, Discarded)
    assert "nan" in made.what
    expected = {name for part in parts for name in part.ids} if gradient else set(parts[which].ids)
    assert set(made.ids) == expected
    assert equal(before, state(trainer))
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    assert isinstance(trainer.make_step(parts, 1), dict)
    assert not equal(before, state(trainer))


def test_a_discarded_step_leaves_no_trace_in_a_queue(recordings):
    trainer = make_trainer(
        recordings, loss=SwappedPrediction(4, queue_frames=60), augment=lambda wave, rng: wave, head=Projection(8)
    )
    good = batches(trainer, 3)
    trainer.make_step(good, 0)
    before = state(trainer)
    bad = batches(trainer, 2, 2)
    with torch.no_grad():
        bad[1].augmented.samples[0, 100] = torch.nan
    made = trainer.make_step(bad, 1)
    assert isinstance(made, Discarded)
    assert made.ids == (bad[1].ids[0],)  # of two utterances, the one whose frames are bad
    assert "frames became NaN" in made.what
    assert equal(before, state(trainer))


def test_discarded_steps_do_not_count_and_are_written_down(recordings, tmp_path):
    trainer = make_trainer(recordings, loss=Poisoned([1, 4, 5]), max_discarded=2)
    result = trainer.fit(tmp_path)
    assert result.steps == 6
    records = lines(tmp_path / "metrics.jsonl")
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5, 6]
    rates = [record["lr"] for record in records]
    assert rates == pytest.approx([1e-3 * (1 - step / 6) for step in range(6)])  # the schedule waited
    discarded = lines(tmp_path / "discarded.jsonl")
    assert [line["step"] for line in discarded] == [2, 4, 4]
    assert all(line["ids"] and "nan" in line["what"] for line in discarded)


def test_too_many_in_a_row_stop_the_run_with_the_last_good_weights(recordings, tmp_path):
    trainer = make_trainer(recordings, loss=Poisoned(range(3, 100)), max_discarded=2, save_every=100)
    with pytest.raises(RunError, match=r"3 steps in a row .* became nan, on .*\.wav.*step 3\. .*discarded\.jsonl"):
        trainer.fit(tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").glob("step-*")] == ["step-000003"]
    good = make_trainer(recordings, save_every=100)
    assert good.fit(tmp_path, resume=True).steps == 6


def test_a_run_that_discarded_steps_resumes_exactly(recordings, tmp_path):
    poisoned = [1, 4, 5]
    straight = make_trainer(recordings, loss=Poisoned(poisoned), steps=8, save_every=3)
    straight.fit(tmp_path / "straight")
    first = make_trainer(recordings, loss=Poisoned(poisoned), steps=8, save_every=3)
    interrupt_at(first, 4)
    with pytest.raises(KeyboardInterrupt):
        first.fit(tmp_path / "resumed")
    calls_made = 4  # three steps and one that was thrown away led to the checkpoint of step 3
    again = Poisoned([call - calls_made for call in poisoned if call >= calls_made])
    second = make_trainer(recordings, loss=again, steps=8, save_every=3)
    second.fit(tmp_path / "resumed", resume=True)
    for name in ("metrics.jsonl", "discarded.jsonl"):
        drop = {"audio_per_second"}
        found, expected = (
            [{k: v for k, v in line.items() if k not in drop} for line in lines(tmp_path / run / name)]
            for run in ("resumed", "straight")
        )
        assert found == expected
    assert equal(state(straight), state(second))


class Scarce:
    """Memory for `pairs` at a time: what asks for more at this stage runs out."""

    def __init__(self, trainer, stage, pairs, patch):
        self.trainer, self.pairs, self.sizes = trainer, pairs, []
        model, optimizer = trainer.model, trainer.optimizer
        encode, step = model.encode, optimizer.step

        def scarce_encode(batch):
            self.sizes.append(len(batch))
            if stage == "forward" and len(batch) > pairs:
                raise RuntimeError(OUT_OF_MEMORY)
            compared = encode(batch)
            if stage == "backward" and len(batch) > pairs:
                compared.views[0][0].values.register_hook(self.fail)
            return compared

        def scarce_step():
            if stage == "optimizer" and max(self.sizes) > pairs:
                self.sizes.clear()
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return step()

        patch.setattr(model, "encode", scarce_encode)
        patch.setattr(optimizer, "step", scarce_step)

    def fail(self, gradient):
        raise RuntimeError(OUT_OF_MEMORY)


@pytest.mark.parametrize("stage", ["forward", "backward", "optimizer"])
def test_out_of_memory_halves_micro_batches_and_keeps_the_losses(recordings, tmp_path, monkeypatch, capsys, stage):
    plain = make_trainer(recordings)
    plain.fit(tmp_path / "plain")
    trainer = make_trainer(recordings)
    scarce = Scarce(trainer, stage, 2, monkeypatch)
    trainer.fit(tmp_path / "scarce")
    found, expected = (lines(tmp_path / run / "metrics.jsonl") for run in ("scarce", "plain"))
    for name in ("loss", "grad_norm", "pairs", "lr"):
        torch.testing.assert_close(
            [line[name] for line in found], [line[name] for line in expected], rtol=1e-5, atol=1e-5
        )
    assert trainer.make_step.halvings == 2  # batches of 4 to 7 pairs
    assert "micro-batches are cut into 4" in capsys.readouterr().err
    for name, tensor in plain.model.state_dict().items():
        torch.testing.assert_close(trainer.model.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)
    assert scarce.sizes


def test_what_was_learnt_of_memory_is_resumed(recordings, tmp_path, monkeypatch):
    first = make_trainer(recordings)
    Scarce(first, "forward", 2, monkeypatch)
    interrupt_at(first, 3)
    with pytest.raises(KeyboardInterrupt):
        first.fit(tmp_path)
    second = make_trainer(recordings)
    second.fit(tmp_path, resume=True)
    assert second.make_step.halvings == 2


def test_a_single_pair_that_does_not_fit_is_an_error_with_remedies(recordings, tmp_path, monkeypatch):
    trainer = make_trainer(recordings)
    Scarce(trainer, "forward", 0, monkeypatch)
    with pytest.raises(RunError, match=r"single pair does not fit.*allocate.*data\.max_seconds.*checkpoint_layers"):
        trainer.fit(tmp_path)


def test_memory_that_runs_out_between_two_weights_is_not_saved(recordings, tmp_path, monkeypatch):
    trainer = make_trainer(recordings, save_every=100)
    step, count = trainer.optimizer.step, iter(range(100))

    def half():
        if next(count) < 2:
            return step()
        with torch.no_grad():
            trainer.optimizer.param_groups[0]["params"][0].add_(1.0)
        raise RuntimeError(OUT_OF_MEMORY)

    monkeypatch.setattr(trainer.optimizer, "step", half)
    with pytest.raises(HalfMovedError, match="some have moved"):
        trainer.fit(tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_other_errors_are_not_taken_for_a_lack_of_memory(recordings, tmp_path, monkeypatch):
    trainer = make_trainer(recordings)

    def fail(batch):
        raise RuntimeError("a mistake in the code")

    monkeypatch.setattr(trainer.model, "encode", fail)
    with pytest.raises(RuntimeError, match="a mistake in the code"):
        trainer.fit(tmp_path)


def test_halves_of_a_batch_are_the_batch(recordings):
    trainer = make_trainer(recordings, head=Identity())
    (whole,) = batches(trainer, 5)
    halves = whole.halves()
    assert [len(half) for half in halves] == [3, 2]
    assert sum((half.ids for half in halves), ()) == whole.ids
    assert sum(half.seconds for half in halves) == pytest.approx(whole.seconds)
    for name in ("original", "augmented"):
        items = [item for half in halves for item in getattr(half, name).items()]
        assert all(torch.equal(a, b) for a, b in zip(items, getattr(whole, name).items(), strict=True))
        assert all(int(half.original.lengths.max()) == half.original.samples.shape[1] for half in halves)
    assert len(halves[1].halves()[0].halves()) == 1
    assert re.fullmatch(r"\d\d\.wav", halves[0].ids[0])
