"""ssft features: write hidden states of an encoder to safetensors or npy files, going on where it stopped."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from ssft.cli.arguments import add_data, device, layer_numbers, load_corpus, print_json, tell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "ssft features MODEL --data DIR --out DIR [--layers L,L] [options]"
    parser.epilog = (
        "The same call again goes on where it stopped. Started by torchrun or accelerate launch, processes share the "
        "work: torchrun --nproc_per_node 2 -m ssft.cli.main features MODEL ..."
    )
    parser.add_argument("model", metavar="MODEL", help="a Hub id, a folder (such as RUN/adapted), or tiny")
    add_data(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder of the features")
    parser.add_argument(
        "--layers",
        type=layer_numbers,
        metavar="L,L",
        help="outputs of which layers, counted from 1, e.g. 6,9; 0 is the input of the first (default: the last)",
    )
    parser.add_argument(
        "--format",
        choices=("safetensors", "npy"),
        default="safetensors",
        help="a tensor for each utterance, or one array for each shard (default: safetensors)",
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the computation")
    for name, default, about in (
        ("--window-seconds", 40.0, "longer recordings are encoded in windows of about S seconds"),
        ("--overlap-seconds", 4.0, "what neighbouring windows share"),
        ("--batch-seconds", 60.0, "audio that is encoded at once"),
        ("--shard-seconds", 1800.0, "audio in a file"),
    ):
        parser.add_argument(name, type=float, default=default, metavar="S", help=f"{about} (default: {default:g})")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(options: argparse.Namespace) -> None:
    from ssft.data.rejects import count_reasons
    from ssft.encoders import PretrainedEncoder
    from ssft.features import Extractor, rank_and_world_size, read_features, write_features

    rank, world_size = rank_and_world_size()
    extractor = Extractor(
        PretrainedEncoder.load(options.model),
        layers=options.layers,
        batch_seconds=options.batch_seconds,
        window_seconds=options.window_seconds,
        overlap_seconds=options.overlap_seconds,
        dtype=options.dtype,
    )
    corpus = load_corpus(options, "header")
    extractor.encoder.to(device())
    tell(options, f"audio: {corpus.summary()}")
    began = time.monotonic()
    result = write_features(
        extractor,
        corpus.utterances,
        options.out,
        format=options.format,
        shard_seconds=options.shard_seconds,
        rejects=corpus.rejects,
        progress="encoding",
    )
    seconds = sum(entry.seconds for entry in result.entries)
    frames = sum(sum(entry.frames.values()) for entry in result.entries)
    speed = seconds / (time.monotonic() - began)
    layers = ", ".join(map(str, extractor.layers))
    line = (
        f"features: {options.out}: {len(result.entries):,} utterances, {seconds / 3600:.2f} h, {frames:,} frames of "
        f"layer{'s' if len(extractor.layers) > 1 else ''} {layers}, {result.bytes / 1e6:,.1f} MB, {speed:,.0f} x real "
        "time"
    )
    if result.already:
        line += f"; {result.already:,} utterances were there already"
    if result.rejects:
        line += f"; {len(result.rejects):,} could not be read ({count_reasons(result.rejects)}), see "
        line += str(options.out / f"rejects-{rank:03d}.tsv")
    if world_size > 1:
        line = f"process {rank + 1} of {world_size}: {line}"
    tell(options, line)
    print_json(
        options,
        features=str(options.out),
        layers=extractor.layers,
        utterances=len(result.entries),
        hours=seconds / 3600,
        frames=frames,
        bytes=result.bytes,
        already=result.already,
        rejected=len(corpus.rejects) + len(result.rejects),
        times_real_time=speed,
        missing=len(read_features(options.out, layer=extractor.layers[0]).missing),
    )
