"""Writing an adapted encoder as a plain Hugging Face folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ssft.encoders import PretrainedEncoder
from ssft.engine.checkpoint import replacing_folder
from ssft.errors import RunError


def export_encoder(
    encoder: PretrainedEncoder, folder: Path, *, card: str, recipe: str, provenance: dict[str, Any]
) -> Path:
    """Write config.json, model.safetensors, preprocessor_config.json, README.md, recipe.yaml and ssft.json.

    Everything is float32. The folder is complete or not there: it is written aside and renamed.

    Args:
        encoder: the adapted encoder.
        folder: replaced if it holds an earlier export.
        card: text of README.md.
        recipe: text of recipe.yaml.
        provenance: content of ssft.json: what it was made from, with what, and how.

    Raises:
        RunError: `folder` holds something that is not an export, or cannot be written.
    """
    foreign = folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / "ssft.json").is_file())
    if foreign:
        raise RunError(f"{folder} exists and is not an ssft export; give another folder with --to.")
    try:
        with replacing_folder(folder) as partial:
            encoder.save(partial)
            (partial / "README.md").write_text(card, encoding="utf-8")
            (partial / "recipe.yaml").write_text(recipe, encoding="utf-8")
            (partial / "ssft.json").write_text(json.dumps(provenance, indent=1) + "\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise RunError(f"Cannot write {folder}: {error}") from error
    return folder
