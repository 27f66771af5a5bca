"""Nearest neighbours before and after, as a section of a report that plays them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ssft.data import read_audio
from ssft.evaluation.bootstrap import Bootstrap
from ssft.evaluation.corpus import TEST, LabelledCorpus
from ssft.evaluation.frames import FrameStore
from ssft.evaluation.measure import Score
from ssft.report.document import Block, Clip, Heading, Made, Neighbours, Table, Text
from ssft.report.neighbours import (
    NeighbourSearch,
    Stretch,
    drawn,
    loud_stretches,
    score,
    whole_utterances,
    with_frames,
    word_stretches,
)
from ssft.report.sound import Sound
from ssft.types import Utterance

_MOST_STRETCHES = 4000
_PLAYED_SECONDS = 4.0
_PER_SYSTEM = 3


class NeighbourSection:
    """Who lies next to whom, in the last layer of each system: counts over all, and examples to play.

    Args:
        corpus: its test split is searched.
        stores: the base first, if there is one; they are named as in the report.
        bootstrap: what makes the intervals.
        seed: of what is drawn.
    """

    def __init__(
        self, corpus: LabelledCorpus, stores: Sequence[FrameStore], *, bootstrap: Bootstrap, seed: int = 0
    ) -> None:
        self.bootstrap = bootstrap
        self.seed = seed
        self.layer = max(stores[-1].layers)
        self.utterances: Mapping[str, Utterance] = {own.id: own for own in corpus.splits[TEST]}
        self.frames = {store.name: store.frames(layer=max(store.layers)) for store in stores}
        self.rates = {store.name: store.frame_rate(max(store.layers)) for store in stores}
        self.words = word_stretches(corpus)
        self.stretches = self.words or loud_stretches(corpus, self.frames[stores[-1].name])
        self.whole = whole_utterances(corpus)

    def made(self, *, examples: int) -> Made:
        """Return the section.

        Raises:
            DataError: the audio is of fewer than two utterances.
        """
        near = self._search(drawn(self.stretches, most=_MOST_STRETCHES, seed=self.seed))
        far = self._search(drawn(self.whole, most=_MOST_STRETCHES, seed=self.seed))
        what = "word" if self.words else "stretch of 0.5 s"
        some = next(iter(near.values()))
        blocks: list[Block] = [
            Text(
                f"For each {what}, the nearest one of another utterance: the cosine of mean frames, last layer. "
                f"{len(some.stretches):,} were searched for among each other."
            )
        ]
        rows, records = self._counts(near, far)
        if rows:
            header = ["", *self.frames, *(["difference"] if len(self.frames) > 1 else []), "chance", "searched for"]
            blocks.append(Table(header, rows))
        if not self.words:
            blocks.append(Text("No aligned words are known, so what is said in a stretch can only be listened to."))
        if not any(one.speaker for one in self.whole):
            blocks.append(Text("Nor is it known who speaks." if not self.words else "It is not known who speaks."))
        parts: dict[str, tuple[Mapping[str, NeighbourSearch], int, float | None]] = {
            "By content" + (": words" if self.words else ": stretches of half a second"): (near, examples, None),
            "By speaker: whole utterances": (far, examples // 2, _PLAYED_SECONDS),
        }
        shown: dict[str, Any] = {}
        for title, (searches, count, seconds) in parts.items():
            chosen, drawn_how = self._chosen(searches, count)
            if not chosen:
                continue
            played = "" if seconds is None else f" Of longer ones the first {seconds:g} s are played."
            blocks += [Heading(title), Text(drawn_how + played, quiet=True)]
            blocks += [self._example(one, searches, seconds) for one in chosen]
            shown[title] = [self._example_record(one, searches) for one in chosen]
        return blocks, {"layer": self.layer, "kind": what, "counts": records, "examples": shown}

    def _search(self, stretches: Sequence[Stretch]) -> dict[str, NeighbourSearch]:
        """By system, among the stretches of which all systems have frames."""
        for name, frames in self.frames.items():
            stretches = with_frames(stretches, frames, self.rates[name])
        return {
            name: NeighbourSearch(stretches, frames, self.rates[name], most=_PER_SYSTEM)
            for name, frames in self.frames.items()
        }

    def _counts(
        self, near: Mapping[str, NeighbourSearch], far: Mapping[str, NeighbourSearch]
    ) -> tuple[list[list[str]], list[dict[str, Any]]]:
        """How often the nearest is the same word, or of the same speaker: rows of a table, and plain values."""
        unit = "word" if self.words else "stretch"
        wanted = (
            (f"{unit}: same word at 1", near, "label"),
            (f"{unit}: same speaker at 1", near, "speaker"),
            ("whole utterance: same speaker at 1", far, "speaker"),
        )
        rows, records = [], []
        for title, searches, attribute in wanted:
            measures = {name: search.share(title, attribute) for name, search in searches.items()}
            scores = {name: score(measure, self.layer) for name, measure in measures.items() if measure is not None}
            if not scores:
                continue
            first, last = (next(iter(searches.values())), [*scores.values()][-1])
            chance, queries = first.chance(attribute), last.measure.counts["queries"]
            values = {name: own.value for name, own in scores.items()}
            row = [f"{title} %", *(f"{100 * value:.1f}" for value in values.values())]
            record: dict[str, Any] = {"measure": title, "values": values, "chance": chance, "queries": queries}
            if len(scores) > 1:
                text, record["difference"] = self._difference(last, next(iter(scores.values())))
                row.append(text)
            rows.append([*row, f"{100 * chance:.1f}", f"{queries:,}"])
            records.append(record)
        return rows, records

    def _difference(self, adapted: Score, base: Score) -> tuple[str, dict[str, Any]]:
        found = self.bootstrap.difference(adapted, base)
        known = found.low == found.low  # not NaN: there are speakers enough
        limits = f" [{100 * found.low:+.1f}, {100 * found.high:+.1f}] {found.verdict}" if known else ", no interval"
        record = {
            "value": found.value,
            "low": found.low if known else None,
            "high": found.high if known else None,
            "verdict": found.verdict if known else None,
        }
        return f"{100 * found.value:+.1f}{limits}", record

    def _chosen(self, searches: Mapping[str, NeighbourSearch], count: int) -> tuple[list[Stretch], str]:
        """Examples, drawn from those on which the systems disagree, if there are as many; and how it was done."""
        all_of = next(iter(searches.values())).stretches
        first = {name: search.nearest[:, 0] for name, search in searches.items()}
        known = [place for place in range(len(all_of)) if all(places[place] >= 0 for places in first.values())]
        apart = [place for place in known if len({int(places[place]) for places in first.values()}) > 1]
        some, how = known, f"Drawn at random from {len(known):,}."
        if len(apart) >= count and len(searches) > 1:
            some = apart
            how = (
                f"Drawn at random from the {len(apart):,} of {len(known):,} whose nearest is another after adaptation."
            )
        in_order = sorted((all_of[place] for place in some), key=lambda one: one.draw(self.seed, "example"))
        return in_order[:count], how

    def _example(self, query: Stretch, searches: Mapping[str, NeighbourSearch], seconds: float | None) -> Neighbours:
        found = {
            name: [self._clip(one, seconds, query=query, cosine=cosine) for one, cosine in search.of(query)]
            for name, search in searches.items()
        }
        return Neighbours(self._clip(query, seconds), found)

    def _clip(
        self, one: Stretch, seconds: float | None, *, query: Stretch | None = None, cosine: float | None = None
    ) -> Clip:
        own = self.utterances[one.utterance]
        length = one.end - one.start if seconds is None else min(seconds, one.end - one.start)
        wave = read_audio(own.path, member=own.member, start=own.start + one.start, seconds=length)
        detail = [one.speaker and f"speaker {one.speaker}", f"{one.utterance}, {one.start:.2f} s"]
        if cosine is not None:
            detail.append(f"cosine {cosine:.3f}")
        marks = []
        if query is not None:
            if one.label and one.label == query.label:
                marks.append("same word")
            if one.speaker and one.speaker == query.speaker:
                marks.append("same speaker")
        title = one.label or (own.text if seconds is not None and own.text else f"{length:.1f} s")
        return Clip(title, " · ".join(filter(None, detail)), Sound.of(wave, cut_out=True), marks)

    def _example_record(self, query: Stretch, searches: Mapping[str, NeighbourSearch]) -> dict[str, Any]:
        found = {
            name: [{**asdict(one), "cosine": round(cosine, 4)} for one, cosine in search.of(query)]
            for name, search in searches.items()
        }
        return {"query": asdict(query), "nearest": found}
