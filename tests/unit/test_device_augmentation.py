"""Augmentation on the device: the same draws, the same waveforms, the same training as in the workers."""

from __future__ import annotations

import json

import pytest
import torch
from random_encoders import random_encoder

from ssft.augment import Compose, Maybe, OneOf, Transform
from ssft.augment.base import BatchTransform
from ssft.data import Data, PairDataset
from ssft.encoders import SplitEncoder
from ssft.engine import CorrespondenceTrainer, Train
from ssft.engine.device_augmentation import DeviceAugmentation
from ssft.errors import DataError, RecipeError, RunError
from ssft.heads import Projection
from ssft.losses import SoftDTW
from ssft.ops.masking import lengths_to_mask
from ssft.types import PairBatch, Waves
from ssft.views import Views


class Louder(BatchTransform):
    """Multiplies by what it draws."""

    def draw(self, rng, wave):
        return {"factor": float(rng.uniform(0.3, 3))}

    def apply_batch(self, waves, parameters):
        factors = waves.samples.new_tensor([drawn["factor"] for drawn in parameters])
        return Waves((waves.samples * factors[:, None]).masked_fill(~waves.mask, 0), waves.lengths)


class Shorter(BatchTransform):
    """Keeps the first part."""

    def __init__(self, least: float = 0.5) -> None:
        self.least = least

    @property
    def changes_length(self):
        return True

    def draw(self, rng, wave):
        return {"share": float(rng.uniform(self.least, 1))}

    def apply_batch(self, waves, parameters):
        shares = torch.tensor([drawn["share"] for drawn in parameters], dtype=torch.float64)
        lengths = (waves.lengths * shares).long()
        samples = waves.samples[:, : int(lengths.max())]
        return Waves(samples.masked_fill(~lengths_to_mask(lengths, samples.shape[1]), 0), lengths)


class Broken(BatchTransform):
    """Returns nonsense now and then."""

    def draw(self, rng, wave):
        return {"bad": bool(rng.random() < 0.1)}

    def apply_batch(self, waves, parameters):
        bad = torch.tensor([drawn["bad"] for drawn in parameters])
        return Waves(torch.where(bad[:, None], float("inf"), waves.samples), waves.lengths)


class Slow(Transform):
    """Has no form for batches."""

    def draw(self, rng, wave):
        return {}

    def apply(self, wave, parameters):
        return wave


AUGMENT = Compose([Maybe(Louder(), probability=0.6), OneOf([Shorter(), Louder(), Compose([Louder(), Shorter(0.8)])])])


@pytest.fixture(scope="module")
def utterances(recordings):
    return Data(root=str(recordings)).load().utterances


def dataset(utterances, *, on_device, **how):
    return PairDataset(utterances, max_seconds=1.0, swap=0.5, on_device=on_device, **how)


def test_the_device_makes_what_the_workers_make(utterances):
    how = {"augment": AUGMENT, "augment_original": Maybe(Louder()), "pad_jitter": (0.0, 0.2)}
    here, there = (dataset(utterances, on_device=flag, **how) for flag in (False, True))
    augment = DeviceAugmentation(there)
    different = 0
    for epoch in range(3):
        keys = [(epoch, index) for index in range(8)]
        expected = PairBatch.collate([here[key] for key in keys])
        drawn = PairBatch.collate([there[key] for key in keys])
        assert drawn.augmented is drawn.original, "a recording is moved once"
        made = augment(drawn)
        for one, other in ((made.original, expected.original), (made.augmented, expected.augmented)):
            assert torch.equal(one.lengths, other.lengths)
            torch.testing.assert_close(one.samples, other.samples)
        assert (made.ids, made.seeds, made.drawn) == (expected.ids, expected.seeds, expected.drawn)
        assert torch.equal(made.lead, expected.lead)
        assert torch.equal(made.swapped, expected.swapped)
        different += int((made.augmented.lengths != made.original.lengths).sum())
    assert different > 10, "the pipeline does something"


