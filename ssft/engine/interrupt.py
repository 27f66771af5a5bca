"""Being stopped politely: SIGINT and SIGTERM end the current step, not the run's work."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, TypeVar

from torch.utils.data import DataLoader

from ssft.errors import RunError, SsftError

T = TypeVar("T")


class InterruptedRunError(RunError):
    """The run was asked to stop, and can be resumed."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class InterruptFlag:
    """A context in which the first SIGINT or SIGTERM only sets `received`; a second SIGINT stops at once."""

    received: int | None = None

    def __enter__(self) -> InterruptFlag:
        self._previous: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number


def leave_signals_to_parent(worker: int) -> None:
    """Let a data worker outlive the signal that its parent is about to handle: terminals and schedulers signal all.

    Such a worker has to be ended by `reading`, for multiprocessing would end it with a signal.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
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
