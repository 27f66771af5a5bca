"""Training a probe with CTC, and keeping it as it was when it was best on `dev`."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ssft.data.sampler import DurationBatchSampler
from ssft.errors import DataError
from ssft.evaluation.probe.error_rate import ErrorRate
from ssft.evaluation.probe.examples import Examples
from ssft.evaluation.probe.model import ProbeModel
from ssft.evaluation.probe.recognition import TrainedProbe, listen
from ssft.evaluation.probe.vocabulary import BLANK, Vocabulary
from ssft.randomness import derive_seed


class Schedule(Protocol):
    """The settings of a task that say how a probe is trained; `CtcProbe` explains them."""

    @property
    def updates(self) -> int: ...
    @property
    def batch_seconds(self) -> float: ...
    @property
    def lr(self) -> float: ...
    @property
    def warmup_updates(self) -> int: ...
    @property
    def decay(self) -> bool: ...
    @property
    def evaluate_every(self) -> int: ...
    @property
    def patience(self) -> int | None: ...
    @property
    def blank_penalties(self) -> tuple[float, ...]: ...


def train_probe(
    make_model: Callable[[], ProbeModel],
    vocabulary: Vocabulary,
    train: Examples,
    dev: Examples,
    *,
    rates: Sequence[ErrorRate],
    schedule: Schedule,
    seed: int,
    name: str,
) -> TrainedProbe:
    """Train with CTC and Adam, and return the probe as it was when it was best.

    Args:
        make_model: makes the probe with random weights.
        vocabulary: what it learns to say.
        train: what it learns from.
        dev: what it is chosen on.
        rates: what is measured; the first decides which probe is best, each which blank penalty is best for it.
        schedule: how long and how fast.
        seed: of the first weights, the order of batches, and dropout.
        name: for the progress bar and for errors.

    Raises:
        DataError: frames that are not finite, or a loss that is not.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "probe"))
        model = make_model()
        optimizer = torch.optim.Adam(model.parameters(), lr=schedule.lr)
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: _share_of_lr(update, schedule))
        batches = _batches(train, schedule.batch_seconds, seed)
        lowest, best = math.inf, TrainedProbe(model, vocabulary, {}, 0)
        for update in tqdm(range(1, schedule.updates + 1), desc=name, delay=2.0, leave=False, disable=None):
            ids = next(batches)
            loss = ctc_loss(model.train(), vocabulary, train, ids)
            if not math.isfinite(loss.item()):
                train.refuse_not_finite(ids)
                raise DataError(f"{name}: the loss is {loss.item()} after {update - 1} updates. Lower its lr.")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            rate.step()
            if update % schedule.evaluate_every and update < schedule.updates:
                continue
            heard = listen(model, dev, batch_seconds=schedule.batch_seconds)
            said = {
                penalty: {key: one.decode(vocabulary, blank_penalty=penalty) for key, one in heard.items()}
                for penalty in schedule.blank_penalties
            }
            found = [min((rate.overall(dev.targets, said[penalty]), penalty) for penalty in said) for rate in rates]
            if found[0][0] < lowest:
                penalties = {rate.name: penalty for rate, (_, penalty) in zip(rates, found, strict=True)}
                lowest, best = found[0][0], TrainedProbe(copy.deepcopy(model), vocabulary, penalties, update)
            if schedule.patience is not None and update - best.updates >= schedule.patience:
                break
    return best


def ctc_loss(model: ProbeModel, vocabulary: Vocabulary, examples: Examples, ids: Sequence[str]) -> Tensor:
    """Return the mean over utterances of the CTC loss per symbol; one that cannot be said counts as 0."""
    stack, lengths = examples.stack(ids)
    targets = [vocabulary.encode(examples.targets[name]) for name in ids]
    return F.ctc_loss(
        model(stack, lengths).log_softmax(-1).transpose(0, 1),
        torch.tensor([number for target in targets for number in target]),
        model.steps(lengths),
        torch.tensor([len(target) for target in targets]),
        blank=BLANK,
        zero_infinity=True,
    )


def _batches(examples: Examples, batch_seconds: float, seed: int) -> Iterator[list[str]]:
    seconds = [examples.seconds(name) for name in examples.ids]
    for batch in DurationBatchSampler(seconds, batch_seconds=batch_seconds, seed=derive_seed(seed, "probe")):
        yield [examples.ids[index] for _, index in batch]


def _share_of_lr(update: int, schedule: Schedule) -> float:
    """The learning rate after `update` updates, as a share of the highest."""
    rising = (update + 1) / (schedule.warmup_updates + 1)
    falling = (schedule.updates - update) / max(schedule.updates - schedule.warmup_updates, 1)
    return min(rising, falling if schedule.decay else 1.0, 1.0)
