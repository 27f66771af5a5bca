"""The training loop."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ssft.data import PairDataset, StepBatch
from ssft.encoders import Encoder, SpanMask, SplitEncoder
from ssft.encoders.reference import ReferenceKind
from ssft.engine.arrival import Arrival
from ssft.engine.changes import refuse_changes
from ssft.engine.checkpoint import Checkpoint, CheckpointFolder, refuse_existing_run
from ssft.engine.checks import refuse_misfits
from ssft.engine.collapse import EVERY_STEPS, CollapseWatch
from ssft.engine.device_augmentation import DeviceAugmentation
from ssft.engine.identity import corpus_identity, labels_identity
from ssft.engine.interrupt import InterruptedRunError, InterruptFlag
from ssft.engine.loader import make_loader
from ssft.engine.lock import RunLock
from ssft.engine.model import CorrespondenceModel
from ssft.engine.optim import load_optimizer_tensors, make_optimizer, optimizer_tensors, trainable
from ssft.engine.ranks import Ranks
from ssft.engine.record import RunRecord
from ssft.engine.reject_log import RejectLog
from ssft.engine.selection import Selection
from ssft.engine.settings import Train
from ssft.engine.state import RunState
from ssft.engine.step import Discarded, HalfMovedError, OptimizerStep
from ssft.engine.validation import Validation
from ssft.engine.workers import reading
from ssft.errors import RecipeError, RunError, SsftError
from ssft.randomness import derive_seed
from ssft.types import SAMPLE_RATE, Reject


@dataclass(frozen=True)
class TrainResult:
    """A finished run: where it is, the encoder as the last step left it, how much it heard, and its last loss.

    `is_main` is False for all processes but the one that writes.
    """

    folder: Path
    encoder: SplitEncoder
    steps: int
    hours: float
    loss: float
    is_main: bool = True


class CorrespondenceTrainer:
    """Adapts an encoder by pulling two views of each utterance together.

    Started several times by `torchrun` or `accelerate launch`, the processes share every batch, and the first writes.

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
        held_out: pairs that are not trained on, by which `train.select="label_free"` chooses.
        rejects: utterances already known to be unusable, for rejects.tsv.
        max_rejects: share of the recordings that may be unusable.
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
        held_out: PairDataset | None = None,
        rejects: Sequence[Reject] = (),
        max_rejects: float = 1.0,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.train = train
        self.pairs = pairs
        pairs.variants = train.cache_variants
        self.workers = workers
        self.known_rejects = rejects
        self.max_rejects = max_rejects
        self.ranks = Ranks(expected=train.processes)
        split = encoder.load() if isinstance(encoder, Encoder) else encoder
        pairs.frame_samples = round(SAMPLE_RATE / split.encoder.frame_rate)
        self.model = CorrespondenceModel(
            split,
            head,
            loss,
            reference=reference,
            loss_layers=loss_layers,
            mask=mask,
            augment=DeviceAugmentation(pairs) if pairs.on_device and not train.cache_variants else None,
            anchor=train.anchor,
            ranks=self.ranks,
            seed=derive_seed(train.seed, "weights"),
        ).to(self.ranks.device)
        refuse_misfits(self.model, pairs, train)
        self.optimizer = make_optimizer(self.model, train)
        self.make_step = OptimizerStep(self.model, self.optimizer, train=train, ranks=self.ranks)
        self.collapse = CollapseWatch()
        self.validation: Validation | None = None
        if train.select == "label_free":
            if held_out is None:
                raise RecipeError("train.select='label_free' needs held_out: pairs that are not trained on.")
            if self.ranks.is_main:
                self.validation = Validation(held_out, split)
        if train.anchor is not None:
            train.anchor.hold(trainable(self.model.encoder))
        self.identity: dict[str, Any] = {
            "base": split.encoder.weights_hash(),
            "corpus": corpus_identity(pairs.utterances),
            "labels": labels_identity(pairs.targets),
            "settings": dict(settings or {}),
        }

    def fit(self, folder: str | Path, *, resume: bool = False, allow_change: Collection[str] = ()) -> TrainResult:
        """Train, writing metrics, rejects and checkpoints into `folder`.

        Args:
            folder: made if need be.
            resume: go on from the folder's newest checkpoint instead of beginning.
            allow_change: what may differ from what that checkpoint recorded, such as `train.steps`.

        Raises:
            RunError: the folder already holds a run, or another process trains in it, there is nothing to resume, or
                the numbers stopped being finite.
            DataError: too many utterances cannot be used.
            InterruptedRunError: SIGINT, SIGTERM or SIGUSR1 came; the last step is saved.
        """
        folder = Path(folder)
        checkpoints = CheckpointFolder(folder / "checkpoints", keep=self.train.keep)
        with ExitStack() as stack:
            self.ranks.on_main(lambda: self._enter(folder, checkpoints, stack, resume=resume))
            state = self._restore(checkpoints, allow_change) if resume else RunState()
            self._train(state, folder, checkpoints, resume=resume)
        hours = state.seconds / 3600
        return TrainResult(folder, self.model.encoder, state.step, hours, state.loss, self.ranks.is_main)

    def _enter(self, folder: Path, checkpoints: CheckpointFolder, stack: ExitStack, *, resume: bool) -> None:
        stack.enter_context(RunLock(folder))
        if not resume:
            refuse_existing_run(folder)
        learning = sum(parameter.nbytes for parameter in trainable(self.model).values())
        checkpoints.refuse_if_full(self.checkpoint(RunState()).nbytes + 2 * learning)  # AdamW keeps two of each

    def _train(self, state: RunState, folder: Path, checkpoints: CheckpointFolder, *, resume: bool) -> None:
        """Make the remaining steps, writing down what happens."""
        rejects = RejectLog(
            folder / "rejects.tsv",
            self.known_rejects,
            utterances=len(self.pairs),
            limit=self.max_rejects,
            keep=resume,
            writes=self.ranks.is_main,
        )
        train, settings = self.train, self.identity["settings"]
        record = RunRecord(folder, train=train, state=state, rejects=rejects, settings=settings)
        selection = None
        if self.ranks.is_main:
            selection = Selection(train.select, patience=train.patience, folder=folder, resume_at=state.step)
        saved, ending = state.step, None
        with closing(record), InterruptFlag(lambda: state.farewell(train.steps, folder)) as interrupt:
            try:
                with closing(self._steps(state, record, selection, interrupt)) as steps:
                    for made in steps:
                        if selection is not None:
                            selection.note_step(made)
                        if self._is_candidate(state.step):
                            self._save(state, checkpoints, selection)
                            saved = state.step
                            self._judge(state, selection, interrupt)
            except HalfMovedError:
                raise
            except SsftError as error:
                ending = error
            if state.step > saved:
                self._save(state, checkpoints, selection)
        if ending is not None:
            raise ending

    def _steps(
        self, state: RunState, record: RunRecord, selection: Selection | None, interrupt: InterruptFlag
    ) -> Generator[dict[str, Any]]:
        """Make steps until the last, yielding what was written down of each.

        All processes learn the same of each other before every step, so that they end together.
        """
        with interrupt.at_once():  # nothing is lost if it is done again
            if selection is not None and self._is_candidate(state.step) and selection.missing(state.step):
                self._judge(state, selection, interrupt)
            if state.step >= self.train.steps:
                return
            loader, sampler = make_loader(
                self.pairs, self.model.encoder, self.train, self.ranks, workers=self.workers, position=state.position
            )
        with reading(loader) as batches:
            while state.step < self.train.steps:
                batch: StepBatch = next(batches)
                is_exhausted = selection is not None and selection.is_exhausted
                arrivals = self.ranks.exchange(Arrival.of(batch, signal=interrupt.received, is_exhausted=is_exhausted))
                if stopped := [arrival.signal for arrival in arrivals if arrival.signal is not None]:
                    raise InterruptedRunError(interrupt.farewell(), stopped[0])
                if any(arrival.is_exhausted for arrival in arrivals):
                    record.say(f"step {state.step}: {self.train.patience} checkpoints in a row were no better; done")
                    return
                epoch, state.position = state.position.epoch, sampler.after(state.position)
                is_empty = not any(arrival.pairs for arrival in arrivals)
                found = [reject for arrival in arrivals for reject in arrival.rejects]
                record.reject(found, is_empty=is_empty, batches_of_epoch=len(sampler.epoch_batches(epoch)))
                if is_empty:
                    continue
                is_watched = state.step % EVERY_STEPS == 0 and self.train.on_collapse != "ignore"
                made = self.make_step(batch.micro_batches, state.step, watch=is_watched)
                if isinstance(made, Discarded):
                    state.discarded += 1
                    record.discard(made, state, epoch=epoch, limit=self.train.max_discarded)
                    continue
                seconds = sum(arrival.seconds for arrival in arrivals)
                state.step += 1
                state.discarded, state.loss, state.seconds = 0, made["loss"], state.seconds + seconds
                line = {"step": state.step, "epoch": epoch, **made}
                record.step(line, seconds=seconds)
                self._heed(line, state, record)
                yield line

    def _heed(self, line: dict[str, Any], state: RunState, record: RunRecord) -> None:
        """Say it once frames have become too much alike, and stop if that is asked for."""
        if self.make_step.halvings > state.halvings:
            state.halvings = self.make_step.halvings
            record.say(f"step {state.step}: out of memory; from now on micro-batches are cut into {2**state.halvings}")
        if self.train.on_collapse == "ignore":
            return
        alarms = self.collapse.note(state.step, line)
        for alarm in alarms:
            record.say(f"warning: {alarm}")
        if alarms and self.train.on_collapse == "stop":
            raise RunError(f"{alarms[0]} (train.on_collapse is 'stop')")

    def _is_candidate(self, step: int) -> bool:
        return step > 0 and (step % self.train.save_every == 0 or step == self.train.steps)

    def _judge(self, state: RunState, selection: Selection | None, interrupt: InterruptFlag) -> None:
        """Measure how good the checkpoint of this step is."""
        if selection is not None:
            with interrupt.at_once():
                facts = self.validation.measure(self.model.encoder) if self.validation is not None else {}
                selection.candidate(state.step, facts)

    def _save(self, state: RunState, checkpoints: CheckpointFolder, selection: Selection | None) -> None:
        if selection is not None:  # in the main process
            protected = selection.best(self.train.keep_best) if self.train.select != "last" else ()
            checkpoints.save(self.checkpoint(state), state.step, protect=protected)

    def checkpoint(self, state: RunState) -> Checkpoint:
        """Return what is saved of a run that has come so far."""
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.model.training_state().items()}
        progress = {**state.describe(), "collapse": self.collapse.state(), **self.identity}
        return Checkpoint(weights, optimizer_tensors(self.optimizer, self.model), progress)

    def _restore(self, checkpoints: CheckpointFolder, allow_change: Collection[str]) -> RunState:
        checkpoint, warnings = checkpoints.load()
        for warning in warnings:
            self.ranks.say(f"warning: {warning}")
        changes = refuse_changes(checkpoint.progress, self.identity, allowed=allow_change)
        self.model.load_training_state(checkpoint.model)
        load_optimizer_tensors(self.optimizer, self.model, checkpoint.optimizer)
        state = RunState.of(checkpoint.progress)
        state.changes += [f"step {state.step}: {change}" for change in changes]
        self.make_step.halvings = state.halvings
        self.collapse.load(checkpoint.progress.get("collapse", {}))
        for change in changes:
            self.ranks.say(f"changed: {change}")
        self.ranks.say(f"continuing from step {state.step} of {self.train.steps}")
        return state
