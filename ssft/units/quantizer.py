"""From frames to codes: what every way of making units comes down to, in one file that can be kept."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ssft.data.targets import write_file
from ssft.errors import DataError
from ssft.types import Utterance

KIND = "ssft_quantizer"
"""The key in the metadata of a safetensors file that says what it is."""

_SWITCHES = ("mean_removed", "normalize_before", "normalize_after")

Layers = tuple[tuple[Tensor, Tensor], ...]
"""Linear layers: (weight [out, in], bias [out]) of each."""


@dataclass(frozen=True)
class Origin:
    """Which frames a quantizer is made for: a layer of an encoder, and a hash of the encoder's weights, if known."""

    model: str
    layer: int | None = None
    revision: str | None = None
    weights: str | None = None


@dataclass(frozen=True, eq=False)
class Quantizer:
    """Gives every frame the number of the nearest centroid.

    `code = argmin_k ||g(x) - c_k||^2`, where g may subtract the utterance's mean frame, divide by the Euclidean norm,
    apply linear layers with ReLU between them, and divide by the norm again, in this order.

    Args:
        centroids: [K, D]; with `normalize_after` they have length 1, so that the nearest has the largest cosine.
        layers: what projects frames to D dimensions.
        mean_removed: subtract the mean of the frames that are given together, those of one utterance.
        normalize_before: divide every frame by its norm before the layers.
        normalize_after: and after them.
        origin: which frames it is made for.

    Example:
        >>> quantizer = Quantizer(torch.tensor([[0.0, 0.0], [3.0, 3.0]]))
        >>> quantizer(torch.tensor([[0.1, 0.2], [2.0, 4.0], [1.0, 1.0]])).tolist()
        [0, 1, 0]
    """

    centroids: Tensor
    layers: Layers = ()
    mean_removed: bool = False
    normalize_before: bool = False
    normalize_after: bool = False
    origin: Origin | None = None

    def __call__(self, frames: Tensor) -> Tensor:
        """Frames [F, D] of one utterance to codes [F] int64, on the device of the centroids.

        Raises:
            DataError: frames of another width.
        """
        width = (self.layers[0][0] if self.layers else self.centroids).shape[1]
        if frames.ndim != 2 or frames.shape[1] != width:
            raise DataError(f"The units are for frames [F, {width}], not {list(frames.shape)}; use their encoder.")
        values = frames.to(self.centroids)
        if self.mean_removed:
            values = values - values.mean(0)
        if self.normalize_before:
            values = F.normalize(values, dim=-1)
        for number, (weight, bias) in enumerate(self.layers):
            values = F.linear(F.relu(values) if number else values, weight, bias)
        if self.normalize_after:
            values = F.normalize(values, dim=-1)
        # |x - c|^2 without |x|^2, which is the same for every centroid.
        return torch.addmm(-0.5 * self.centroids.square().sum(1), values, self.centroids.T).argmax(1)

    def encode(self, stream: Iterable[tuple[Utterance, Tensor]]) -> dict[str, NDArray[np.int64]]:
        """Codes of every utterance, by id, of what `stream_features` yields.

        Parts of one utterance (see `windows`) are put together again.
        """
        parts: dict[str, list[tuple[float, NDArray[np.int64]]]] = {}
        for utterance, frames in stream:
            parts.setdefault(utterance.id, []).append((utterance.start, self(frames).cpu().numpy()))
        return {
            name: np.concatenate([codes for _, codes in sorted(own, key=lambda part: part[0])])
            for name, own in parts.items()
        }

    def summary(self) -> str:
        """Say in a line what the units are."""
        kind = "codes of a trained codebook" if self.normalize_after else "clusters"
        text = f"{len(self.centroids):,} {kind}"
        if self.origin:
            layer = "the last hidden state" if self.origin.layer is None else f"layer {self.origin.layer}"
            text += f" of {layer} of {self.origin.model}"
        return f"{text}, means removed" if self.mean_removed else text

    def to(self, device: torch.device | str) -> Quantizer:
        layers = tuple((weight.to(device), bias.to(device)) for weight, bias in self.layers)
        return replace(self, centroids=self.centroids.to(device), layers=layers)

    def save(self, path: Path) -> None:
        """Write a `.safetensors` file.

        Raises:
            DataError: another suffix, or it cannot be written.
        """
        check_suffix(path)
        tensors = {"centroids": self.centroids}
        for number, (weight, bias) in enumerate(self.layers):
            tensors |= {f"layers.{number}.weight": weight, f"layers.{number}.bias": bias}
        facts: dict[str, Any] = {name: getattr(self, name) for name in _SWITCHES}
        facts["origin"] = vars(self.origin) if self.origin else None
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        write_file(path, save(whole, metadata={KIND: json.dumps(facts)}))

    @staticmethod
    def load(path: Path) -> Quantizer:
        """Read what `save` wrote.

        Raises:
            DataError: no such file, or not a quantizer.
        """
        if not path.is_file():
            raise DataError(f"{path} does not exist. `ssft units fit` makes a quantizer.")
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads((file.metadata() or {}).get(KIND, "null"))
                if facts is None:
                    raise DataError(f"{path} is not a quantizer. `ssft units fit MODEL` makes one.")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            count = (len(tensors) - 1) // 2
            return Quantizer(
                tensors["centroids"],
                tuple((tensors[f"layers.{n}.weight"], tensors[f"layers.{n}.bias"]) for n in range(count)),
                **{name: facts[name] for name in _SWITCHES},
                origin=Origin(**facts["origin"]) if facts["origin"] else None,
            )
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} cannot be read as a quantizer: {error}. Make it again.") from None


def check_suffix(path: Path) -> None:
    """Raise unless a quantizer may be called so.

    Raises:
        DataError: it may not.
    """
    if path.suffix != ".safetensors":
        raise DataError(f"{path}: a quantizer is kept in a .safetensors file. Give such a name.")
