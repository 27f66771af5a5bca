"""Pairs and batches of pairs: a function of (seed, epoch, utterance id) and of nothing else."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from ssft.augment import Compose, OneOf, PitchShift, SpeedPerturb
from ssft.data import Collate, Data, DurationBatchSampler, PairDataset, Position
from ssft.errors import DataError
from ssft.types import Frames, Pair, Reject, Utterance, Waves

AUGMENT = Compose([SpeedPerturb((0.9, 1.0, 1.1)), OneOf([PitchShift(2), PitchShift(-2)])])


@pytest.fixture(scope="module")
def utterances(recordings):
    return Data(root=str(recordings)).load().utterances


def draw_all(utterances, *, workers, steps=8, augment=AUGMENT, **how):
    """The pairs of the first batches by (batch, id), through the loader that the engine uses."""
    pairs = PairDataset(utterances, augment=augment, max_seconds=1.0, swap=0.5, **how)
    sampler = DurationBatchSampler(pairs.seconds, batch_seconds=5.0, seed=pairs.seed)
    loader = DataLoader(pairs, batch_sampler=sampler, collate_fn=Collate(2), num_workers=workers)
    drawn = {}
    for step, group in zip(range(steps), loader, strict=False):
        for batch in group.micro_batches:
            sides = (batch.original, batch.augmented)
            for row, name in enumerate(batch.ids):
                waves = [side.samples[row, : side.lengths[row]].clone() for side in sides]
                drawn[step, name] = (*waves, bool(batch.swapped[row]))
    return drawn


def equal(one, other):
    return torch.equal(one[0], other[0]) and torch.equal(one[1], other[1]) and one[2] == other[2]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_any_number_of_workers_draws_the_same_samples(utterances):
    straight = draw_all(utterances, workers=0)
    assert len({name for _, name in straight}) == len(utterances)
    for workers in (1, 4):
        drawn = draw_all(utterances, workers=workers)
        assert list(drawn) == list(straight)
        assert all(equal(drawn[key], straight[key]) for key in straight)


def test_the_global_generators_neither_matter_nor_move(utterances):
    pairs = PairDataset(utterances, augment=AUGMENT, max_seconds=0.6, swap=0.5)
    first = [pairs[0, index] for index in range(4)]
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    again = [pairs[0, index] for index in range(4)]
    assert random.getstate() == before[0]
    assert all(np.array_equal(now, then) for now, then in zip(np.random.get_state(), before[1], strict=True))
    assert torch.equal(torch.get_rng_state(), before[2])
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.original, other.original)
        assert torch.equal(one.augmented, other.augmented)
        assert one.swapped == other.swapped


def test_another_epoch_seed_or_utterance_is_another_draw(utterances):
    crops = PairDataset(utterances, augment=SpeedPerturb(tuple(np.linspace(0.6, 1.6, 101))), max_seconds=0.4)
    other_seed = PairDataset(utterances, augment=crops.augment, max_seconds=0.4, seed=1)
    epochs = [crops[epoch, 0] for epoch in range(20)]
    assert len({pair.original.numpy().tobytes() for pair in epochs}) == 20
    assert len({len(pair.augmented) for pair in epochs}) > 12
    assert not torch.equal(crops[0, 0].original, other_seed[0, 0].original)
    lengths = {len(crops[0, index].augmented) for index in range(len(utterances))}
    assert len(lengths) > 8  # of 16 that all come from 0.4 s


def test_what_an_utterance_becomes_does_not_depend_on_the_others(utterances):
    alone = PairDataset(utterances[5:6], augment=AUGMENT, max_seconds=0.4, swap=0.5)
    among = PairDataset(utterances[::-1], augment=AUGMENT, max_seconds=0.4, swap=0.5)
    index = len(utterances) - 1 - 5
    for epoch in range(3):
        one, other = alone[epoch, 0], among[epoch, index]
        assert (one.id, one.swapped) == (other.id, other.swapped)
        assert torch.equal(one.augmented, other.augmented)


def test_variants_repeat_with_their_period_but_roles_do_not(utterances):
    pairs = PairDataset(utterances, augment=AUGMENT, max_seconds=0.4, swap=0.5, variants=2)
    free = PairDataset(utterances, augment=AUGMENT, max_seconds=0.4, swap=0.5)
    for index in range(3):
        drawn = [pairs[epoch, index].original for epoch in range(6)]
        assert all(torch.equal(drawn[epoch], drawn[epoch % 2]) for epoch in range(6))
        assert not torch.equal(drawn[0], drawn[1])
        assert all(torch.equal(pairs[epoch, index].augmented, free[epoch % 2, index].augmented) for epoch in range(4))
    roles = [[pairs.swapped((epoch, index)) for epoch in range(40)] for index in range(len(utterances))]
    assert 0.4 < np.mean(roles) < 0.6
    assert all(row[:2] * 20 != row for row in roles)
    assert not any(PairDataset(utterances).swapped((epoch, 0)) for epoch in range(9))
    assert all(PairDataset(utterances, swap=1.0).swapped((epoch, 0)) for epoch in range(9))


def test_a_pair_without_augmentation_is_two_equal_waveforms(utterances):
    pair = PairDataset(utterances)[0, 0]
    assert isinstance(pair, Pair)
    assert torch.equal(pair.original, pair.augmented)
    assert pair.original.data_ptr() != pair.augmented.data_ptr()
    assert pair.seconds == len(pair.original) / 16_000


# ----------------------------------------------------------------------------------------------------- long files


def test_crops_lie_everywhere_in_a_long_recording_and_keep_their_length(tmp_path):
    seconds = 60
    ramp = np.arange(seconds * 8_000) / (seconds * 8_000)  # the level tells where we are
    soundfile.write(tmp_path / "a.wav", 0.4 * ramp * (-1.0) ** (np.arange(len(ramp)) // 10), 8_000)
    pairs = PairDataset([Utterance("a", tmp_path / "a.wav", seconds=50.0, start=10.0)], max_seconds=2.0)
    places = []
    for epoch in range(40):
        pair = pairs[epoch, 0]
        assert len(pair.original) == 32_000
        places.append(float(pair.original.abs().median()) / 0.4 * seconds)
    assert 10 < min(places) < 18
    assert 52 < max(places) < 60
    assert pairs.seconds.tolist() == [2.0]
    assert pairs.original_varies(0)


def test_a_pause_in_a_long_recording_rejects_nothing(tmp_path):
    wave = np.zeros(16_000 * 30)
    wave[: 16_000 * 15] = 0.3 * np.sin(np.arange(16_000 * 15))
    soundfile.write(tmp_path / "half.wav", wave, 16_000)
    soundfile.write(tmp_path / "silent.wav", 0 * wave, 16_000)
    utterances = [Utterance(name, tmp_path / f"{name}.wav", 30.0) for name in ("half", "silent")]
    pairs = PairDataset(utterances, max_seconds=1.0)
    drawn = [pairs[epoch, 0] for epoch in range(40)]
    assert all(isinstance(pair, Pair) and pair.original.std() > 0.01 for pair in drawn)
    assert torch.equal(pairs[7, 0].original, drawn[7].original)
    reject = pairs[0, 1]
    assert isinstance(reject, Reject)
    assert (reject.id, reject.reason, reject.path) == ("silent", "silent", tmp_path / "silent.wav")


# -------------------------------------------------------------------------------------------------------- trouble


class Broken:
    """An augmentation that does what it is told, to an utterance of its choice."""

    changes_length = False

    def __init__(self, result):
        self.result = result

    def __call__(self, wave, rng):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def __repr__(self):
        return "Broken()"


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (ZeroDivisionError("ouch"), r"Broken\(\) failed on 'UTT' \(.*\.wav\): ZeroDivisionError\('ouch'\)"),
        (None, r"Broken\(\) made an array of shape \(\) of 'UTT'"),
        ("text", r"Broken\(\) failed on 'UTT'"),
        (np.full(500, np.nan), r"Broken\(\) made NaN or infinite samples of 'UTT'"),
        (np.zeros((2, 500)), r"Broken\(\) made an array of shape \(2, 500\) of 'UTT'"),
        (np.zeros(0), r"shape \(0,\) of 'UTT' \(.*\.wav\); expected a waveform \[T\] of at least 400 samples"),
        (np.zeros(399), r"expected a waveform \[T\] of at least 400 samples"),
    ],
)
def test_trouble_in_an_augmentation_names_the_utterance(utterances, result, says):
    pairs = PairDataset(utterances, augment=Broken(result))
    with pytest.raises(DataError, match=says.replace("UTT", utterances[3].id)):
        pairs[0, 3]


def test_trouble_in_a_worker_names_the_utterance_too(utterances):
    pairs = PairDataset(utterances[:1], augment=Broken(ZeroDivisionError("ouch")))
    loader = DataLoader(pairs, batch_sampler=[[(0, 0)]], collate_fn=Collate(), num_workers=1)
    batches = iter(loader)
    with pytest.raises(DataError, match=f"failed on '{utterances[0].id}'"):
        next(batches)
    batches._shutdown_workers()  # left to the garbage collector, whose order is any, it waits five seconds


def test_an_augmentation_in_double_precision_comes_out_in_single(utterances):
    pair = PairDataset(utterances, augment=lambda wave, rng: wave.astype(np.float64)[::-1])[0, 0]
    assert pair.augmented.dtype == torch.float32
    assert torch.equal(pair.augmented, pair.original.flip(0))


def test_a_bad_file_is_rejected_and_leaves_the_others_as_they_were(tmp_path, utterances):
    (tmp_path / "bad.wav").write_text("text")
    soundfile.write(tmp_path / "short.wav", 0.1 * np.sin(np.arange(399)), 16_000)
    bad = [Utterance("bad", tmp_path / "bad.wav", 1.0), Utterance("short", tmp_path / "short.wav", 399 / 16_000)]
    mixed = PairDataset([*utterances[:2], *bad, *utterances[2:4]], augment=AUGMENT)
    clean = PairDataset(utterances[:4], augment=AUGMENT)
    with_bad = Collate(2)([mixed[0, index] for index in range(6)])
    without = Collate(2)([clean[0, index] for index in range(4)])
    assert [(reject.id, reject.reason) for reject in with_bad.rejects] == [("bad", "corrupt"), ("short", "too_short")]
    assert without.rejects == []
    assert [batch.ids for batch in with_bad.micro_batches] == [batch.ids for batch in without.micro_batches]
    for one, other in zip(with_bad.micro_batches, without.micro_batches, strict=True):
        assert torch.equal(one.original.samples, other.original.samples)
        assert torch.equal(one.augmented.samples, other.augmented.samples)


# ---------------------------------------------------------------------------------------- files that are not as found


def touched(path):
    facts = path.stat()
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1_000_000))


def replaced(path):
    """Two samples more, with the time of before."""
    wave, facts = soundfile.read(path, dtype="int16"), path.stat()
    soundfile.write(path, np.concatenate([wave[0], wave[0][:2]]), wave[1], subtype="PCM_16")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


@pytest.mark.parametrize(
    ("change", "reason"), [(touched, "changed"), (replaced, "changed"), (Path.unlink, "missing"), (None, None)]
)
def test_a_file_that_changes_after_the_scan_is_reported(tmp_path, make_audio, change, reason):
    for name in ("a", "b", "c"):
        make_audio(tmp_path / f"{name}.wav")
    pairs = PairDataset(Data(root=str(tmp_path)).load().utterances)
    if change is not None:
        change(tmp_path / "b.wav")
    drawn = [pairs[0, index] for index in range(3)]
    rejects = [(item.id, item.path, item.reason) for item in drawn if isinstance(item, Reject)]
    assert rejects == ([("b.wav", tmp_path / "b.wav", reason)] if reason else [])
    assert all(item.detail for item in drawn if isinstance(item, Reject))
    assert isinstance(drawn[2], Pair)


def test_a_file_of_which_nothing_was_known_may_have_any_time(tmp_path, make_audio):
    make_audio(tmp_path / "a.wav")
    pairs = PairDataset([Utterance("a", tmp_path / "a.wav", 1.0)])
    touched(tmp_path / "a.wav")
    assert isinstance(pairs[0, 0], Pair)


@pytest.mark.parametrize(
    ("start", "seconds", "reason"),
    [(0.0, 2.0, None), (0.0, 2.09, None), (0.0, 2.2, "outside"), (1.5, 0.7, "outside"), (2.5, 1.0, "outside")],
)
def test_a_length_that_was_believed_is_checked_when_the_file_is_read(tmp_path, make_audio, start, seconds, reason):
    make_audio(tmp_path / "a.wav", seconds=2.0)
    (tmp_path / "m.tsv").write_text(f"path\tstart\tseconds\na.wav\t{start}\t{seconds}\n")
    pairs = PairDataset(Data(root=str(tmp_path / "m.tsv"), verify="manifest").load().utterances)
    found = pairs[0, 0]
    assert getattr(found, "reason", None) == reason
    if isinstance(found, Pair):
        assert found.seconds == pytest.approx(2.0)


def test_lengths_are_one_array_however_many_there_are(tmp_path):
    pairs = PairDataset([Utterance("a", tmp_path / "a", 3.0), Utterance("b", tmp_path / "b", 0.5)], max_seconds=2.0)
    assert isinstance(pairs.seconds, np.ndarray)
    assert pairs.seconds.tolist() == [2.0, 0.5]


# -------------------------------------------------------------------------------------------------------- collate


def fake_pairs(count, *, frames=False):
    rng = np.random.default_rng(count)
    shapes = [(int(rng.integers(5, 30)), 3)[: 1 + frames] for _ in range(count)]
    tensors = [torch.from_numpy(rng.standard_normal(shape)).float() for shape in shapes]
    return [Pair(str(i), tensor, 2 * tensor[2:], len(tensor) / 10, i % 3 == 0) for i, tensor in enumerate(tensors)]


@pytest.mark.parametrize("accumulate", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [1, 2, 5, 7, 12])
@pytest.mark.parametrize("frames", [False, True])
def test_micro_batches_are_equal_splits_in_order(accumulate, count, frames):
    pairs = fake_pairs(count, frames=frames)
    group = Collate(accumulate)(pairs)
    sizes = [len(batch) for batch in group.micro_batches]
    assert len(sizes) == min(accumulate, count)
    assert sum(sizes) == count
    assert max(sizes) - min(sizes) <= 1
    assert [name for batch in group.micro_batches for name in batch.ids] == [pair.id for pair in pairs]
    assert sum(batch.seconds for batch in group.micro_batches) == pytest.approx(sum(pair.seconds for pair in pairs))
    rest = iter(pairs)
    for batch in group.micro_batches:
        assert isinstance(batch.original, Frames if frames else Waves)
        for row, pair in zip(range(len(batch)), rest, strict=False):
            for side, wanted in ((batch.original, pair.original), (batch.augmented, pair.augmented)):
                values = side.values if frames else side.samples
                length = int(side.lengths[row])
                assert torch.equal(values[row, :length], wanted)
                assert not values[row, length:].any()
            assert bool(batch.swapped[row]) == pair.swapped


def test_a_batch_of_nothing_but_rejects_is_empty(tmp_path):
    rejects = [Reject(str(number), tmp_path, "corrupt", "") for number in range(3)]
    group = Collate(2)(rejects)
    assert group.micro_batches == []
    assert group.rejects == rejects


def test_resuming_draws_what_the_straight_run_would_have(utterances):
    pairs = PairDataset(utterances, augment=AUGMENT, max_seconds=1.0)

    def batches(start, count):
        sampler = DurationBatchSampler(pairs.seconds, batch_seconds=4.0, start=start)
        loader = DataLoader(pairs, batch_sampler=sampler, collate_fn=Collate())
        return [group.micro_batches[0] for group, _ in zip(loader, range(count), strict=False)]

    straight = batches(Position(0, 0), 6)
    resumed = batches(Position(0, 3), 3)
    for one, other in zip(straight[3:], resumed, strict=True):
        assert one.ids == other.ids
        assert torch.equal(one.augmented.samples, other.augmented.samples)


def test_real_speech_becomes_pairs(shared_speech):
    manifest = shared_speech / "speechocean762_train" / "manifest.tsv"
    utterances = Data(root=str(manifest), split="dev", verify="header").load().utterances[:12]
    pairs = PairDataset(utterances, augment=AUGMENT, max_seconds=2.0)
    for index, utterance in enumerate(utterances):
        pair = pairs[0, index]
        assert isinstance(pair, Pair)
        assert len(pair.original) == pytest.approx(16_000 * min(utterance.seconds, 2.0), abs=1)
        ratio = len(pair.original) / len(pair.augmented)
        assert min(abs(ratio - factor) for factor in (0.9, 1.0, 1.1)) < 1e-3
        assert 0.3 < float(pair.augmented.std() / pair.original.std()) < 2
        assert float(pair.augmented.abs().max()) < 3
