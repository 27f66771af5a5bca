"""Low-rank adapters: a layer learns a small correction to each of its projections, and keeps its own weights."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ssft.encoders.families import family_of
from ssft.errors import RecipeError, closest

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Lora:
    """Trains a low-rank correction to the projections of the trained layers, whose own weights stay frozen.

    A projection W [O, I] becomes W + alpha / rank * B A, with A [rank, I] random and B [O, rank] zero at first, so that
    training begins at the encoder as it was. DoRA learns the length m [O] of every row besides:

        m * (W + alpha / rank * B A) / ||W + alpha / rank * B A||,  m = ||W|| at first, the norms taken by row.

    Args:
        rank: of the correction.
        alpha: scale of the correction; its size over `rank` is what counts.
        dropout: of the input of A, while training.
        targets: the linear modules to adapt in each layer, by the ends of their names, such as `q_proj` or
            `ffn1.output_dense`. None given: the four projections of the attention and the two of every feed-forward.
        dora: learn lengths apart from directions.
        seed: of A.

    Source:
        Hu et al., "LoRA: Low-rank adaptation of large language models", ICLR 2022, section 4.1. Liu et al., "DoRA:
        Weight-decomposed low-rank adaptation", ICML 2024, equation 5, the norm without gradient as in section 4.3.

    Requirements:
        `encoder.trainable_layers` says which layers. Norms beside may be trained in full with `encoder.train_also`,
        what is adapted may not. A WavLM attends through `ProjectedAttention`, equal to rounding.

    Relations:
        For many domains of one encoder, or little memory: at rank 8 an adapter has 1.6 % of the weights of base-sized
        layers. Layers trained in full can move farther. The export is a plain encoder either way; `ssft export
        --adapter` writes the adapter alone. A `MovingAverage` is taken of A and of B, not of their product.

    Example:
        >>> Encoder("tiny", trainable_layers=2, adapter=Lora(rank=4))
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: Sequence[str] = ()
    dora: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(self.targets))
        if self.rank < 1:
            raise RecipeError(f"Lora(rank={self.rank}): give a rank of at least 1; 8 is usual.")
        if not self.alpha > 0:
            raise RecipeError(f"Lora(alpha={self.alpha}): give a scale above 0; twice the rank is usual.")
        if not 0 <= self.dropout < 1:
            raise RecipeError(f"Lora(dropout={self.dropout}): give a probability from 0 to below 1.")

    def modules(self, model: Any, layers: Sequence[int], source: str, *, trained: Iterable[str] = ()) -> list[str]:
        """Return the names of the modules that are adapted.

        Args:
            model: a Hugging Face encoder; it may be without weights.
            layers: numbers of the layers, counted from 1.
            source: the encoder's name.
            trained: names of parameters that are trained in full.

        Raises:
            RecipeError: a target that names nothing linear in these layers, or something that is trained in full too.
        """
        inside = tuple(f"encoder.layers.{number - 1}." for number in layers)
        modules = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
        linear = [name for name in modules if name.startswith(inside)]
        chosen: set[str] = set()
        for target in self._targets(model):
            found = [name for name in linear if name.endswith(f".{target}")]
            if not found:
                known = {name.rpartition(".")[2] for name in linear}
                raise RecipeError(
                    f"encoder.adapter: no linear module in layers {', '.join(map(str, layers))} of {source} ends in "
                    f"'{target}'. {closest(target, known)}"
                )
            chosen.update(found)
        for name in trained:
            if name.rpartition(".")[0] in chosen:
                raise RecipeError(
                    f"encoder.train_also trains {name} in full, and encoder.adapter adapts it. Leave its layer out of "
                    "encoder.trainable_layers, or what is adapted out of encoder.train_also."
                )
        return [name for name in linear if name in chosen]

    def inject(self, model: Any, layers: Sequence[int], source: str, *, trained: Iterable[str] = ()) -> None:
        """Put adapters around modules of a Hugging Face encoder, in place; only they are trainable afterwards.

        Raises:
            RecipeError: as `modules` does, or the model has adapters.
        """
        from peft import LoraConfig, inject_adapter_in_model

        if any(True for _ in _adapted(model)):
            raise RecipeError(f"encoder.adapter: {source} has adapters already; load it anew.")
        self.modules(model, layers, source, trained=trained)
        if family_of(model.config.model_type).unused_projections:
            from ssft.encoders.wavlm_attention import project_attention

            project_attention(model)
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            use_dora=self.dora,
            target_modules=list(self._targets(model)),
            layers_pattern=["layers"],
            layers_to_transform=[number - 1 for number in layers],
            base_model_name_or_path=source,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            inject_adapter_in_model(config, model)

    def _targets(self, model: Any) -> tuple[str, ...]:
        return tuple(self.targets) or family_of(model.config.model_type).projections


ADAPTERS = {"lora": Lora}


def merged(module: M) -> M:
    """Return a copy whose adapters, if any, have become part of the weights; it shares all other tensors."""
    plain = _sharing(module, (*module.parameters(), *module.buffers()))
    for owner, name, adapter in list(_adapted(plain)):
        own = copy.deepcopy(adapter)  # merging changes the weights that it adapts
        own.merge(safe_merge=True)
        setattr(owner, name, own.get_base_layer())
    return plain


def copy_sharing_base(module: M) -> M:
    """Return a copy of its own, but for the weights under adapters: never trained, they are shared."""
    adapters = [adapter for _, _, adapter in _adapted(module)]
    return _sharing(module, (weight for adapter in adapters for weight in adapter.base_layer.parameters()))


def base_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a model without those of adapters, by the names that they have without them."""
    state = model.state_dict()
    return {name.replace(".base_layer.", "."): tensor for name, tensor in state.items() if ".lora_" not in name}


def save_adapter(model: Any, folder: Path, *, revision: str | None = None) -> None:
    """Write adapter_model.safetensors and adapter_config.json, for `peft.PeftModel.from_pretrained`.

    Args:
        model: a Hugging Face encoder with adapters.
        folder: exists.
        revision: of the encoder that the adapters belong to.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    weights = get_peft_model_state_dict(model)
    save_file(
        {f"base_model.model.{name}": tensor.cpu().contiguous() for name, tensor in weights.items()},
        folder / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    settings = model.peft_config["default"].to_dict() | {"revision": revision, "inference_mode": True}
    settings = {key: sorted(value) if isinstance(value, set) else value for key, value in settings.items()}
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    (folder / "adapter_config.json").write_text(text, encoding="utf-8")


def _adapted(module: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    """Every adapter in a module, with its owner and its name there."""
    for owner in module.modules():
        for name, child in owner.named_children():
            if hasattr(child, "base_layer"):
                yield owner, name, child


def _sharing(module: M, tensors: Iterable[Tensor]) -> M:
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})
