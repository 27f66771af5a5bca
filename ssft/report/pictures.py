"""A pair as a picture: waveforms, spectrograms, and the pitch of both."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ssft.report.measures import Pitch
from ssft.types import SAMPLE_RATE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"original": "#0072B2", "augmented": "#D55E00"}
"""Blue and vermilion of Okabe and Ito, which most colour-blind people can tell apart."""

_MARKERS = {"original": "o", "augmented": "^"}
_RANGE_DB = 70.0
_POINTS = 1200  # more than a picture has columns
_ROWS = 220
_HZ_TICKS = (200, 500, 1000, 2000, 4000, 8000)
_F0_TICKS = (50, 60, 80, 100, 120, 150, 200, 250, 300, 400, 500, 600, 800)


def picture(waves: Mapping[str, np.ndarray], pitch: Mapping[str, Pitch], *, title: Sequence[str]) -> bytes:
    """Return a PNG of the two waveforms [T] `original` and `augmented`, on the same scales.

    Args:
        waves: at 16 kHz, by side.
        pitch: by side.
        title: lines above.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = [part for line in title for part in textwrap.wrap(line, 132)]
    head = 0.55 + 0.22 * len(lines)  # inches, as all below
    height = head + 6.9
    figure = Figure(figsize=(11, height), dpi=120, facecolor="white")
    sides = {"left": 0.065, "right": 0.985}
    upper = figure.add_gridspec(
        2, 2, **sides, bottom=3.1 / height, top=1 - head / height, hspace=0.06, wspace=0.08, height_ratios=(2, 4)
    )
    lower = figure.add_gridspec(1, 1, **sides, bottom=0.5 / height, top=2.5 / height)
    # No parse_math: a file name may hold dollar signs.
    figure.text(0.065, 1 - 0.15 / height, "\n".join(lines), fontsize=10, va="top", linespacing=1.4, parse_math=False)

    seconds = max(len(wave) for wave in waves.values()) / SAMPLE_RATE
    peak = max(1e-3, *(float(np.abs(wave).max()) for wave in waves.values()))
    levels = {side: _mel_spectrogram(wave) for side, wave in waves.items()}
    loudest = max(float(level.max()) for level in levels.values())
    for column, side in enumerate(COLOURS):
        wave, level = waves[side], levels[side]
        duration = len(wave) / SAMPLE_RATE
        axes = figure.add_subplot(upper[0, column])
        axes.fill_between(*_envelope(wave), color=COLOURS[side], linewidth=0.3)
        axes.set_ylim(-1.05 * peak, 1.05 * peak)
        axes.set_title(f"{side}, {duration:.2f} s", fontsize=10, color=COLOURS[side], loc="left", fontweight="bold")
        _dress(axes, seconds, "amplitude" if column == 0 else None)
        axes.tick_params(labelbottom=False)

        axes = figure.add_subplot(upper[1, column])
        extent = (0, duration, 0, _mel(SAMPLE_RATE / 2))
        shades: dict[str, Any] = {"cmap": "Greys", "vmin": loudest - _RANGE_DB, "vmax": loudest}
        axes.imshow(level, origin="lower", aspect="auto", extent=extent, interpolation="bilinear", **shades)
        axes.plot(pitch[side].seconds, _mel(pitch[side].hz), ".", color=COLOURS[side], markersize=2.5)
        axes.set_yticks([_mel(hz) for hz in _HZ_TICKS], [f"{hz:,}" for hz in _HZ_TICKS])
        _dress(axes, seconds, "frequency in Hz" if column == 0 else None)

    _draw_pitch(figure.add_subplot(lower[0, 0]), pitch, seconds)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a file name in a script that the font lacks
        FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def _draw_pitch(axes: Axes, pitch: Mapping[str, Pitch], seconds: float) -> None:
    """Both pitches over time, on a scale where equal intervals are equally high, and their medians as lines."""
    for side, track in pitch.items():
        median = track.median_hz
        label = f"{side}: no voice found" if median is None else f"{side}: median {median:.0f} Hz"
        style: dict[str, Any] = {"color": COLOURS[side], "marker": _MARKERS[side], "linestyle": "none"}
        axes.plot(track.seconds, track.hz, markersize=3.2, label=label, **style)
        if median is not None:
            axes.axhline(median, color=COLOURS[side], linewidth=0.8, linestyle="--" if side == "augmented" else "-")
    low, high = _range(pitch)
    axes.set_yscale("log", base=2)
    axes.set_ylim(low, high)
    ticks = [hz for hz in _F0_TICKS if low < hz < high]
    axes.set_yticks(ticks, [str(hz) for hz in ticks])
    axes.minorticks_off()
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    _dress(axes, seconds, "F0 in Hz")
    axes.set_xlabel("seconds", fontsize=9)
    axes.legend(fontsize=9, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, markerscale=1.6)


def _range(pitch: Mapping[str, Pitch]) -> tuple[float, float]:
    """What to show of both, in Hz: all, but nothing more than an octave beyond the medians, which is a mistake."""
    medians = [track.median_hz for track in pitch.values() if track.median_hz is not None]
    if not medians:
        return 80.0, 400.0
    heard = np.concatenate([track.hz[np.isfinite(track.hz)] for track in pitch.values()])
    return max(float(heard.min()), min(medians) / 2) / 1.12, min(float(heard.max()), 2 * max(medians)) * 1.12


def _dress(axes: Axes, seconds: float, label: str | None) -> None:
    axes.set_xlim(0, seconds)
    axes.tick_params(labelsize=9, labelleft=label is not None)
    if label:
        axes.set_ylabel(label, fontsize=9)


def _envelope(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return times, and between which values the waveform moves around each."""
    width = max(1, len(wave) // _POINTS)
    parts = wave[: len(wave) // width * width].reshape(-1, width)
    return (np.arange(len(parts)) + 0.5) * width / SAMPLE_RATE, parts.min(axis=1), parts.max(axis=1)


def _mel_spectrogram(wave: np.ndarray) -> np.ndarray:
    """Return the level in dB [mel bands, time] at frequencies evenly spaced in mel, of 32 ms every 8 or more."""
    window = 512
    hop = max(128, len(wave) // _POINTS)
    padded = np.pad(wave, (window // 2, window))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[: len(wave) : hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(window).astype(np.float32), 2 * window)) ** 2
    decibels = 10 * np.log10(power + 1e-12)
    bins = _hz(np.linspace(0, _mel(SAMPLE_RATE / 2), _ROWS)) / (SAMPLE_RATE / 2) * (decibels.shape[1] - 1)
    lower = np.minimum(bins.astype(np.int64), decibels.shape[1] - 2)
    share = bins - lower
    levels: np.ndarray = (decibels[:, lower] * (1 - share) + decibels[:, lower + 1] * share).T
    return levels


def _mel(hz: Any) -> Any:
    return 2595 * np.log10(1 + np.asarray(hz) / 700)


def _hz(mel: np.ndarray) -> np.ndarray:
    hz: np.ndarray = 700 * (10 ** (mel / 2595) - 1)
    return hz
