"""A pre-trained Hugging Face speech encoder that takes `Waves` and gives `Frames`, whatever the padding."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssft.encoders.families import family_of
from ssft.encoders.padding import MaskedGroupNorm
from ssft.errors import EncoderError
from ssft.ops.masking import lengths_to_mask
from ssft.types import SAMPLE_RATE, Frames, Waves


class PretrainedEncoder(nn.Module):
    """A Hugging Face encoder with its input normalisation, in eval mode, safe to run on padded batches.

    Args:
        model: a `HubertModel`, `WavLMModel` or `Wav2Vec2Model`. Its first group norm, if it has one, is replaced by one
            that does not see padding; parameter names stay.
        extractor: its feature extractor, which says whether waveforms are normalised.
        source: where it came from, for records and messages.

    Attributes:
        num_layers: transformer layers.
        width: D of its frames.
        revision: commit of the Hub repository, None for a folder.

    Example:
        >>> encoder = PretrainedEncoder.load("tiny")
        >>> encoder.hidden_states(Waves.stack([torch.randn(16000)]))[6].values.shape
        torch.Size([1, 49, 192])
    """

    def __init__(self, model: Any, extractor: Any, *, source: str) -> None:
        super().__init__()
        self.family = family_of(model.config.model_type)
        self.model = model.eval()
        self.extractor = extractor
        self.source = source
        self.revision: str | None = getattr(model.config, "_commit_hash", None)
        self.num_layers: int = model.config.num_hidden_layers
        self.width: int = model.config.hidden_size
        self._norm = _replace_group_norm(model)

    @staticmethod
    def load(source: str, *, revision: str | None = None) -> PretrainedEncoder:
        """Load a Hub id, a folder, or `tiny`, in float32.

        Raises:
            EncoderError: not found, not an encoder of a known family, or weights missing from the checkpoint.
        """
        import_transformers()
        from transformers import AutoModel

        where = locate(source)
        config = load_config(source, revision=revision)
        try:
            # A checkpoint may lack the embedding that pre-training puts in masked places; a fixed seed keeps even that
            # unused tensor the same in every export.
            with torch.random.fork_rng(devices=[]), without_bars():
                torch.manual_seed(0)
                model, report = AutoModel.from_pretrained(
                    where, config=config, revision=revision, dtype=torch.float32, output_loading_info=True
                )
        except (OSError, ValueError, RuntimeError) as error:
            raise EncoderError(f"Cannot load the weights of '{source}': {error}") from None
        missing = sorted(set(report["missing_keys"]) - {"masked_spec_embed"})
        if missing:
            raise EncoderError(
                f"'{source}' lacks {len(missing)} weights of a {type(model).__name__} (first: {missing[0]}). "
                "It is not a complete encoder checkpoint."
            )
        return PretrainedEncoder(model, _load_extractor(where, config, revision), source=source)

    @property
    def min_samples(self) -> int:
        """The fewest samples that give one frame, 400 for the usual stem."""
        samples = 1
        for kernel, stride in zip(
            reversed(self.model.config.conv_kernel), reversed(self.model.config.conv_stride), strict=True
        ):
            samples = (samples - 1) * stride + kernel
        return samples

    @property
    def frame_rate(self) -> float:
        """Frames per second, 50 for a hop of 320 samples."""
        return SAMPLE_RATE / math.prod(self.model.config.conv_stride)

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Samples [B] to frames [B]."""
        frames: Tensor = self.model._get_feat_extract_output_lengths(lengths).long()
        return frames

    def prepare(self, waves: Waves) -> tuple[Tensor, Tensor | None]:
        """What the model is called with: normalised samples [B, T], and the mask [B, T], None where nothing is padded.

        Raises:
            EncoderError: an item is too short for one frame.
        """
        shortest = int(waves.lengths.min())
        if shortest < self.min_samples:
            raise EncoderError(f"{shortest} samples are too few for one frame; the encoder needs {self.min_samples}.")
        samples = waves.samples[:, : int(waves.lengths.max())]
        mask = lengths_to_mask(waves.lengths, samples.shape[1])
        if self.extractor.do_normalize:
            samples = _normalize(samples, mask, waves.lengths)
        return samples, None if bool(mask.all()) else mask.long()

    @contextmanager
    def padding_aware(self, waves: Waves) -> Iterator[None]:
        """Within this context the model's group norm, if it has one, ignores the padding of `waves`."""
        if self._norm is None or int(waves.lengths.min()) == int(waves.lengths.max()):
            yield
            return
        config = self.model.config
        self._norm.lengths = (waves.lengths - config.conv_kernel[0]) // config.conv_stride[0] + 1
        try:
            yield
        finally:
            self._norm.lengths = None

    def call(self, model: Any, waves: Waves, **options: Any) -> Any:
        """Run `model` (this encoder's, or one that shares its stem) on a batch."""
        samples, mask = self.prepare(waves)
        with self.padding_aware(waves):
            return model(samples, attention_mask=mask, **options)

    def forward(self, waves: Waves) -> Frames:
        """The last hidden state, [B, F, D]."""
        return Frames(self.call(self.model, waves).last_hidden_state, self.frame_lengths(waves.lengths))

    @torch.no_grad()
    def hidden_states(self, waves: Waves) -> list[Frames]:
        """Input of the first layer, then the output of every layer: `num_layers + 1` times [B, F, D].

        The last entry is the last hidden state, after the final norm that large models have.
        """
        output = self.call(self.model, waves, output_hidden_states=True)
        lengths = self.frame_lengths(waves.lengths)
        return [Frames(values, lengths) for values in (*output.hidden_states[:-1], output.last_hidden_state)]


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
        import transformers

        transformers.AutoModel  # noqa: B018 (the import that fails is lazy)
    except (OSError, RuntimeError, ImportError) as error:
        raise EncoderError(
            f"transformers cannot be imported: {error}\nMost often torch and torchaudio are of different builds. "
            "Mend it with: pip install 'torch>=2.11,<2.15' 'torchaudio>=2.11,<2.12'"
        ) from error


