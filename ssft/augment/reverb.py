"""Reverberation: the room between a voice and the microphone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ssft.augment.base import BatchTransform, Parameters
from ssft.augment.recordings import Recordings
from ssft.augment.rooms import WALL_DISTANCE_METERS, draw_room, room_responses
from ssft.errors import DataError, RecipeError
from ssft.ops.convolution import convolve
from ssft.types import SAMPLE_RATE, Waves

SIMULATED = "rooms"
"""The source that needs no recordings."""

_LEAD_SECONDS = 0.005
"""What is kept of an impulse response before its direct sound: the rise of the latter."""

_LONGEST_SECONDS = 3.0
_KEPT = 256


class Reverb(BatchTransform):
    """Lets a waveform sound in a room: convolves it with the impulse response of a recorded or simulated one.

    y = g (x * h). The direct sound of h is at time 0, so that every word stays where it was; what would sound on beyond
    the end is cut off: [T] stays [T]. The gain g gives the result the power of the input. Nothing is clipped, and
    silence stays silence.

    Of recordings every one is drawn equally often. The direct sound is the first peak of at least half the height of
    the highest; 5 ms before it and 3 s after it are used, of the first channel, resampled to `sample_rate`.

    A simulated room is a shoebox with bare walls that all reflect the same at all frequencies, and a source and a
    microphone that hear in all directions, at least 0.3 m from every wall. Reflections within 50 ms of the direct sound
    are simulated one by one, those behind them are noise that decays, as `ssft.augment.rooms` explains. There is no
    furniture, no scattering, no absorption in the air, and no decay that depends on the frequency.

    A batch agrees with single waveforms to 1e-6 (root mean square of the difference, relative).

    Args:
        source: `rooms` for simulated ones; or a folder or list of impulse responses, as `AddNoise` takes of noise. A
            folder of such a name is written `./rooms`.
        min_rt60_seconds: the shortest time in which a simulated room's sound falls by 60 dB.
        max_rt60_seconds: the longest; any in between is drawn, uniformly.
        min_distance_meters: the smallest distance from source to microphone in a simulated room.
        max_distance_meters: the largest; any in between that the room allows is drawn, uniformly.
        min_room_meters: length, width and height of the smallest simulated room.
        max_room_meters: those of the largest; any in between is drawn, uniformly and each for itself.
        probability: of reverberation at all.
        sample_rate: of the waveform, in Hz.

    Source:
        Ko et al., "A study on data augmentation of reverberant speech for robust speech recognition", ICASSP 2017: both
        recorded and simulated responses help, and simulated ones by the image method (Allen and Berkley, JASA 1979) do
        nearly as well.

    Requirements:
        The folder or list is read when a response is first needed; `check` reads all of it before.

    Relations:
        Noise is in the room, too, but is recorded there: `AddNoise` follows.

    Example:
        >>> distant = Reverb("rooms", min_distance_meters=1.5, max_rt60_seconds=1.2)(wave, rng)
    """

    def __init__(
        self,
        source: str = SIMULATED,
        min_rt60_seconds: float = 0.2,
        max_rt60_seconds: float = 0.8,
        min_distance_meters: float = 0.5,
        max_distance_meters: float = 3.0,
        min_room_meters: Sequence[float] = (3.0, 3.0, 2.4),
        max_room_meters: Sequence[float] = (10.0, 8.0, 4.0),
        probability: float = 1.0,
        sample_rate: int = SAMPLE_RATE,
    ) -> None:
        min_room_meters, max_room_meters = tuple(min_room_meters), tuple(max_room_meters)
        if not str(source):
            raise RecipeError(f"Reverb(source={source!r}): give a folder of impulse responses, or 'rooms'.")
        if not 0.05 <= min_rt60_seconds <= max_rt60_seconds <= 5:
            raise RecipeError(
                f"Reverb(min_rt60_seconds={min_rt60_seconds}, max_rt60_seconds={max_rt60_seconds}): give the shorter "
                "one first, both between 0.05 and 5 s; living rooms have 0.3 to 0.6."
            )
        if not (
            len(min_room_meters) == len(max_room_meters) == 3
            and all(1 <= low <= high <= 100 for low, high in zip(min_room_meters, max_room_meters, strict=True))
        ):
            raise RecipeError(
                f"Reverb(min_room_meters={min_room_meters}, max_room_meters={max_room_meters}): give length, width and "
                "height of the smallest and of the largest room, between 1 and 100 m."
            )
        fitting = math.dist(min_room_meters, [2 * WALL_DISTANCE_METERS] * 3) / 2
        if not (0 < min_distance_meters <= max_distance_meters and min_distance_meters <= fitting):
            raise RecipeError(
                f"Reverb(min_distance_meters={min_distance_meters}, max_distance_meters={max_distance_meters}): give "
                f"the smaller one first, above 0 and, to fit into the smallest room as well, at most {fitting:.1f} m."
            )
        if not 0 <= probability <= 1:
            raise RecipeError(f"Reverb(probability={probability}): give a probability between 0 and 1.")
        if sample_rate < 8000:
            raise RecipeError(f"Reverb(sample_rate={sample_rate}): give the waveforms' rate in Hz, 8000 or more.")
        self.source = str(source)
        self.min_rt60_seconds = min_rt60_seconds
        self.max_rt60_seconds = max_rt60_seconds
        self.min_distance_meters = min_distance_meters
        self.max_distance_meters = max_distance_meters
        self.min_room_meters = min_room_meters
        self.max_room_meters = max_room_meters
        self.probability = probability
        self.sample_rate = sample_rate
        self._owner = f"Reverb(source='{source}'), which may also be {SIMULATED}"
        self._recordings = Recordings(self.source, sample_rate=sample_rate, owner=self._owner)
        self._lead = round(_LEAD_SECONDS * sample_rate)
        self._responses: dict[str, Tensor] = {}

    def check(self) -> None:
        """Read all impulse responses before a run depends on them.

        Raises:
            RecipeError: there is no such folder or list, nothing is in it, or a response is silent or cannot be read.
        """
        if self.source == SIMULATED:
            return
        self._recordings.check()
        try:
            for name in self._recordings.names():
                self._recorded(name)
        except DataError as error:
            raise RecipeError(str(error)) from error

    def draw(self, rng: np.random.Generator, wave: np.ndarray) -> Parameters:
        if rng.random() >= self.probability:
            return {}
        if self.source != SIMULATED:
            names = self._recordings.names()
            return {"recording": names[int(rng.integers(len(names)))]}
        return draw_room(
            rng,
            rt60_seconds=(self.min_rt60_seconds, self.max_rt60_seconds),
            distance_meters=(self.min_distance_meters, self.max_distance_meters),
            min_room_meters=self.min_room_meters,
            max_room_meters=self.max_room_meters,
        )

    def apply_batch(self, waves: Waves, parameters: Sequence[Parameters]) -> Waves:
        clean = waves.samples.masked_fill(~waves.mask, 0)
        rows = [row for row, drawn in enumerate(parameters) if drawn]
        if not rows:
            return Waves(clean, waves.lengths)
        index = torch.tensor(rows, device=clean.device)
        responses = self._stacked([parameters[row] for row in rows], clean.device)
        dry = clean[index]
        wet = convolve(dry, responses, first=self._lead).masked_fill(~waves.mask[index], 0)
        dry_norm, wet_norm = (torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float64) for x in (dry, wet))
        gains = torch.where(wet_norm > 0, dry_norm / wet_norm, 0).to(wet.dtype)
        return Waves(clean.index_copy(0, index, wet * gains), waves.lengths)

    def _stacked(self, parameters: Sequence[Parameters], device: torch.device) -> Tensor:
        """The impulse responses [R, lead + K] float32 of drawn parameters; their direct sound is at sample `lead`."""
        if self.source == SIMULATED:
            return room_responses(parameters, lead=self._lead, sample_rate=self.sample_rate, device=device)
        recorded = [self._recorded(drawn["recording"]) for drawn in parameters]
        return torch.nn.utils.rnn.pad_sequence(recorded, batch_first=True).to(device, non_blocking=True)

    def _recorded(self, name: str) -> Tensor:
        """The impulse response [lead + K] of a recording; the last few hundred that were read are kept."""
        if name not in self._responses:
            if len(self._responses) >= _KEPT:
                self._responses.pop(next(iter(self._responses)))
            self._responses[name] = torch.from_numpy(self._trimmed(self._recordings.whole(name), name))
        return self._responses[name]

    def _trimmed(self, response: np.ndarray, name: str) -> np.ndarray:
        heights = np.abs(response)
        highest = float(heights.max(initial=0))
        if not 0 < highest < np.inf:
            raise DataError(f"{self._owner}: '{name}' is silent or has samples that are not finite. Take it out.")
        rise = int((heights >= highest / 2).argmax())
        direct = rise + int(heights[rise : rise + self.sample_rate // 1000].argmax())
        begin, end = direct - self._lead, direct + round(_LONGEST_SECONDS * self.sample_rate)
        missing = np.zeros(max(-begin, 0), np.float32)
        return np.concatenate([missing, response[max(begin, 0) : end]]) / np.float32(highest)
