"""Being stopped politely: the first signal ends the current step, not the run's work."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from ssft.errors import RunError

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C, what schedulers send at the end, and what Slurm sends a while before it (`--signal`)."""


class InterruptedRunError(RunError):
    """The run was asked to stop, and can be resumed."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message, signal_number)
        self.exit_code = 128 + signal_number

    def __str__(self) -> str:
        return str(self.args[0])


class InterruptFlag:
    """A context in which a signal to stop is either noted or obeyed at once.

    Where work would be lost it only sets `received`, and a second SIGINT stops at once. Within `at_once`, and
    everywhere if there is nothing to save, it raises. Contexts may be nested.

    Args:
        farewell: makes the message of the error that is raised at once.
        noting: begin by noting.

    Example:
        >>> with InterruptFlag(lambda: "Stopped at step 12; continue with: ssft resume runs/x") as interrupt:
        ...     while not interrupt.received:
        ...         make_a_step()
        ...         with interrupt.at_once():
        ...             measure_something_that_can_be_measured_again()
    """

    def __init__(self, farewell: Callable[[], str], *, noting: bool = True) -> None:
        self.farewell = farewell
        self.received: int | None = None
        self._noting = noting

    def __enter__(self) -> InterruptFlag:
        self._previous: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Obey a signal at once, also one that came before."""
        before, self._noting = self._noting, False
        try:
            if self.received is not None:
                self._stop(self.received)
            yield
        finally:
            self._noting = before

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self._noting:
            self._stop(number)
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number

    def _stop(self, number: int) -> None:
        raise InterruptedRunError(self.farewell(), number)