def locate(source: str) -> str:
    """Return what transformers shall load: the folder of the embedded encoder for `tiny`, else the source itself.

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
    if path.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1:
        raise EncoderError(
            f"{path} does not exist. Pass a folder, a Hub id such as facebook/hubert-base-ls960, or tiny."
        )
    return source


def load_config(source: str, *, revision: str | None = None, local_files_only: bool = False) -> Any:
    """Read only the configuration of an encoder, and check its family.

    Raises:
        EncoderError: not found, or of an unknown family.
    """
    import_transformers()
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(locate(source), revision=revision, local_files_only=local_files_only)
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise EncoderError(f"Cannot find the encoder '{source}': {first}") from None
    family_of(config.model_type)
    return config


def _load_extractor(where: str, config: Any, revision: str | None) -> Any:
    from transformers import AutoFeatureExtractor, Wav2Vec2FeatureExtractor

    try:
        extractor = AutoFeatureExtractor.from_pretrained(where, revision=revision)
    except (OSError, ValueError):
        # Models with a layer norm in the stem were trained on normalised input, and take an attention mask.
        layer_norm = config.feat_extract_norm == "layer"
        extractor = Wav2Vec2FeatureExtractor(do_normalize=layer_norm, return_attention_mask=layer_norm)
    if extractor.sampling_rate != SAMPLE_RATE:
        raise EncoderError(f"'{where}' works at {extractor.sampling_rate} Hz; only {SAMPLE_RATE} Hz is supported.")
    return extractor


def _replace_group_norm(model: Any) -> MaskedGroupNorm | None:
    first = model.feature_extractor.conv_layers[0]
    norm = getattr(first, "layer_norm", None)
    if not isinstance(norm, nn.GroupNorm):
        return None
    first.layer_norm = norm if isinstance(norm, MaskedGroupNorm) else MaskedGroupNorm.replacing(norm)
    return first.layer_norm


def _normalize(samples: Tensor, mask: Tensor, lengths: Tensor) -> Tensor:
    """Zero mean and unit variance over the real samples of each item, as `Wav2Vec2FeatureExtractor` does it."""
    count = lengths[:, None]
    mean = (samples * mask).sum(1, keepdim=True) / count
    centred = (samples - mean) * mask
    return centred / torch.sqrt(centred.square().sum(1, keepdim=True) / count + 1e-7)
