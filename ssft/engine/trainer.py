"""The training loop."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader

from ssft.data import Collate, DurationBatchSampler, PairDataset, Position, StepBatch
from ssft.encoders import Encoder, SpanMask, SplitEncoder
from ssft.encoders.reference import ReferenceKind
from ssft.engine.anchors import Anchor
from ssft.engine.cache import CachedPairs
from ssft.engine.checkpoint import Checkpoint, CheckpointFolder, refuse_existing_run
from ssft.engine.device_augmentation import DeviceAugmentation
from ssft.engine.identity import corpus_identity, labels_identity, refuse_changes
from ssft.engine.interrupt import InterruptedRunError, InterruptFlag
from ssft.engine.model import CorrespondenceModel
from ssft.engine.optim import asleep, load_optimizer_tensors, make_optimizer, optimizer_tensors, set_lr, trainable
from ssft.engine.reject_log import RejectLog
from ssft.engine.settings import Train
from ssft.engine.tracking import Metrics, Progress
from ssft.engine.workers import leave_signals_to_parent, reading
from ssft.errors import RecipeError, RunError
from ssft.randomness import derive_seed
from ssft.types import SAMPLE_RATE, PairBatch, Reject


@dataclass(frozen=True)
class TrainResult:
    """A finished run: where it is, the adapted encoder, and how much it heard."""

    folder: Path
    encoder: SplitEncoder
    steps: int
    hours: float
    loss: float


@dataclass
class _State:
    """How far a run has come: steps made, what to read next, seconds of audio heard, and the last loss."""

    step: int = 0
    position: Position = field(default_factory=lambda: Position(0, 0))
    seconds: float = 0.0
    loss: float = math.nan


class CorrespondenceTrainer:
    """Adapts an encoder by pulling two views of each utterance together.

    Args:
        encoder: the encoder, or which one to load.
        head: between encoder and loss.
        loss: `loss(student, reference) -> LossOutput`.
        pairs: what to train on.
        train: how long and how fast.
        reference: whose view the student's is compared with.
        loss_layers: layers whose outputs are compared; the last if there are none.
        mask: hides frames from the student.
        workers: processes that decode and augment.
        rejects: utterances already known to be unusable, for rejects.tsv.
        settings: plain settings that must be the same when the run is resumed.

    Example:
        >>> trainer = CorrespondenceTrainer(
        ...     encoder=Encoder("tiny"), head=Identity(), loss=SoftDTW(), pairs=pairs, train=Train(steps=100)
        ... )
        >>> result = trainer.fit("runs/quickstart")
    """

    def __init__(
        self,
        *,
        encoder: SplitEncoder | Encoder,
        head: nn.Module,
        loss: nn.Module,
        pairs: PairDataset,
        train: Train,
        reference: ReferenceKind = "frozen",
        loss_layers: Sequence[int] = (),
        mask: SpanMask | None = None,
        workers: int = 0,
        rejects: Sequence[Reject] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.train = train
        self.pairs = pairs
        pairs.variants = train.cache_variants
        self.workers = workers
        self.known_rejects = rejects
        split = encoder.load() if isinstance(encoder, Encoder) else encoder
        pairs.frame_samples = round(SAMPLE_RATE / split.encoder.frame_rate)
        self.model = CorrespondenceModel(
            split,
            head,
            loss,
            reference=reference,
            loss_layers=loss_layers,
            mask=mask,
            augment=self._device_augmentation() if not train.cache_variants else None,
            anchor=train.anchor,
            seed=derive_seed(train.seed, "weights"),
        )
        self._check()
        bf16 = train.precision == "bf16" or (train.precision == "auto" and torch.cuda.is_available())
        self.accelerator = Accelerator(mixed_precision="bf16" if bf16 else "no", step_scheduler_with_optimizer=False)
        if self.accelerator.num_processes > 1:
            raise RunError(f"{self.accelerator.num_processes} processes were started; training runs in one.")
        self.optimizer = make_optimizer(self.model, train)
        if train.anchor is not None:
            train.anchor.hold(trainable(self.model.encoder))
        self.identity = {
            "base": split.encoder.weights_hash(),
            "corpus": corpus_identity(pairs.utterances),
            "labels": labels_identity(pairs.targets),
            "settings": dict(settings or {}),
        }

    def _check(self) -> None:
        """Refuse what a recipe's own check cannot see, or was not asked to."""
        for part in self.model.losses.modules():
            name = type(part).__name__
            if getattr(part, "needs_targets", False) and self.pairs.targets is None:
                raise RecipeError(f"{name} needs labels of the frames; give them with --data.targets FILE.")
            found = 0 if self.pairs.targets is None else self.pairs.targets.classes
            if (classes := getattr(part, "classes", found)) < found:
                raise RecipeError(f"{name} tells {classes} classes apart, but data.targets has {found}: set classes.")
        encoder = self.model.encoder
        if len(self.train.unfreeze_steps) >= len(encoder.trainable_layers):
            raise RecipeError(
                f"train.unfreeze_steps={list(self.train.unfreeze_steps)} names {len(self.train.unfreeze_steps)} layers "
                f"below the highest, but {len(encoder.trainable_layers)} layers train in all."
            )
        if self.train.cache_variants and (self.model.mask or encoder.frozen_dropout or encoder.cut < 0):
            raise RecipeError(
                "train.cache_variants keeps what the frozen bottom says, but here that is not the same in every epoch "
                "(views.mask, encoder.frozen_dropout or encoder.train_also). Set train.cache_variants to 0."
            )

    def _device_augmentation(self) -> DeviceAugmentation | None:
        return DeviceAugmentation(self.pairs) if self.pairs.on_device else None

    def fit(self, folder: str | Path, *, resume: bool = False) -> TrainResult:
        """Train, writing metrics, rejects and checkpoints into `folder`.

        Args:
            folder: made if need be.
            resume: go on from the folder's newest checkpoint instead of beginning.

        Raises:
            RunError: the folder already holds a run, there is nothing to resume, or the numbers stopped being finite.
            DataError: no utterance can be used.
            InterruptedRunError: SIGINT or SIGTERM came; the last step is saved.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        checkpoints = CheckpointFolder(folder / "checkpoints", keep=self.train.keep)
        if not resume:
            refuse_existing_run(folder)
        self.accelerator.prepare(self.model, self.optimizer)
        state = self._restore(checkpoints) if resume else _State()
        rejects = RejectLog(folder / "rejects.tsv", self.known_rejects, keep=resume)
        if state.step < self.train.steps:
            self._train(state, folder, checkpoints, rejects)
        return TrainResult(folder, self.model.encoder, state.step, state.seconds / 3600, state.loss)

    def _train(self, state: _State, folder: Path, checkpoints: CheckpointFolder, rejects: RejectLog) -> None:
        """Make the remaining steps, writing down what happens."""
        loader, sampler = self._loader(state.position)
        metrics = Metrics(folder / "metrics.jsonl", resume_at=state.step)
        progress = Progress(self.train.steps, done=state.step, hours=state.seconds / 3600)
        saved = state.step
        with InterruptFlag() as interrupt, reading(loader) as batches:
            while state.step < self.train.steps and interrupt.received is None:
                group: StepBatch = next(batches)
                epoch, state.position = state.position.epoch, sampler.after(state.position)
                rejects.note(group.rejects, progress.say)
                is_empty, batches_of_epoch = not group.micro_batches, len(sampler.epoch_batches(epoch))
                rejects.count_batch(is_empty=is_empty, batches_of_epoch=batches_of_epoch, utterances=len(self.pairs))
                if is_empty:
                    continue
                record = self._step(group.micro_batches, state.step)
                state.step += 1
                state.loss, heard = record["loss"], sum(batch.seconds for batch in group.micro_batches)
                state.seconds += heard
                progress.advance(heard, state.loss, fallbacks=record.get("fallbacks", 0))
                speed = {
                    "hours": round(state.seconds / 3600, 6),
                    "audio_per_second": round(progress.audio_per_second, 1),
                }
                metrics.write({"step": state.step, "epoch": epoch, **record, **speed})
                if state.step % self.train.save_every == 0:
                    checkpoints.save(self._checkpoint(state), state.step)
                    saved = state.step
            if state.step > saved:
                checkpoints.save(self._checkpoint(state), state.step)
        progress.close()
        if interrupt.received is not None and state.step < self.train.steps:
            where = f"Stopped at step {state.step} of {self.train.steps}"
            how = (
                f" and saved. Continue with: ssft resume {folder}"
                if state.step
                else "; there is nothing to resume yet."
            )
            raise InterruptedRunError(where + how, interrupt.received)

    def _step(self, batches: Sequence[PairBatch], step: int) -> dict[str, Any]:
        """One optimizer step: the gradient of the mean over all items of all micro-batches."""
        lr = set_lr(self.optimizer, step, self.train)
        total, sums = 0.0, Counter[str]()
        for number, batch in enumerate(batches):
            # Dropout is the only other randomness, and a function of its place too.
            torch.manual_seed(derive_seed(self.train.seed, step, number))
            with self.accelerator.autocast():
                output = self.model(batch)
            loss, weight = output["loss"], output["weight"]
            if not torch.isfinite(loss):
                raise RunError(f"The loss became {loss.item()} in step {step + 1}, on {', '.join(batch.ids)}.")
            self.accelerator.backward(loss * weight)
            total += weight
            for name, value in {"loss": loss.item(), **output["logs"]}.items():
                sums[name] += value * weight
        total = total or 1.0  # nothing to learn from in these pairs, as where no frame is masked
        parameters = trainable(self.model)
        for name, parameter in parameters.items():
            if parameter.grad is None:
                raise RunError(f"{name} is to be trained but got no gradient, so it would never change.")
            parameter.grad.div_(total)
        for parameter in asleep(self.model, step, self.train):
            parameter.grad = None
        norm = float(nn.utils.clip_grad_norm_(parameters.values(), self.train.clip_norm))
        if not math.isfinite(norm):
            names = ", ".join(name for batch in batches for name in batch.ids)
            where = [name for name, p in parameters.items() if p.grad is not None and not p.grad.isfinite().all()]
            first = f" (first in {where[0]})" if where else ""
            raise RunError(f"The gradient became {norm}{first} in step {step + 1}, on {names}.")
        anchor = self.train.anchor or Anchor()
        anchor.before_step()
        self.optimizer.step()
        anchor.after_step(step, lr)
        self.optimizer.zero_grad()
        self.model.after_step()
        means = {name: value / total for name, value in sums.items()}
        fallbacks = sum(batch.fallbacks for batch in batches)
        counts = {"pairs": sum(map(len, batches)), **({"fallbacks": fallbacks} if fallbacks else {})}
        return {**means, "grad_norm": norm, **counts, "lr": lr}

    def _loader(self, position: Position) -> tuple[DataLoader[Any], DurationBatchSampler]:
        sampler = DurationBatchSampler(self.pairs.seconds, batch_seconds=self.train.batch_seconds, seed=self.train.seed)
        dataset: PairDataset | CachedPairs = self.pairs
        workers = self.workers
        if self.train.cache_variants > 0:
            keys = chain.from_iterable(islice(sampler, self.train.steps))
            augment = self._device_augmentation()
            dataset = CachedPairs(self.pairs, self.model.encoder, keys=keys, workers=workers, augment=augment)
            workers = 0  # the cache lives in this process
        sampler.start = position
        loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=sampler,
            collate_fn=Collate(self.train.accumulate),
            num_workers=workers,
            worker_init_fn=leave_signals_to_parent,
        )
        return loader, sampler

    def _checkpoint(self, state: _State) -> Checkpoint:
        place = {"step": state.step, "position": list(state.position), "seconds": state.seconds, "loss": state.loss}
        progress = {**place, **self.identity}
        state_of_model = self.model.training_state().items()
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state_of_model}
        return Checkpoint(weights, optimizer_tensors(self.optimizer, self.model), progress)

    def _restore(self, checkpoints: CheckpointFolder) -> _State:
        checkpoint, warnings = checkpoints.load()
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)
        refuse_changes(checkpoint.progress, self.identity)
        self.model.load_training_state(checkpoint.model)
        load_optimizer_tensors(self.optimizer, self.model, checkpoint.optimizer)
        progress = checkpoint.progress
        print(f"continuing from step {progress['step']} of {self.train.steps}", file=sys.stderr)
        return _State(progress["step"], Position(*progress["position"]), progress["seconds"], progress["loss"])
