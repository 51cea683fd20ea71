"""Ctrl-C, SIGTERM and the like become one exception in the main thread, so that all is cleaned up."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, Self

_AGAIN_S = 0.05


class Terminated(SystemExit):
    """SIGTERM, SIGHUP or SIGXCPU; as an exception it runs the clean-up of everything that is open."""


class Signals:
    """While the ``with`` block runs, the first signal raises; further ones must not break the clean-up."""

    def __init__(self, *, stay_deaf: bool = False) -> None:
        """Prepare; with ``stay_deaf`` no signal raises after the block either, as at the end of a process."""
        self._stay_deaf = stay_deaf
        self._before: dict[int, Any] = {}
        self._hook = sys.unraisablehook
        self._process = os.getpid()
        self._number: int | None = None
        self._raised: BaseException | None = None
        self._over = False

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGXCPU"):
            number = getattr(signal, name, None)
            # nohup has SIGHUP ignored, a shell's background SIGINT; that stays.
            usual = {signal.SIG_DFL, signal.default_int_handler}
            if number is not None and signal.getsignal(number) in usual:
                self._before[number] = signal.signal(number, self._stop)
        sys.unraisablehook = self._unraisable
        return self

    def __exit__(self, *_: object) -> None:
        if self._stay_deaf:
            self._over = True
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._hook

    def ignore(self) -> None:
        """Let no signal raise any more: the work is over, whichever way."""
        self._over = True

    def seen_in(self, error: BaseException) -> BaseException:
        """The stop that a signal asked for, where a library made another error of it."""
        stop = self._raised
        if stop is None or error is stop or isinstance(error, SystemExit):
            return error
        if isinstance(error, KeyboardInterrupt):
            return stop  # typer makes a number of it, and what was noted would be lost
        for note in getattr(error, "__notes__", ()):
            stop.add_note(note)
        return stop.with_traceback(error.__traceback__)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a forked worker
            os._exit(128 + number)
        if self._over or self._number is not None:
            return
        self._number = number
        self._raised = _exception(number)
        raise self._raised

    def _unraisable(self, what: Any) -> None:
        """Where an exception goes that nobody can catch, in a destructor or a callback of a library."""
        number = self._number
        if number is None or not isinstance(what.exc_value, KeyboardInterrupt | Terminated):
            self._hook(what)
            return
        # The stop would be lost: ask once more, outside of here.
        self._number = None
        again = threading.Timer(_AGAIN_S, signal.raise_signal, [number])
        again.daemon = True
        again.start()


def _exception(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated(128 + number)
