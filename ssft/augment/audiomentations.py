"""Any transform of the audiomentations library, made a function of the key as ours are."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ssft.augment.audiomentations_library import build_transform, drawn_by, plain_settings, read_settings
from ssft.augment.base import Parameters, Transform
from ssft.errors import RecipeError
from ssft.randomness import derive_rng
from ssft.types import SAMPLE_RATE


class Audiomentations(Transform):
    """Applies a transform of the audiomentations library.

    The library draws from the generators of the whole process. They are seeded from the key for the time of a call and
    then put back as they were, so equal keys give equal samples. `draw` also shows what comes of the seed. What depends
    on the waveform, such as the place of a gap, is drawn from the one that arrives: after a `SpeedPerturb` it may
    differ from what `draw` saw. A waveform on which the library fails stays as it is and is counted in `fallbacks`.

    Args:
        transform: an object of the library, whose settings are read back; or the name of a class of it.
        settings: of the class that is named. Beware of `p`: the library leaves half of the waveforms as they are unless
            it is told otherwise.
        changes_length: True where the transform makes waveforms longer or shorter, which is an error otherwise.
        sample_rate: of the waveform, in Hz.

    Source:
        audiomentations, github.com/iver56/audiomentations.

    Requirements:
        Some transforms need `pip install 'audiomentations[extras]'`. The library is imported when the first object is
        made, which takes two seconds. `RoomSimulator` traces rays with a generator of its own, so `check` refuses it
        unless `use_ray_tracing` is False.

    Relations:
        Where there is one of ours (`AddNoise`, `Reverb`, `Codec`, `Gain`, `TimeMask`, `PitchShift`) take that: most run
        on the device. The library's compositions are not taken; `Compose`, `OneOf` and `Maybe` are ours.

    Example:
        >>> Audiomentations("TanhDistortion", {"max_distortion": 0.3, "p": 1.0})(wave, rng)
    """

    def __init__(
        self,
        transform: Any,
        settings: Mapping[str, Any] | None = None,
        changes_length: bool = False,
        sample_rate: int = SAMPLE_RATE,
    ) -> None:
        if sample_rate < 8000:
            raise RecipeError(
                f"Audiomentations(sample_rate={sample_rate}): give the waveforms' rate in Hz, 8000 or more."
            )
        if isinstance(transform, str):
            self.transform, self.settings = transform, plain_settings(transform, settings or {})
        elif settings is None:
            self.transform, self.settings = read_settings(transform)
        else:
            raise RecipeError(
                f"Audiomentations(settings={settings!r}): an object of the library has its settings already. Leave "
                "these out, or give the name of its class."
            )
        self.sample_rate = sample_rate
        self._changes_length = changes_length
        self._fallbacks = 0
        self._transform = build_transform(self.transform, self.settings)
        for files in ("sound_file_paths", "ir_files"):  # subfolders come in the file system's order
            getattr(self._transform, files, []).sort()

    @property
    def changes_length(self) -> bool:
        return self._changes_length

    def __reduce__(self) -> tuple[Any, ...]:
        # What the library's objects hold cannot always be sent to a worker: it is made again there.
        return type(self), (self.transform, self.settings, self.changes_length, self.sample_rate)

    @property
    def fallbacks(self) -> int:
        return self._fallbacks

    def check(self) -> None:
        """Apply the transform to a second of noise, twice.

        Raises:
            RecipeError: it needs a package that is not there, fails, changes the length without saying so, or has a
                generator of its own.
        """
        noise = derive_rng("audiomentations").uniform(-0.3, 0.3, self.sample_rate).astype(np.float32)
        always = Audiomentations(self.transform, {**self.settings, "p": 1.0}, self.changes_length, self.sample_rate)
        try:
            first, second = (always._transformed(noise, 0) for _ in range(2))
        except RecipeError:
            raise
        except Exception as error:
            raise RecipeError(
                f"{self} cannot be applied to a second of noise ({type(error).__name__}: {error}). Change its settings."
            ) from error
        if not np.array_equal(first, second):
            raise RecipeError(
                f"{self}: with one seed it gives one waveform, then another, so it draws from a generator of its own. "
                "Choose settings or a transform that do not; Reverb is ours and simulates rooms."
            )

    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> Parameters:
        seed = int(rng.integers(1 << 53))
        try:
            with self._seeded(seed):
                self._transform.randomize_parameters(np.array(wave, dtype=np.float32), self.sample_rate)
        except RecipeError:
            raise
        except Exception as error:
            return {"seed": seed, "drawn": {"error": f"{type(error).__name__}: {error}"}}
        return {"seed": seed, "drawn": drawn_by(self._transform)}

    def apply(self, wave: np.ndarray, parameters: Parameters) -> np.ndarray:
        try:
            return self._transformed(wave, parameters["seed"])
        except RecipeError:
            raise
        except Exception:  # the library has no errors of its own, and a run of hours shall not end with one utterance
            self._fallbacks += 1
            return wave

    def _transformed(self, wave: np.ndarray, seed: int) -> np.ndarray:
        with self._seeded(seed):
            result = np.asarray(self._transform(np.array(wave, dtype=np.float32), self.sample_rate), dtype=np.float32)
        if not np.isfinite(result).all():
            raise ArithmeticError("what it made is not finite")
        if result.shape != wave.shape and not self.changes_length:
            raise RecipeError(
                f"{self}: {len(wave)} samples became {result.shape[-1]}. Set changes_length=True, or choose settings "
                "that keep the length, as losses need that compare frame by frame."
            )
        return result

    @contextmanager
    def _seeded(self, seed: int) -> Iterator[None]:
        """Give the library a past of nothing but the seed, and the process its generators back."""
        before, numpy_before = random.getstate(), np.random.get_state(legacy=False)
        self._transform.parameters = {"should_apply": None}
        try:
            random.seed(seed)
            np.random.seed([seed & 0xFFFFFFFF, seed >> 32])
            yield
        except ImportError as error:
            raise RecipeError(f"{self} needs more: {error}. pip install 'audiomentations[extras]'.") from error
        finally:
            random.setstate(before)
            np.random.set_state(numpy_before)
