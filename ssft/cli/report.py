"""ssft report: a page about a run that says whether it got better, and plays what it is about."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from ssft.cli.arguments import number, print_json, tell
from ssft.cli.evaluate import TASKS
from ssft.cli.report_sources import ReportSources
from ssft.errors import DataError, RecipeError, SsftError

if TYPE_CHECKING:
    from ssft.evaluation.frames import FrameStore
    from ssft.evaluation.results import Record
    from ssft.report.document import Made, Section
    from ssft.report.run_files import RunFiles

_SECTIONS = {
    "trained": "What was trained",
    "curves": "Training curves",
    "audio": "Audio",
    "layers": "Layers, before and after",
    "scores": "What can be told apart",
    "pairs": "Pairs as training heard them",
    "neighbours": "Nearest neighbours, before and after",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="the run folder")
    add("--data", metavar="CORPUS", help="measure on this (default: what of the run's audio was not trained on)")
    add("--out", type=Path, metavar="DIR", help="where to (default: RUN/report)")
    add("--tasks", nargs="+", choices=TASKS, default=["abx"], metavar="TASK", help="what needs labels (default: abx)")
    add(
        "--results", type=Path, metavar="DIR", help="take these from `ssft evaluate suite RUN --against BASE --out DIR`"
    )
    add("--pairs", type=number, default=3, metavar="N", help="how many pairs to play (default: 3)")
    add("--examples", type=number, default=4, metavar="N", help="how many neighbours to play (default: 4)")
    add("--hours", type=float, default=0.5, metavar="H", help="measure on at most so much audio (default: 0.5)")
    add("--seed", type=number, default=0, metavar="N", help="of what is drawn (default: 0)")
    add("--json", action="store_true", help="print report.json")


def run(options: argparse.Namespace) -> None:
    # Before the Hub's library is loaded: a report asks nobody for anything.
    os.environ["HF_HUB_OFFLINE"] = "1"
    if not options.hours > 0:
        raise RecipeError(f"--hours {options.hours} must be positive: so much audio is measured on, at most.")

    from ssft.files import size
    from ssft.report.run_files import RunFiles
    from ssft.report.run_report import PAGE, RunReport

    files = RunFiles.read(options.run)
    out = options.out or options.run / "report"
    report = RunReport(
        out,
        facts={
            "run": str(options.run),
            "command": options.command,
            "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "settings": {name: getattr(options, name) for name in ("tasks", "hours", "seed")},
        },
    )
    place = next(folder for folder in out.absolute().parents if folder.is_dir())  # where there is room for a run
    with tempfile.TemporaryDirectory(dir=place, prefix=".report-") as cache:
        sections, said = _Making(files, options, Path(cache)).all()
    title = f"{files.setting('name') or options.run.name}: what came of it"
    record = report.save(title, said[0], sections, notes=said[1:])
    tell(options, "\n" + "\n".join(said).replace("**", ""))
    tell(options, f"\nopen {out / PAGE} ({size(record['bytes'])})")
    print_json(options, **record)


class _Making:
    """Makes one section after the other; whatever one lacks, the others are made."""

    def __init__(self, files: RunFiles, options: argparse.Namespace, cache: Path) -> None:
        from ssft.evaluation.bootstrap import Bootstrap

        self.files = files
        self.options = options
        self.bootstrap = Bootstrap()
        self.sources = ReportSources(
            options.run,
            trained_from=(files.exported.get("base") or {}).get("sha256"),
            data=options.data,
            hours=options.hours,
            cache=cache,
            seed=options.seed,
        )
        self.no_base = ""
        self.scored: Record | None = None
        self.adapted_name = ""

    def all(self) -> tuple[list[Section], list[str]]:
        """Return the sections and what they come to: the verdict, and what else is to be known of it."""
        from ssft.report.measured_sections import against_control
        from ssft.report.section import section
        from ssft.report.verdict import verdict

        sections = []
        for key, title in _SECTIONS.items():
            began = time.monotonic()
            sections.append(section(key, title, getattr(self, f"_{key}")))
            tell(self.options, f"{title}: {sections[-1].missing or f'{time.monotonic() - began:.0f} s'}")
        by_key = {part.key: part for part in sections}
        layers = by_key["layers"].record.get("label_free", [])
        unmeasured = by_key["scores"].missing or self.no_base
        said = [verdict(self.scored, self.adapted_name, label_free=layers, unmeasured=unmeasured)]
        said += filter(None, [against_control(self.scored or {}), *self._about()])
        return sections, said

    def _trained(self) -> Made:
        from ssft.report.training_sections import trained

        return trained(self.files)

    def _curves(self) -> Made:
        from ssft.report.training_sections import curves

        return curves(self.files)

    def _audio(self) -> Made:
        from ssft.report.training_sections import audio

        try:
            listed, held_out = self.sources.listed.utterances, self.sources.held_out_count
        except SsftError as error:
            return audio(self.files, None, lost=str(error))
        return audio(self.files, listed, held_out=held_out)

    def _layers(self) -> Made:
        from ssft.report.layer_section import layers

        *base, adapted = self._stores()
        blocks, record = layers(self.sources.corpus, adapted, base[0] if base else None, seed=self.options.seed)
        return blocks, record

    def _scores(self) -> Made:
        from ssft.evaluation.tasks import make_tasks
        from ssft.report.measured_sections import ADAPTED, measure, scores

        if (found := self._earlier_results()) is not None:
            self.scored, self.adapted_name, source = found
            return scores(self.scored, self.adapted_name, source=source)
        *base, adapted = self._stores()
        self.adapted_name = ADAPTED
        tasks = make_tasks(self.options.tasks)
        self.scored = measure(self.sources.corpus, adapted, base[0] if base else None, tasks, bootstrap=self.bootstrap)
        return scores(self.scored)

    def _pairs(self) -> Made:
        from ssft.report.pair_section import pairs

        return pairs(self.sources.pairs(), count=self.options.pairs)

    def _neighbours(self) -> Made:
        from ssft.report.neighbour_section import NeighbourSection

        section = NeighbourSection(
            self.sources.corpus, self._stores(), bootstrap=self.bootstrap, seed=self.options.seed
        )
        return section.made(examples=self.options.examples)

    def _stores(self) -> list[FrameStore]:
        """The base, if it is there, and the adapted encoder.

        Raises:
            EncoderError: there is no adapted encoder.
        """
        adapted = self.sources.adapted
        try:
            return [self.sources.base, adapted]
        except SsftError as error:
            self.no_base = f"The base cannot be compared with: {error}"
            return [adapted]

    def _about(self) -> list[str]:
        """What was measured on, and what is missing of the comparison."""
        try:
            corpus = self.sources.corpus
        except SsftError:  # sections have said it
            return [self.no_base]
        return [" ".join([f"Measured on {corpus.name}.", *corpus.notes]), self.no_base]

    def _earlier_results(self) -> tuple[Record, str, Path] | None:
        """Results that need not be measured again; None if there are none.

        Raises:
            DataError: the results that were named are of something else.
        """
        from ssft.report.measured_sections import read_results

        for path in self.sources.results(self.options.results):
            try:
                record, adapted = read_results(path, self.sources.adapted.describe()["weights"])
            except DataError:
                if self.options.results is not None:
                    raise
                continue
            return record, adapted, path
        return None
