"""Being stopped politely: SIGINT and SIGTERM end the current step, not the run's work."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from ssft.errors import RunError


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
