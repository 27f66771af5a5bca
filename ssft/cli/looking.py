"""What the actions of `ssft analyze` share: whose layers to look at, on which audio, and where results go."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssft.cli.arguments import above_0, layer_numbers, number, positive, tell

if TYPE_CHECKING:
    from ssft.analysis.layer_page import Column
    from ssft.evaluation.corpus import LabelledCorpus
    from ssft.evaluation.frames import FrameStore

_AUGMENTED_HOURS = 0.2
"""Enough for means over frames."""


MODEL = "a Hub id, a folder (also a run), tiny, mfcc, or random:MODEL, untrained"


def add_look(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is looked at."""
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    parser.add_argument("--against", metavar="BASE", help="what the model was made of, or another one, beside it")
    add_audio(parser)


def add_audio(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which audio and layers are looked at, and where results go."""
    add = parser.add_argument
    add("--data", required=True, metavar="CORPUS", help="audio, with or without labels, or demo")
    add("--split", default="test", metavar="NAME", help="of the corpus (default: test, which is all without splits)")
    add("--max-hours", type=above_0, default=1.0, metavar="H", help="of more audio, draw H hours (default: 1)")
    add("--layers", type=layer_numbers, metavar="L,L", help="which layers (default: all)")
    add("--seed", type=number, default=0, metavar="N", help="of all draws (default: 0)")
    add("--out", type=Path, metavar="DIR", help="for results (default: analysis/WHAT-MODELS-CORPUS)")
    add("--cache", type=Path, metavar="DIR", help="keep frames there, for further calls")
    add("--json", action="store_true", help="print the results as JSON")


def add_rank(parser: argparse.ArgumentParser) -> None:
    """Add what effective ranks depend on."""
    parser.add_argument("--center", action="store_true", help="ranks of centred frames (RankMe does not centre)")
    parser.add_argument("--eps", type=above_0, default=1e-7, metavar="E", help="of ranks (default: 1e-7)")


def add_clusters(parser: argparse.ArgumentParser) -> None:
    """Add what clusters depend on."""
    add = parser.add_argument
    add("--frames", type=positive, default=50_000, metavar="N", help="to sample, alike in all layers (default: 50000)")
    add("--clusters", type=positive, default=1024, metavar="K", help="of k-means (default: 1024)")


@dataclass(frozen=True)
class Look:
    """What is looked at.

    Args:
        corpus: the part of the audio.
        stores: the models.
        out: where results go.
        facts: what the record begins with.
    """

    corpus: LabelledCorpus
    stores: Sequence[FrameStore]
    out: Path
    facts: Mapping[str, Any]

    def save(
        self, options: argparse.Namespace, record: Mapping[str, Any], page: str, pictures: Mapping[str, bytes]
    ) -> None:
        """Write results down; say where they are, or print them as JSON."""
        from ssft.analysis.folder import PAGE, save_analysis

        written = save_analysis(self.out, {**self.facts, **record}, page, pictures)
        if options.json:
            print(json.dumps(written))
        tell(options, f"\nall of it: {', '.join(str(self.out / name) for name in (PAGE, *map(_png, pictures)))}")


@contextmanager
def looking(
    options: argparse.Namespace,
    what: str,
    models: Sequence[str | None],
    settings: Sequence[str] = (),
    *,
    augmented: str | None = None,
) -> Iterator[Look]:
    """Open models on the audio of `add_audio`; frames are kept only where the user wants them.

    Args:
        options: of the command line.
        what: is done, as in `what of MODEL against BASE`.
        models: as `open_system` takes them; None is none.
        settings: names of further options that the figures depend on.
        augmented: in which condition all layers are heard, beside clean, on a part of the audio.
    """
    from ssft.analysis.folder import analysis_facts, refuse_foreign
    from ssft.analysis.part import analysed_part
    from ssft.evaluation.corpora import open_corpus
    from ssft.evaluation.systems import open_system, parse_conditions
    from ssft.files import remove_folder
    from ssft.runs import environment

    names = list(dict.fromkeys(name for name in models if name))
    subject = f"{what} of {' against '.join(names)}"
    parts = (what, *(Path(name).name or name for name in (*names, options.data)))
    out = options.out or Path("analysis") / "-".join(part.replace(":", "-") for part in parts)
    refuse_foreign(out, subject)
    conditions = parse_conditions(augmentations=[augmented], seed=options.seed) if augmented else []
    corpus = analysed_part(
        open_corpus(options.data),
        split=options.split,
        max_hours=options.max_hours,
        augmented_hours=_AUGMENTED_HOURS if augmented else 0.0,
        seed=options.seed,
    )
    tell(options, f"corpus: {corpus.summary()}")
    stores = [
        open_system(
            name,
            corpus=corpus,
            cache=options.cache or out / "features",
            layers=options.layers,
            conditions=conditions,
            condition_layers="all",
            seed=options.seed,
        )
        for name in names
    ]
    used = {name: getattr(options, name) for name in ("split", "max_hours", "seed", *settings)}
    used["conditions"] = [condition.describe() for condition in conditions]
    facts = analysis_facts(options.command, corpus, stores, used, subject=subject, environment=environment())
    yield Look(corpus, stores, out, facts)
    if not options.cache:
        remove_folder(out / "features")


def report_layers(options: argparse.Namespace, measures: Sequence[str], columns: Sequence[Column]) -> None:
    """Measure the layers of a model, and of a base beside it, on the same frames; print, draw and save the figures."""
    from ssft.analysis.findings import caveats, findings, unmeasured
    from ssft.analysis.layer_page import layer_page, layer_panels, layer_table
    from ssft.analysis.layer_quality import MOST_FRAMES, layer_quality
    from ssft.analysis.pictures import layer_curves
    from ssft.analysis.sample import FrameSample

    given = {name: value for name, value in vars(options).items() if name in ("frames", "clusters", "center", "eps")}
    augmented = options.augmented if "alignment" in measures else None
    with looking(options, options.action, [options.model, options.against], list(given), augmented=augmented) as look:
        every = [store.frames(layer=layer) for store in look.stores for layer in store.layers]
        sample = FrameSample(every, most_frames=given.get("frames", MOST_FRAMES), seed=options.seed)
        model, *others = look.stores
        found = [
            layer_quality(
                look.corpus,
                store,
                base=others[0] if others and store is model else None,
                measures=[name for name in measures if store is model or name != "drift"],
                sample=sample,
                seed=options.seed,
                **{_SETTINGS[name]: given[name] for name in given if name in _SETTINGS},
            )
            for store in look.stores
        ]
        figures = {rows[0].system: {row.layer: row.values() for row in rows} for rows in found}
        title = f"{options.action.capitalize()} of {' and '.join(figures)} on {look.corpus.name}"
        said, missing = findings(figures), [line for rows in found for line in unmeasured(rows)]
        brackets = [f"in brackets: {others[0].name}"] if others else []
        missing = list(dict.fromkeys(missing))
        unknown = [f"not measured: {line}" for line in missing]
        tell(options, "\n".join([*said, "", layer_table(figures, columns), *brackets, *unknown]))
        look.save(
            options,
            {
                "findings": said,
                **({"sampled_frames": sample.count} if "frames" in given else {}),
                "layers": [
                    {"system": row.system, "layer": row.layer, **row.values(), "why": row.why}
                    for rows in found
                    for row in rows
                ],
            },
            layer_page(
                title,
                figures,
                columns,
                picture=_png(options.action),
                findings=said,
                caveats=caveats(figures),
                unmeasured=missing,
                notes=look.corpus.notes,
            ),
            {options.action: layer_curves(layer_panels(figures, columns), title=title)},
        )


_SETTINGS = {"clusters": "clusters", "center": "center", "eps": "epsilon"}


def _png(name: str) -> str:
    return f"{name}.png"
