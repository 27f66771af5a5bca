"""`CorrespondenceModel` is an ordinary module: transformers' own Trainer trains it to the same losses as our loop."""

from __future__ import annotations

import json

import pytest
import torch
from random_encoders import random_encoder
from torch.utils.data import IterableDataset
from transformers import Trainer, TrainingArguments

from ssft.augment import SpeedPerturb
from ssft.data import Collate, Data, DurationBatchSampler, PairDataset
from ssft.encoders import SplitEncoder
from ssft.engine import CorrespondenceModel, CorrespondenceTrainer, Train
from ssft.heads import Projection
from ssft.losses import SoftDTW
from ssft.randomness import derive_seed

STEPS = 5


class Batches(IterableDataset):
    def __init__(self, pairs, train):
        self.pairs, self.train = pairs, train

    def __iter__(self):
        sampler = DurationBatchSampler(self.pairs.seconds, batch_seconds=self.train.batch_seconds, seed=self.train.seed)
        for keys in sampler:
            yield Collate()([self.pairs[key] for key in keys]).micro_batches[0]


def test_same_data_and_seed_give_the_same_losses(recordings, tmp_path):
    train = Train(steps=STEPS, batch_seconds=5.0, lr=1e-3, schedule="constant", clip_norm=1.0)
    utterances = Data(str(recordings)).load().utterances

    def parts():
        encoder = SplitEncoder(random_encoder("hubert", "group", dropout=0.0), 2)
        return encoder, Projection(8), SoftDTW(), PairDataset(utterances, augment=SpeedPerturb(), swap=0.5)

    encoder, head, loss, pairs = parts()
    ours = CorrespondenceTrainer(encoder=encoder, head=head, loss=loss, pairs=pairs, train=train)
    ours.fit(tmp_path / "ours")
    expected = [json.loads(line)["loss"] for line in (tmp_path / "ours" / "metrics.jsonl").read_text().splitlines()]

    encoder, head, loss, pairs = parts()
    model = CorrespondenceModel(encoder, head, loss, seed=derive_seed(train.seed, "weights"))
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "theirs"),
        max_steps=STEPS,
        per_device_train_batch_size=1,
        learning_rate=train.lr,
        lr_scheduler_type="constant",
        max_grad_norm=train.clip_norm,
        adam_epsilon=train.eps,
        weight_decay=0.0,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        accelerator_config={"dispatch_batches": False},
    )
    theirs = Trainer(
        model=model,
        args=arguments,
        train_dataset=Batches(pairs, train),
        data_collator=lambda items: {"batch": items[0]},
    )
    theirs.train()
    found = [record["loss"] for record in theirs.state.log_history if "loss" in record]
    assert found == pytest.approx(expected, abs=1e-4)  # the Trainer rounds what it logs
    for name, tensor in ours.model.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor, atol=1e-5, rtol=1e-4)
