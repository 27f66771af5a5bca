"""Making a plan: look at the audio, make a few steps, and reckon."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from statistics import median

import numpy as np
import psutil  # type: ignore[import-untyped]
import torch

from ssft.data import Corpus, DurationBatchSampler
from ssft.data.pairs import Key
from ssft.data.rejects import count_reasons, too_many
from ssft.data.utterances import Utterances
from ssft.doctor.machine import memory_limit
from ssft.engine import CorrespondenceTrainer, Train
from ssft.engine.cache import cache_bytes, encoded_seconds, needed_draws, refuse_large_cache
from ssft.engine.costs import Cost, Costs, Work
from ssft.engine.rehearsal import rehearse
from ssft.engine.trackers import refuse_missing_trackers
from ssft.errors import RunError
from ssft.files import free_bytes, size
from ssft.plan.figures import Audio, Plan, Space, Steps, Time
from ssft.recipe import Recipe
from ssft.runs import note_on_crops, trainer_of, with_overrides
from ssft.types import Reject

_LITTLE_HOURS = 1 / 6
_MUCH_WAITING = 0.2


def make_plan(recipe: Recipe, *, steps: int = 3, notes: Sequence[str] = ()) -> Plan:
    """Find out what a run of this recipe would take on this machine. Nothing is written.

    Headers of the audio are read, whatever `data.verify` says, and a few real steps made.

    Args:
        recipe: it stays as it is.
        steps: how many steps are to count; the more, the surer.
        notes: to begin the plan's with.

    Raises:
        SsftError: what `ssft train` would raise before its first step.

    Example:
        >>> plan = make_plan(load_recipe("score_hubert_base"))
        >>> plan.time.minutes, plan.problems
        (41.5, [])
    """
    recipe = recipe.with_preset(recipe.preset)
    recipe.check()
    recipe.views.check_sources()
    refuse_missing_trackers(recipe.train.trackers)
    corpus = replace(recipe.data, verify="header").load()
    recipe = replace(recipe, encoder=recipe.encoder.pinned())
    began = Cost(time.perf_counter(), time.process_time())
    # A recipe of its own, for a trainer makes head and loss part of itself.
    trainer = trainer_of(with_overrides(recipe, ["--train.processes", "1"]), corpus, rejects=corpus.rejects)
    building = Cost(time.perf_counter() - began.wall, time.process_time() - began.cpu)
    costs = rehearse(trainer, steps=steps)
    accumulate = recipe.train.accumulate * 2**costs.halvings
    planned = replace(recipe, train=replace(recipe.train, accumulate=accumulate))
    draws = _draws(trainer)
    made, work = _schedule(trainer, accumulate, draws)
    duration = _time(planned, work, costs, building)
    space = _space(planned, trainer, costs, draws)
    return Plan(
        recipe=planned,
        audio=_audio(corpus, trainer.pairs.utterances, [*corpus.rejects, *costs.rejects]),
        steps=made,
        time=duration,
        space=space,
        notes=[*notes, *_notes(recipe, corpus, trainer, costs, made), *_notes_on_machine(planned, duration, space)],
        problems=list(_problems(planned, corpus, trainer, costs, space, draws)),
    )


def _audio(corpus: Corpus, trained: Utterances, rejects: Sequence[Reject]) -> Audio:
    speakers = trained.speakers.codes
    return Audio(
        utterances=len(trained),
        hours=trained.hours,
        speakers=len(np.unique(speakers[speakers >= 0])) or None,
        held_out=len(corpus.utterances) - len(trained),
        rejected=dict(Counter(reject.reason for reject in rejects).most_common()),
        rejects=[{"id": r.id, "path": str(r.path), "reason": r.reason, "detail": r.detail} for r in rejects],
    )


def _schedule(trainer: CorrespondenceTrainer, accumulate: int, draws: Sequence[Key]) -> tuple[Steps, Work]:
    """Go through the batches of the whole run."""
    train, pairs = trainer.train, trainer.pairs
    seconds = pairs.seconds
    sampler = DurationBatchSampler(seconds, batch_seconds=train.batch_seconds, seed=train.seed)
    left, epoch, count, heard = train.steps, 0, 0, 0.0
    while left:
        batches = sampler.epoch_batches(epoch)[:left]
        count += sum(map(len, batches))
        heard += sum(float(seconds[batch].sum()) for batch in batches)
        left, epoch = left - len(batches), epoch + 1
    work = Work(heard)
    if train.cache_variants:
        work = Work(heard, sum(float(seconds[index]) for _, index in draws), encoded_seconds(pairs, draws))
    made = Steps(
        utterances_per_step=count / train.steps,
        seconds_per_step=heard / train.steps,
        micro_batches=accumulate,
        steps=train.steps,
        steps_per_epoch=len(sampler.epoch_batches(0)),
        epochs=count / len(pairs),
        heard_hours=heard / 3600,
    )
    return made, work


def _draws(trainer: CorrespondenceTrainer) -> list[Key]:
    """What the cache of the whole run holds; nothing if there is none."""
    train, pairs = trainer.train, trainer.pairs
    if not train.cache_variants:
        return []
    sampler = DurationBatchSampler(pairs.seconds, batch_seconds=train.batch_seconds, seed=train.seed)
    return needed_draws(pairs, chain.from_iterable(islice(sampler, train.steps)))


def _time(recipe: Recipe, work: Work, costs: Costs, building: Cost) -> Time:
    train, typical = recipe.train, costs.typical
    is_cached = train.cache_variants > 0
    estimates, computing = costs.estimates(work), costs.estimates(work, reading=False)
    starting, judging = building.wall + costs.starting, costs.judging * _saves(train)
    overhead = starting + judging
    seconds = overhead + median(estimates)
    filling = costs.filling(work)
    return Time(
        device=torch.cuda.get_device_name() if costs.device_bytes is not None else f"CPU, {costs.cores} cores",
        minutes=seconds / 60,
        minutes_range=((overhead + min(estimates)) / 60, (overhead + max(estimates)) / 60),
        heard_hours_per_hour=work.heard / seconds,
        starting_minutes=starting / 60,
        caching_minutes=filling / 60,
        judging_minutes=judging / 60,
        processor_minutes=(building.cpu + costs.processors(work)) / 60,
        step_seconds=typical.computing.wall if is_cached else costs.together(typical.reading, typical.computing),
        computing_seconds=typical.computing.wall,
        reading_seconds=0.0 if is_cached else typical.reading.wall,
        waiting=1 - median(computing) / median(estimates),
        workers=costs.workers,
        processes=train.processes or 1,
    )


def _space(recipe: Recipe, trainer: CorrespondenceTrainer, costs: Costs, draws: Sequence[Key]) -> Space:
    train = recipe.train
    weights = trainer.model.encoder.encoder.model.state_dict().items()
    adapted = sum(tensor.nbytes for name, tensor in weights if ".lora_" not in name)
    kept = train.keep if train.select == "last" else train.keep + train.keep_best
    written, left = min(kept + 1, _saves(train)), min(kept, _saves(train))
    cache = cache_bytes(trainer.pairs, trainer.model.encoder, draws)
    return Space(
        memory=costs.memory_bytes + costs.reader_bytes + cache,
        memory_of_readers=costs.reader_bytes,
        memory_of_cache=cache,
        memory_there=_memory_there(),
        gpu_memory=costs.device_bytes,
        gpu_memory_there=None if costs.device_bytes is None else torch.cuda.mem_get_info()[1],
        checkpoint=costs.checkpoint_bytes,
        checkpoints=written,
        adapted=adapted,
        disk=max(written * costs.checkpoint_bytes, left * costs.checkpoint_bytes + adapted),
        disk_there=free_bytes(Path("runs") / recipe.name),
    )


def _notes(recipe: Recipe, corpus: Corpus, trainer: CorrespondenceTrainer, costs: Costs, steps: Steps) -> Iterator[str]:
    """What is worth knowing of the audio, and of what is made of it."""
    if note := note_on_crops(recipe, corpus):
        yield note
    if (hours := trainer.pairs.utterances.hours) < _LITTLE_HOURS:
        yield f"{60 * hours:.1f} minutes of audio are little; 10 or more are wanted"
    if steps.epochs < 1:
        unheard = round((1 - steps.epochs) * len(trainer.pairs))
        yield (
            f"{unheard:,} utterances are never heard; train.steps={steps.steps_per_epoch} would hear each of them once"
        )
    if costs.rejects:
        yield (
            f"{len(costs.rejects)} of the utterances that were read cannot be used ({count_reasons(costs.rejects)}); "
            "headers do not tell, so there may be more"
        )
    if costs.halvings:
        yield (
            f"memory ran out, so the plan has train.accumulate={recipe.train.accumulate * 2**costs.halvings} in place "
            f"of {recipe.train.accumulate}"
        )
    if costs.discarded:
        yield f"{len(costs.discarded)} steps would be thrown away: {costs.discarded[0]}"


def _notes_on_machine(recipe: Recipe, duration: Time, space: Space) -> Iterator[str]:
    free = psutil.virtual_memory().available + psutil.Process().memory_info().rss
    if free < space.memory <= space.memory_there:
        yield f"{size(space.memory)} of memory are needed, but only {size(free)} are free now"
    if duration.waiting > _MUCH_WAITING:
        remedies = ["raise data.workers if processors are idle"]
        if recipe.views.where != "device" and space.gpu_memory is not None:
            remedies.append("set views.where to device")
        if not recipe.train.cache_variants:
            remedies.append("set train.cache_variants, so that each utterance is read a few times only")
        yield f"{duration.waiting:.0%} of the time is waiting for audio: {', or '.join(remedies)}"


def _problems(
    recipe: Recipe,
    corpus: Corpus,
    trainer: CorrespondenceTrainer,
    costs: Costs,
    space: Space,
    draws: Sequence[Key],
) -> Iterator[str]:
    """Why the run cannot go as planned."""
    total, limit = len(corpus.utterances) + len(corpus.rejects), recipe.data.max_rejects
    rejects = [*corpus.rejects, *costs.rejects]
    if (error := too_many(rejects, total=total, limit=limit, where="ssft plan ... --json")) is not None:
        yield str(error)
    if len(costs.discarded) > recipe.train.max_discarded:
        yield f"Every step is thrown away: {costs.discarded[-1]}. Lower train.lr, or look at these recordings."
    if recipe.train.cache_variants:
        try:
            refuse_large_cache(trainer.pairs, trainer.model.encoder, draws)
        except RunError as error:
            yield str(error)
    if space.memory > space.memory_there:
        yield (
            f"{size(space.memory)} of memory are needed, of {size(space.memory_there)}. Lower train.batch_seconds, "
            "raise train.accumulate, or use fewer data.workers or train.cache_variants."
        )
    if (needed := max(space.disk, 2 * space.checkpoint)) > space.disk_there:
        yield (
            f"{size(needed)} of disk are needed, and {size(space.disk_there)} are free. Lower train.keep or "
            "train.keep_best, or delete something."
        )


def _saves(train: Train) -> int:
    return math.ceil(train.steps / train.save_every)


def _memory_there() -> int:
    """Bytes of memory of the machine, or what its container may use of them."""
    there = int(psutil.virtual_memory().total)
    limit = memory_limit()
    return there if limit is None else min(there, limit)
