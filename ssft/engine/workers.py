"""Data workers that neither die before their parent nor outlive it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch.utils.data import DataLoader

from ssft.engine.interrupt import STOP_SIGNALS
from ssft.errors import SsftError

T = TypeVar("T")


def leave_signals_to_parent(worker: int) -> None:
    """Let a data worker outlive the signal that its parent is about to handle: terminals and schedulers signal all.

    Such a worker has to be ended by `reading`, for multiprocessing would end it with a signal.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def reading(loader: DataLoader[T]) -> Iterator[Iterator[T]]:
    """Yield an iterator over a loader whose workers are ended when the context is left, whatever the reason.

    An error of ours that a worker raised is raised with its own message, without the worker's traceback.
    """
    batches = iter(loader)
    try:
        yield batches
    except SsftError as error:
        name = f"{type(error).__name__}: "
        if "Original Traceback" in str(error):
            raise type(error)(str(error).rsplit(name, 1)[-1].strip()) from None
        raise
    finally:
        if shut_down := getattr(batches, "_shutdown_workers", None):
            shut_down()
