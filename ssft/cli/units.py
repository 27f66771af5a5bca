"""ssft units: labels of frames, for losses that predict them: fit units to an encoder, then encode audio."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssft.cli.arguments import ActionParser, above_0, add_data, device, load_corpus, number, positive, print_json, tell
from ssft.errors import DataError, EncoderError, SsftError

if TYPE_CHECKING:
    from torch import Tensor

    from ssft.encoders import PretrainedEncoder
    from ssft.types import Utterance


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "ssft units fit|encode ..."
    actions = parser.add_subparsers(
        dest="action", metavar="ACTION", title="actions", required=True, parser_class=ActionParser, prog="ssft units"
    )
    about = "find units in the frames of an encoder, by k-means"
    fit = actions.add_parser("fit", help=about, description=f"{about.capitalize()}.", allow_abbrev=False)
    fit.add_argument("model", metavar="MODEL", help="a Hub id, a folder (such as RUN/adapted), or tiny")
    add_data(fit)
    fit.add_argument(
        "--layer",
        type=number,
        required=True,
        metavar="L",
        help="output of which layer, counted from 1 (HuBERT-base: 6 or 9 of 12; an adapted encoder: its last)",
    )
    fit.add_argument("--clusters", type=positive, required=True, metavar="K", help="how many units, often 100 to 2,000")
    fit.add_argument(
        "--mean-removed",
        action="store_true",
        help="subtract each utterance's mean frame, and with it some of the voice",
    )
    fit.add_argument(
        "--max-hours", type=above_0, default=10.0, metavar="H", help="of more audio, draw H hours (default: 10)"
    )
    fit.add_argument("--seed", type=number, default=0, metavar="S", help="of the drawing and of k-means (default: 0)")
    _add_output(fit, "units.safetensors")

    about = "label every frame of a corpus with its unit"
    encode = actions.add_parser("encode", help=about, description=f"{about.capitalize()}.", allow_abbrev=False)
    encode.add_argument(
        "units", type=Path, metavar="UNITS", help="what `ssft units fit` wrote, or the folder of a SPIN run"
    )
    add_data(encode)
    encode.add_argument(
        "--pieces", type=positive, metavar="N", help="join units that often follow each other, to about N labels"
    )
    encode.add_argument(
        "--codebook", type=positive, metavar="K", help="of a run with several codebooks, that of K codes"
    )
    encode.add_argument("--model", metavar="MODEL", help="where the encoder is now, if its folder was moved")
    _add_output(encode, "targets.safetensors")


def run(options: argparse.Namespace) -> None:
    {"fit": fit, "encode": encode}[options.action](options)


def fit(options: argparse.Namespace) -> None:
    """Fit units to an encoder and write them."""
    from ssft.encoders import PretrainedEncoder
    from ssft.encoders.loading import commit_of
    from ssft.features import stream_features
    from ssft.units import Origin, Quantizer, draw_utterances, fit_kmeans
    from ssft.units.quantizer import check_suffix

    check_suffix(options.out)
    _keep_what_is_foreign(options.out, Quantizer.load)
    encoder = PretrainedEncoder.load(options.model)
    # Asks nothing of the encoder but whether it has the layer, before time is spent on the audio.
    list(stream_features(encoder, [], layer=options.layer))
    utterances = draw_utterances(load_corpus(options, "header").utterances, hours=options.max_hours, seed=options.seed)
    utterances = _readable(utterances)
    hours = sum(utterance.seconds for utterance in utterances) / 3600
    tell(options, f"fitting {options.clusters:,} units to {hours:.2f} h of audio, {len(utterances):,} utterances")
    folder = Path(options.model).expanduser()
    origin = Origin(
        str(folder.resolve()) if folder.exists() else options.model,
        layer=options.layer,
        revision=commit_of(options.model, None),
        weights=encoder.weights_hash(),
    )
    quantizer, frames = fit_kmeans(
        _stream(encoder, utterances, options.layer),
        clusters=options.clusters,
        mean_removed=options.mean_removed,
        seed=options.seed,
        origin=origin,
    )
    quantizer.save(options.out)
    command = ["ssft", "units", "encode", str(options.out), *_data_arguments(options), "--out", "targets.safetensors"]
    tell(options, f"units: {options.out}: {quantizer.summary()}, from {frames:,} frames\n  next: {shlex.join(command)}")
    print_json(options, units=str(options.out), clusters=options.clusters, frames=frames, hours=hours)


def encode(options: argparse.Namespace) -> None:
    """Encode a corpus with units and write labels of its frames."""
    import numpy as np

    from ssft.data.targets import Targets, check_suffix, read_targets, write_targets
    from ssft.encoders import PretrainedEncoder
    from ssft.units import Quantizer, acoustic_pieces, codebook_of_run

    check_suffix(options.out)
    _keep_what_is_foreign(options.out, read_targets)
    _refuse_encoder_folder(options.units)
    is_run = options.units.is_dir()
    quantizer = codebook_of_run(options.units, size=options.codebook) if is_run else Quantizer.load(options.units)
    origin = quantizer.origin
    if origin is None:
        raise DataError(f"{options.units} does not say which encoder it is for. Make it with `ssft units fit MODEL`.")
    revision = None if options.model else origin.revision
    encoder = PretrainedEncoder.load(options.model or origin.model, revision=revision)
    if origin.weights not in (None, encoder.weights_hash()):
        raise EncoderError(
            f"{encoder.source} is not the encoder that {options.units} was fitted to: its weights have changed. Fit "
            f"units to it anew with `ssft units fit {encoder.source}`, or name the right one with --model."
        )
    corpus = load_corpus(options, "audio")
    tell(options, f"audio: {corpus.summary()}")
    codes = quantizer.to(device()).encode(_stream(encoder, corpus.utterances, origin.layer))
    classes, source = len(quantizer.centroids), quantizer.summary()
    if options.pieces:
        pieces = acoustic_pieces(codes, vocabulary=options.pieces)
        codes, classes = pieces.labels, len(pieces.codes)
        source = f"{classes:,} acoustic pieces of {source}"
    targets = Targets.of(codes, classes=classes, frame_rate=encoder.frame_rate, source=source)
    write_targets(options.out, targets)
    used, frames = len(np.unique(targets.flat)), len(targets.flat)
    command = ["ssft", "train", "RECIPE", *_data_arguments(options, training=True)]
    command += ["--data.targets", str(options.out)]
    tell(
        options,
        f"labels: {options.out}: {len(targets):,} utterances, {frames:,} frames, {used:,} of {classes:,} classes "
        f"occur ({source})\n  next: {shlex.join(command)}\n  RECIPE's loss needs classes={classes} or more",
    )
    facts: dict[str, Any] = {"classes": classes, "classes_used": used, "frames": frames, "utterances": len(targets)}
    print_json(options, targets=str(options.out), **facts, rejected=len(corpus.rejects), source=source)


def _add_output(parser: argparse.ArgumentParser, example: str) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=f"what to write, e.g. {example}")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _readable(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Those whose audio can be decoded: the others of a large corpus are not worth looking at."""
    from ssft.data.probe import probe
    from ssft.types import Utterance

    found = [item for item in probe(utterances, min_seconds=0.0, verify="audio") if isinstance(item, Utterance)]
    if not found:
        raise DataError("None of the recordings that were drawn can be decoded. Give other audio with --data.")
    return found


