"""Finding and reading Hugging Face checkpoints, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from ssft.encoders.fairseq import OfficialCheckpoint
from ssft.encoders.families import FAMILIES, family_of
from ssft.errors import EncoderError
from ssft.types import SAMPLE_RATE

_FILES = (".pt", ".pth", ".ckpt")


def load_pretrained(source: str, *, revision: str | None = None) -> tuple[Any, Any]:
    """Return the model, in float32, and the feature extractor of a Hub id, a folder, an official `.pt` file, or `tiny`.

    Raises:
        EncoderError: not found, not an encoder of a known family, unreadable, or weights missing from the checkpoint.
    """
    where = locate(source)
    if Path(where).is_file():
        import_transformers()
        return OfficialCheckpoint.read(Path(where)).load()
    config = load_config(source, revision=revision)
    from transformers import AutoModel

    try:
        # A checkpoint may lack the embedding that pre-training puts in masked places; a fixed seed keeps even that
        # unused tensor the same in every export.
        with torch.random.fork_rng(devices=[]), without_bars():
            torch.manual_seed(0)
            model, report = AutoModel.from_pretrained(
                where,
                config=config,
                revision=revision,
                dtype=torch.float32,
                output_loading_info=True,
                trust_remote_code=False,
            )
    except Exception as error:  # whatever a damaged file, a wrong one or an unsafe one makes its reader raise
        raise EncoderError(f"Cannot load the weights of '{source}': {_explained(error, config)}") from error
    missing = sorted(set(report["missing_keys"]) - {"masked_spec_embed"})
    if missing:
        raise EncoderError(
            f"'{source}' lacks {len(missing)} weights of a {type(model).__name__} (first: {missing[0]}). "
            "It is not a complete encoder checkpoint; get it anew from its publisher."
        )
    if broken := [name for name, tensor in model.state_dict().items() if not bool(tensor.isfinite().all())]:
        raise EncoderError(
            f"'{source}' has NaN or infinity in {len(broken)} of its tensors (first: {broken[0]}). "
            "Get it anew from its publisher."
        )
    return model, _load_extractor(where, config, revision)


@contextmanager
def without_bars() -> Iterator[None]:
    """Keep transformers from drawing bars for reading and writing weights, which takes less time than reading them."""
    from transformers.utils import logging

    if not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def import_transformers() -> None:
    """Import transformers, which imports torchaudio where it is installed, and explain the usual reason for a failure.

    Raises:
        EncoderError: torch and torchaudio do not fit together.
    """
    try:
        import transformers.models.hubert.modeling_hubert  # noqa: F401 (transformers itself imports lazily)
    except (OSError, RuntimeError, ImportError) as error:
        raise EncoderError(
            f"transformers cannot be imported: {error}\nMost often torch and torchaudio are of different builds. "
            "Fix it with: pip install 'torch>=2.11,<2.15' 'torchaudio>=2.11,<2.12'"
        ) from error


def locate(source: str) -> str:
    """Return what shall be loaded: the folder of the embedded encoder for `tiny`, else the source itself.

    Raises:
        EncoderError: a folder without a config.json, or a path that does not exist.
    """
    if source == "tiny":
        return str(files("ssft") / "assets" / "tiny_encoder")
    path = Path(source).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise EncoderError(f"{path} holds no config.json; pass a folder that save_pretrained wrote.")
        return str(path)
    if path.is_file():
        return str(path)
    if path.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1 or path.suffix in _FILES:
        raise EncoderError(
            f"{path} does not exist. Pass a folder, an official .pt file, a Hub id such as facebook/hubert-base-ls960, "
            "or tiny."
        )
    return source


def load_config(source: str, *, revision: str | None = None, local_files_only: bool = False) -> Any:
    """Read only the configuration of an encoder, and check its family.

    Raises:
        EncoderError: not found, or of an unknown family.
    """
    import_transformers()
    from transformers import AutoConfig

    where = locate(source)
    if Path(where).is_file():
        return OfficialCheckpoint.read(Path(where)).config()
    try:
        # Left to itself, transformers asks at the terminal whether to run what a checkpoint brings along.
        config = AutoConfig.from_pretrained(
            where, revision=revision, local_files_only=local_files_only, trust_remote_code=False
        )
    except Exception as error:  # whatever a config.json makes transformers raise
        if "trust_remote_code" in str(error):
            raise EncoderError(
                f"'{source}' brings code of its own, which is never run. Use a checkpoint of one of the known "
                f"families: {', '.join(FAMILIES)}."
            ) from None
        if Path(where).is_dir():
            raise EncoderError(
                f"Cannot use {Path(where) / 'config.json'}: {_first(error)}. Get it anew from its publisher."
            ) from None
        raise EncoderError(
            f"Cannot find the encoder '{source}': {_first(error)}. Pass a folder, a Hub id such as "
            "facebook/hubert-base-ls960, or tiny, the embedded one."
        ) from None
    family_of(config.model_type)
    for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "conv_dim", "conv_kernel", "conv_stride"):
        sizes = getattr(config, name, 1)
        if min(sizes if isinstance(sizes, (list, tuple)) else [sizes]) < 1:
            raise EncoderError(f"'{source}' has {name}={sizes} in its config.json. Get it anew from its publisher.")
    if getattr(config, "add_adapter", False):
        raise EncoderError(
            f"'{source}' has convolutions on top of its last layer (add_adapter), which cannot be adapted. "
            "Use the checkpoint that it was made from."
        )
    return config


def weightless_model(config: Any) -> Any:
    """Return a model of this configuration that takes no memory, for its names and shapes."""
    from transformers import AutoModel

    with torch.device("meta"):
        return AutoModel.from_config(config)


def commit_of(source: str, revision: str | None) -> str | None:
    """Return the commit of a Hub repository whose configuration has been loaded; None for what is on this machine."""
    from huggingface_hub import try_to_load_from_cache

    if source == "tiny" or Path(source).expanduser().exists():
        return None
    cached = try_to_load_from_cache(source, "config.json", revision=revision)
    return Path(cached).parent.name if isinstance(cached, str) else None


def _load_extractor(where: str, config: Any, revision: str | None) -> Any:
    from transformers import AutoFeatureExtractor, SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor

    is_log_mel = family_of(config.model_type).input == "log_mel"
    kind: Any = SeamlessM4TFeatureExtractor if is_log_mel else Wav2Vec2FeatureExtractor
    settings = Path(where) / "preprocessor_config.json"
    try:
        extractor = AutoFeatureExtractor.from_pretrained(where, revision=revision, trust_remote_code=False)
    except Exception as error:  # whatever a preprocessor_config.json makes transformers raise
        if settings.is_file():
            raise EncoderError(f"Cannot use {settings}: {_first(error)}. Get it anew, or delete it.") from None
        if is_log_mel:
            extractor = kind(feature_size=80, num_mel_bins=80, stride=2)
        else:
            # Models with a layer norm in the stem were trained on normalised input, and take an attention mask.
            layer_norm = getattr(config, "feat_extract_norm", "layer") == "layer"
            extractor = kind(do_normalize=layer_norm, return_attention_mask=layer_norm)
    if not isinstance(extractor, kind):
        raise EncoderError(
            f"'{where}' names a {type(extractor).__name__} in its preprocessor_config.json, but a {config.model_type} "
            f"takes a {kind.__name__}. Get the file anew from its publisher, or delete it."
        )
    if extractor.sampling_rate != SAMPLE_RATE:
        raise EncoderError(f"'{where}' works at {extractor.sampling_rate} Hz; only {SAMPLE_RATE} Hz is supported.")
    return extractor


def _explained(error: Exception, config: Any) -> str:
    """Why weights were not loaded, and what to do."""
    try:
        weightless_model(config)
    except Exception as mistake:  # whatever sizes that do not fit together make PyTorch raise
        return f"config.json describes no encoder ({_first(mistake)}). Get it anew from its publisher."
    if "ignore_mismatched_sizes" in str(error):
        return "their shapes are not those of config.json. Get both anew from one publisher."
    if type(error).__name__ == "UnpicklingError":  # of a module that is imported nowhere here
        return (
            "the file is damaged, or holds more than tensors, which is never run. Get it again from its publisher, "
            "best as safetensors."
        )
    return f"{type(error).__name__}: {_first(error)}. Download them again."


def _first(error: Exception) -> str:
    """The first line of an error, with what a colon at its end promises, without a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return (" ".join(lines[:2]) if lines[0].endswith(":") else lines[0]).rstrip(".")
