"""Units from the codebook that SPIN's loss has learned in a run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch.nn.functional as F
from safetensors.torch import load
from torch import Tensor

from ssft.errors import RunError
from ssft.seal import DamageError, SealedFolder
from ssft.units.quantizer import Origin, Quantizer

_CODEBOOK = re.compile(r"losses\.(?P<index>\d+)\.(?:terms\.(?P<term>[^.]+)\.)?codebooks\.\d+")
_HEADS = ("identity", "projection")
_LINEAR = re.compile(r"layers\.(?P<index>\d+)\.(?P<part>weight|bias)")


def codebook_quantizer(
    projection_layers: Sequence[tuple[Tensor, Tensor]],
    codebook: Tensor,
    *,
    normalize_before: bool = False,
    origin: Origin | None = None,
) -> Quantizer:
    """Return what gives every frame the code of largest cosine, after the head that was trained with the codebook.

    Args:
        projection_layers: (weight [out, in], bias [out]) of each linear layer of the head; there is ReLU between them.
        codebook: [K, D]; rows are brought to length 1.
        normalize_before: frames were of length 1 when they came to the head.
        origin: which frames it is made for.

    Example:
        >>> codebook_quantizer([], torch.eye(3))(torch.tensor([[0.1, 9.0, 2.0]])).tolist()
        [1]
    """
    rows = F.normalize(codebook.float(), dim=1)
    return Quantizer(
        rows, tuple(projection_layers), normalize_before=normalize_before, normalize_after=True, origin=origin
    )


def codebook_of_run(run: Path, *, size: int | None = None) -> Quantizer:
    """Return the codebook of a finished run of SPIN, for the frames of `RUN/adapted`, and of the same step.

    If several layers were compared, it is that of the last one.

    Args:
        run: the run folder.
        size: which codebook, by its number of codes, if there are several.

    Raises:
        RunError: nothing was exported, its checkpoint is gone or damaged, or there is no such codebook.
    """
    try:
        facts = json.loads((run / "adapted" / "ssft.json").read_text(encoding="utf-8"))
        step, head = int(facts["steps"]), facts["recipe"]["head"]
        layers = sorted(facts["recipe"]["views"].get("loss_layers", ()))
    except (OSError, ValueError, KeyError, TypeError):
        raise RunError(f"{run} is not a run with an adapted encoder. Write it with: ssft export {run}") from None
    tensors = _checkpoint(run, step)
    matches = [match for name in sorted(tensors) if (match := _CODEBOOK.fullmatch(name))]
    if not matches:
        raise RunError(
            f"{run} has no codebook, because its loss is not SwappedPrediction. Fit units to its encoder instead: "
            f"ssft units fit {run / 'adapted'}"
        )
    last = max(int(match["index"]) for match in matches)
    matches = [match for match in matches if int(match["index"]) == last]
    sizes = [len(tensors[match[0]]) for match in matches]
    if size is None and len(sizes) == 1:
        size = sizes[0]
    if size not in sizes:
        raise RunError(
            f"{run} has codebooks of {', '.join(map(str, sizes))} codes"
            + (f", not {size}." if size else ".")
            + f" Choose one: --codebook {max(sizes)}"
        )
    chosen = matches[sizes.index(size)]
    outer = _below(tensors, f"heads.{last}.")
    own = _below(tensors, f"losses.{last}.term_heads.{chosen['term']}.")
    if (own and outer) or head["name"] not in _HEADS or not all(map(_LINEAR.fullmatch, own or outer)):
        raise RunError(
            f"{run} was trained with a head that is not one Projection, and its codebook is of no use without it. Fit "
            f"units to its encoder instead: ssft units fit {run / 'adapted'}"
        )
    return codebook_quantizer(
        _in_order(own or outer),
        tensors[chosen[0]],
        normalize_before=bool(own) and head["l2_normalize"],
        origin=Origin(str(run / "adapted"), layer=layers[last] if layers else None),
    )


def _checkpoint(run: Path, step: int) -> dict[str, Tensor]:
    folder = run / "checkpoints" / f"step-{step:06d}"
    if not folder.is_dir():
        raise RunError(
            f"{run / 'adapted'} is of step {step}, whose checkpoint is not there any more. Export the newest one: "
            f"ssft export {run}"
        )
    try:
        return load(SealedFolder.open(folder).read("model.safetensors"))
    except DamageError as error:
        raise RunError(
            f"{folder} is damaged ({error}). Export an earlier checkpoint, if there is one: ssft export {run}"
        ) from None


def _in_order(head: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    numbers = sorted({int(match["index"]) for match in map(_LINEAR.fullmatch, head) if match})
    return [(head[f"layers.{number}.weight"], head[f"layers.{number}.bias"]) for number in numbers]


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