def _stream(
    encoder: PretrainedEncoder, utterances: Sequence[Utterance], layer: int | None
) -> Iterator[tuple[Utterance, Tensor]]:
    from ssft.features import stream_features
    from ssft.units import windows

    parts = [part for utterance in utterances for part in windows(utterance)]
    return stream_features(encoder.to(device()), parts, layer=layer, progress="encoding")


def _refuse_encoder_folder(path: Path) -> None:
    if (path / "config.json").is_file():
        raise DataError(f"{path} is an encoder, which has no units of its own. Fit some: ssft units fit {path}")


def _keep_what_is_foreign(path: Path, read: Callable[[Path], object]) -> None:
    """Raise if a file is there that this action did not write."""
    if not path.exists():
        return
    try:
        read(path)
    except SsftError:
        raise DataError(f"{path} exists, holds something else, and is left as it is. Choose another --out.") from None


def _data_arguments(options: argparse.Namespace, *, training: bool = False) -> list[str]:
    """The corpus, as this verb or training takes it."""
    root, split, outside = (
        ("--data.root", "--data.split", ["--data.allow_outside", "true"])
        if training
        else ("--data", "--split", ["--allow-outside"])
    )
    given = [root, options.data]
    given += [split, options.split] if options.split else []
    return given + (outside if options.allow_outside else [])
