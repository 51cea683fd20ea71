"""Two threads and what either does to the other."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from geoseg.vector.handoff import Handoff

NAME = "under-test"


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name == NAME] == []


def put_all(handoff: Handoff[int], count: int = 100) -> None:
    for item in range(count):
        handoff.put(item)


def test_everything_arrives_in_order() -> None:
    got: list[int] = []
    handoff = Handoff[int](got.extend, name=NAME)
    put_all(handoff, 1000)
    handoff.finish()
    assert got == list(range(1000))


def test_the_producer_is_never_far_ahead() -> None:
    let_go, got = threading.Semaphore(0), []

    def consume(items: Iterator[int]) -> None:
        for item in items:
            got.append(item)
            let_go.acquire()

    handoff = Handoff(consume, name=NAME)
    made: list[int] = []

    def produce() -> None:
        for item in range(10):
            handoff.put(item)
            made.append(item)

    producer = threading.Thread(target=produce)
    producer.start()
    time.sleep(0.2)
    # One is being consumed, two wait.
    assert made == [0, 1, 2]
    let_go.release(20)
    producer.join()
    handoff.finish()
    assert got == list(range(10))


@pytest.mark.parametrize("after", [0, 1, 5])
def test_what_the_consumer_raises_the_producer_gets(after: int) -> None:
    def consume(items: Iterator[int]) -> None:
        for _ in range(after):
            next(items)
        raise OSError("full")

    handoff = Handoff(consume, name=NAME)
    with pytest.raises(OSError, match="full"):
        put_all(handoff)
    with pytest.raises(OSError, match="full"):
        handoff.finish()
    handoff.cancel()


def test_an_error_after_the_last_item_is_raised_at_the_end() -> None:
    def consume(items: Iterator[int]) -> None:
        list(items)
        raise OSError("full")

    handoff = Handoff(consume, name=NAME)
    handoff.put(1)
    with pytest.raises(OSError, match="full"):
        handoff.finish()


def test_a_consumer_that_wants_no_more_is_no_hang() -> None:
    handoff = Handoff[int](lambda _: None, name=NAME)
    with pytest.raises(RuntimeError, match="takes no more"):
        put_all(handoff)
    handoff.cancel()


def test_a_producer_that_gives_up_ends_the_consumer() -> None:
    seen: list[Any] = []

    def consume(items: Iterator[int]) -> None:
        try:
            seen.extend(items)
        except Exception as error:
            seen.append(type(error).__name__)
            raise

    handoff = Handoff(consume, name=NAME)
    handoff.cancel()
    assert seen == ["Cancelled"]


def interrupt_soon() -> threading.Timer:
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    return timer


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals go there")
@pytest.mark.parametrize("waiting_for", ["room", "the end"])
def test_ctrl_c_gets_through_while_waiting(waiting_for: str) -> None:
    stuck = threading.Event()

    def consume(items: Iterator[int]) -> None:
        next(items)
        stuck.wait()
        list(items)

    handoff = Handoff(consume, name=NAME)
    handoff.put(0)
    timer = interrupt_soon()
    wait = (lambda: put_all(handoff)) if waiting_for == "room" else handoff.finish
    with pytest.raises(KeyboardInterrupt):
        wait()
    timer.join()
    # Still at work: it is not taken for ended.
    assert any(thread.name == NAME for thread in threading.enumerate())
    stuck.set()
    handoff.cancel()
