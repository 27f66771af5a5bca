"""What is known of the frames of a test set: which phone they are in, and to which speaker they belong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssft.errors import DataError
from ssft.evaluation.corpus import TEST, LabelledCorpus
from ssft.evaluation.items import OVERHANG_FRAMES, PAUSES, Segment

NO_PHONE = -1


@dataclass(frozen=True, eq=False)
class FrameLabels:
    """Labels of the frames of those utterances that can be used.

    Args:
        groups: who speaks, by utterance id; the utterance itself if no speaker of the corpus is known.
        grouped_by: which of the two.
        seconds: of audio, by utterance id.
        phones: the number of the phone of each frame [F], `NO_PHONE` in pauses, by id of those that are aligned.
        phone_names: what the numbers stand for.
        left_out: utterances that are missing, by reason.
        without_phones: utterances and frames that are missing where phones are needed, by reason.
    """

    groups: Mapping[str, str] = field(repr=False)
    grouped_by: Literal["speaker", "utterance"]
    seconds: Mapping[str, float] = field(repr=False)
    phones: Mapping[str, NDArray[np.int64]] = field(repr=False)
    phone_names: tuple[str, ...]
    left_out: Mapping[str, int]
    without_phones: Mapping[str, int]


def label_frames(corpus: LabelledCorpus, lengths: Mapping[str, int], *, frame_rate: float) -> FrameLabels:
    """Return the labels of a test set's frames.

    If any speaker is known, utterances of unknown ones are left out. Alignments that end more than two frames after
    the last one belong to other audio, and are left out.

    Args:
        corpus: of which `test` is labelled.
        lengths: frames of each utterance, by id.
        frame_rate: frames per second.

    Raises:
        DataError: no utterance has frames.
    """
    left_out: Counter[str] = Counter()
    without: Counter[str] = Counter()
    speakers = corpus.speakers()
    groups, seconds, phones = {}, {}, {}
    names = sorted({phone.label for phone in corpus.segments("phones")} - PAUSES)
    number = {name: index for index, name in enumerate(names)}
    for utterance in corpus.splits[TEST]:
        frames = lengths.get(utterance.id, 0)
        if not frames:
            left_out["utterances without frames"] += 1
            continue
        if speakers and utterance.id not in speakers:
            left_out["utterances of unknown speakers"] += 1
            continue
        groups[utterance.id] = speakers.get(utterance.id, utterance.id)
        seconds[utterance.id] = utterance.seconds
        segments = corpus.phones.get(utterance.id, ())
        if not segments:
            without["utterances without phones"] += bool(names)
        elif round(max(s.end for s in segments) * frame_rate - 0.5, 6) >= frames + OVERHANG_FRAMES:
            without["utterances whose alignment goes on after their end"] += 1
        else:
            where = segment_at_frames(segments, frames=frames, frame_rate=frame_rate)
            # The entry behind the last one, number -1, is for frames in no segment.
            own = np.array([*(number.get(segment.label, NO_PHONE) for segment in segments), NO_PHONE])[where]
            without["frames outside of the alignment"] += int((where < 0).sum())
            without["frames of pauses"] += int(((own < 0) & (where >= 0)).sum())
            phones[utterance.id] = own
    if not groups:
        raise DataError(f"There is nothing to measure on {corpus.name}: no utterance to test on has frames.")
    grouped_by: Literal["speaker", "utterance"] = "speaker" if speakers else "utterance"
    return FrameLabels(groups, grouped_by, seconds, phones, tuple(names), dict(left_out), dict(+without))


def segment_at_frames(segments: Sequence[Segment], *, frames: int, frame_rate: float) -> NDArray[np.int64]:
    """Return in which segment the centre of each frame, (i + 0.5) / frame_rate, lies: its index [F], or -1 for none.

    A segment holds its start and not its end, so that no frame is in two; where segments overlap, it is the later one.

    Example:
        >>> segments = [Segment("a", 0.0, 0.03, "B"), Segment("a", 0.03, 0.06, "AE")]
        >>> segment_at_frames(segments, frames=4, frame_rate=50.0).tolist()
        [0, 1, 1, -1]
    """
    # Rounded, because 0.03 * 50 - 0.5 is not 1.0 in binary.
    starts, ends = (
        np.round([getattr(segment, name) * frame_rate - 0.5 for segment in segments], 6) for name in ("start", "end")
    )
    order = np.argsort(starts, kind="stable")
    centres = np.arange(frames)
    last = np.searchsorted(starts[order], centres, side="right") - 1
    found = order[last]
    return np.where((last >= 0) & (centres < ends[found]), found, -1)
