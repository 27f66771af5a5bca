"""Writing an adapted encoder as a plain Hugging Face folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ssft.encoders import PretrainedEncoder
from ssft.encoders.lora import merged, save_adapter
from ssft.errors import RunError
from ssft.files import replacing_folder


def export_encoder(
    encoder: PretrainedEncoder,
    folder: Path,
    *,
    card: str,
    recipe: str,
    provenance: dict[str, Any],
    adapter_only: bool = False,
) -> Path:
    """Write config.json, model.safetensors, preprocessor_config.json, README.md, recipe.yaml and ssft.json.

    Everything is float32, and adapters have become part of the weights. The folder is complete or not there: it is
    written aside and renamed.

    Args:
        encoder: the adapted encoder.
        folder: replaced if it holds an earlier export.
        card: text of README.md.
        recipe: text of recipe.yaml.
        provenance: content of ssft.json: what it was made from, with what, and how.
        adapter_only: write adapter_config.json and adapter_model.safetensors in place of the first three.

    Raises:
        RunError: `folder` holds something that is not an export, or cannot be written; or the adapter is to be written
            alone, but is not all that was trained.
    """
    if adapter_only:
        _refuse_more_than_adapters(encoder)
    foreign = folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / "ssft.json").is_file())
    if foreign:
        raise RunError(f"{folder} exists and is not an ssft export; give another folder with --to.")
    try:
        with replacing_folder(folder) as partial:
            if adapter_only:
                save_adapter(encoder.model, partial, revision=provenance["base"]["revision"])
            else:
                merged(encoder).save(partial)
            (partial / "README.md").write_text(card, encoding="utf-8")
            (partial / "recipe.yaml").write_text(recipe, encoding="utf-8")
            (partial / "ssft.json").write_text(json.dumps(provenance, indent=1) + "\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise RunError(f"Cannot write {folder}: {error}") from error
    return folder


def _refuse_more_than_adapters(encoder: PretrainedEncoder) -> None:
    trained = [name for name, parameter in encoder.model.named_parameters() if parameter.requires_grad]
    others = [name for name in trained if ".lora_" not in name]
    if others:
        raise RunError(
            f"Not only adapters were trained ({others[0]} was too), and they alone would lack it. Export without "
            "--adapter."
        )
