"""Hands things to a consumer that pulls them in a thread of its own, never many at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

_AHEAD = 2


class Cancelled(Exception):  # noqa: N818 - not an error, but the news that there will be no more
    """What the consumer's iterator raises when the producer gave up."""


class Handoff(Generic[Item]):
    """Runs a consumer of an iterator in a thread and feeds it, at most two items ahead.

    Whichever side ends first, the other one gets to know: :meth:`put` raises what the consumer raised, and
    the iterator raises :class:`Cancelled` after :meth:`cancel`. The thread has ended when :meth:`finish` or
    :meth:`cancel` returns; one of them must be called.
    """

    def __init__(self, consume: Callable[[Iterator[Item]], None], *, name: str) -> None:
        """Start ``consume`` in a thread called ``name``."""
        self._consume = consume
        self._items: deque[Item] = deque()
        self._complete = self._cancelled = self._ended = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        # No daemon: killed within C++ at the end of the process, it would abort it.
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Feed an item; waits while the consumer has enough.

        Raises:
            BaseException: what the consumer raised.
            RuntimeError: it has ended without an error and takes no more.
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < _AHEAD or self._ended)
            if not self._ended:
                self._items.append(item)
                self._changed.notify_all()
                return
        self._raise()
        raise RuntimeError("the consumer has ended and takes no more")

    def finish(self) -> None:
        """Wait until the consumer has had everything and ended.

        Raises:
            BaseException: what the consumer raised.
        """
        with self._changed:
            self._complete = True
            self._changed.notify_all()
        self._wait()
        self._raise()

    def cancel(self) -> None:
        """Let the consumer have no more, and wait until it has ended, however it does."""
        with self._changed:
            self._cancelled = True
            self._changed.notify_all()
        self._wait()

    def _wait(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._ended)
        # Only now: Ctrl-C during a join would leave a thread that is taken for ended (bpo-45274).
        self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._consume(self._feed())
        except BaseException as error:  # for the other thread to raise
            self._error = error
        with self._changed:
            self._ended = True
            self._items.clear()
            self._changed.notify_all()

    def _feed(self) -> Iterator[Item]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._complete or self._cancelled)
                if self._cancelled:
                    raise Cancelled
                if not self._items:
                    return
                taken = [self._items.popleft()]
                self._changed.notify_all()
            # Not kept here while the consumer is at work, and longer.
            yield taken.pop()