def test_what_was_drawn_is_with_the_pair(utterances):
    pair = dataset(utterances, on_device=False, augment=AUGMENT)[0, 3]
    assert list(pair.drawn) == ["augmented"]
    alone = AUGMENT.apply(pair.original.numpy(), json.loads(json.dumps(pair.drawn["augmented"])))
    assert torch.equal(pair.augmented, torch.from_numpy(alone))
    assert dataset(utterances, on_device=False)[0, 3].drawn == {}
    assert dataset(utterances, on_device=False, augment=lambda wave, rng: wave)[0, 3].drawn == {}


def losses(recordings, folder, *, on_device, **train):
    pairs = dataset(
        Data(root=str(recordings)).load().utterances,
        on_device=on_device,
        augment=AUGMENT,
        augment_original=Louder(),
        pad_jitter=(0.02, 0.1),
    )
    trainer = CorrespondenceTrainer(
        encoder=SplitEncoder(random_encoder("hubert", "group", dropout=0.0), 2),
        head=Projection(8),
        loss=SoftDTW(),
        pairs=pairs,
        train=Train(**{"steps": 4, "batch_seconds": 5.0, "lr": 1e-3, "accumulate": 2, **train}),
    )
    trainer.fit(folder)
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("train", [{}, {"cache_variants": 2}], ids=["fresh", "cached"])
def test_training_is_the_same_wherever_augmentations_run(recordings, tmp_path, train):
    worker = losses(recordings, tmp_path / "worker", on_device=False, **train)
    device = losses(recordings, tmp_path / "device", on_device=True, **train)
    assert worker == pytest.approx(device, rel=1e-4)
    assert len(set(worker)) == 4


def test_nonsense_and_too_little_are_said_with_the_name(utterances, tmp_path):
    for augment, says in ((Broken(), "NaN or infinite samples"), (Shorter(0.001), "samples, fewer than 400,")):
        pairs = dataset(utterances, on_device=True, augment=augment)
        batch = PairBatch.collate([pairs[epoch, 3] for epoch in range(60)])
        with pytest.raises(DataError, match=rf"{type(augment).__name__}.* made .*{says} of '{utterances[3].id}'"):
            DeviceAugmentation(pairs)(batch)


def test_what_cannot_run_there_is_refused_before_anything_is_loaded(utterances):
    inner = Compose([Louder(), Maybe(Slow())])
    for views in ({"augmented": inner}, {"original": inner}, {"augmented": lambda wave, rng: wave}):
        Views(**views)
        with pytest.raises(RecipeError, match=r"views.where='device', but .* in views.(augmented|original) can only"):
            Views(**views, where="device")
    with pytest.raises(RecipeError, match=r"but Slow\(\) in views.augmented can only"):
        Views(augmented=inner, where="device")
    with pytest.raises(RecipeError, match=r"views.where='devise' is no place. Did you mean 'device'"):
        Views(where="devise")
    with pytest.raises(RunError, match="no form for batches"):
        DeviceAugmentation(dataset(utterances, on_device=True, augment=inner))


class Shy(Slow):
    """Falls back now and then."""

    def __init__(self) -> None:
        self._fallbacks = 0

    @property
    def fallbacks(self):
        return self._fallbacks

    def apply(self, wave, parameters):
        self._fallbacks += len(wave) % 2
        return wave


def test_fallbacks_are_counted_to_the_metrics_and_said_at_the_end(recordings, tmp_path, capsys):
    utterances = Data(root=str(recordings)).load().utterances
    pairs = PairDataset(utterances, augment=Compose([Shy(), Maybe(Shy(), probability=1.0)]))
    trainer = CorrespondenceTrainer(
        encoder=SplitEncoder(random_encoder("hubert", "group"), 2),
        head=Projection(8),
        loss=SoftDTW(),
        pairs=pairs,
        train=Train(steps=4, batch_seconds=6.0),
        workers=2,
    )
    trainer.fit(tmp_path)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    total = sum(record.get("fallbacks", 0) for record in records)
    assert total > 0
    assert all(record.get("fallbacks", 1) > 0 for record in records)
    assert f"{total} augmentations fell back to a simpler one" in capsys.readouterr().err
