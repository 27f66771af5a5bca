"""What training is made of, tried: the bundled encoder, a loss compiled by numba, and a gradient."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ssft.doctor.finding import AGAIN, Finding, first_line

_SAMPLES = (16_000, 12_000)


def look() -> Iterator[Finding]:
    """Make the gradient of one step on the processor, and on the GPU if there is one."""
    try:
        import torch

        devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    except Exception as error:
        yield Finding("step on cpu", f"not tried: {first_line(error)}", "problem", AGAIN)
        return
    for device in devices:
        name, began = f"step on {device}", time.monotonic()
        try:
            frames, norm = _gradient(device)
        except Exception as error:  # of whichever library does not work here
            yield Finding(name, f"{type(error).__name__}: {first_line(error)}", "problem", _mend(error))
            continue
        seconds = time.monotonic() - began
        value = f"works: {frames} frames of 1.75 s of audio, and a gradient; {seconds:.1f} s with compilation"
        yield Finding(name, value, facts={"frames": frames, "gradient_norm": norm, "seconds": round(seconds, 3)})


def _gradient(device: str) -> tuple[int, float]:
    """Return how many frames the encoder makes of two waveforms, and the norm of the gradient of their soft-DTW."""
    import numpy as np
    import torch

    from ssft.encoders import Encoder
    from ssft.ops.soft_dtw import soft_dtw_divergence
    from ssft.types import Waves

    rng = np.random.default_rng(0)
    noise = [torch.from_numpy(rng.normal(0, 0.1, size).astype(np.float32)) for size in _SAMPLES]
    split = Encoder("tiny", trainable_layers=1).load().to(device).eval()
    one, other = (split(Waves.stack(side).to(device)) for side in (noise, noise[::-1]))
    distances = soft_dtw_divergence(one.values, other.values, one.lengths, other.lengths, gamma=0.1)
    distances.sum().backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad for parameter in split.parameters() if parameter.grad is not None]
    norm = float(torch.stack([gradient.norm() for gradient in gradients]).norm())
    if not 0 < norm < float("inf"):
        raise ArithmeticError(f"the gradient has norm {norm}")
    return int(one.lengths.sum()), norm


def _mend(error: Exception) -> str:
    if "cannot cache function" in str(error):
        return "export NUMBA_CACHE_DIR=/a/folder/that/you/can/write"
    return AGAIN
