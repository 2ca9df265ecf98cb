"""The threads that deliver: they go on after faults, and stop when told."""

import logging
import threading
import time
from collections.abc import Callable

import pytest

from plait.errors import Unavailable
from plait_registry.worker.delivery import DeliveryLoop

LIMIT = 20.0


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def nothing() -> int:
    return 0


def test_work_goes_on_while_there_is_some_and_is_looked_for_again() -> None:
    calls: list[bool] = []

    def deliver() -> bool:
        calls.append(len(calls) % 3 != 2)
        return calls[-1]

    loop = DeliveryLoop(deliver, nothing, idle_s=0.01)
    loop.start()
    wait_until(lambda: len(calls) > 9)
    loop.stop()
    done = len(calls)
    time.sleep(0.05)
    assert len(calls) == done


@pytest.mark.parametrize(
    "failure", [Unavailable("busy", "The database is busy."), ZeroDivisionError("a bug")]
)
def test_fault_is_logged_and_work_goes_on(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def deliver() -> bool:
        calls.append(1)
        if len(calls) == 1:
            raise failure
        return False

    with caplog.at_level(logging.WARNING):
        loop = DeliveryLoop(deliver, nothing, idle_s=0.01, pause_s=0.01)
        loop.start()
        wait_until(lambda: len(calls) > 2)
        loop.stop()
    assert "delivery failed" in caplog.text


def test_several_threads_deliver_at_once() -> None:
    barrier = threading.Barrier(3)

    def deliver() -> bool:
        # Passes only if all three are here at the same time.
        barrier.wait(LIMIT)
        return False

    loop = DeliveryLoop(deliver, nothing, idle_s=LIMIT)
    loop.start(threads=3)
    wait_until(lambda: barrier.n_waiting == 0)
    loop.stop()
    assert not barrier.broken


def test_stop_does_not_wait_for_ever_for_an_attempt() -> None:
    may_end = threading.Event()
    loop = DeliveryLoop(lambda: may_end.wait(LIMIT), nothing)
    loop.start()
    begun = time.monotonic()
    loop.stop(wait_s=0.1)
    assert time.monotonic() - begun < 5
    may_end.set()


def test_old_events_are_removed_also_after_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    def prune() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise Unavailable("busy", "The database is busy.")
        return 5

    with caplog.at_level(logging.INFO):
        loop = DeliveryLoop(lambda: False, prune, pause_s=0.01)
        loop.start()
        wait_until(lambda: "removed 5 old events" in caplog.text)
        loop.stop()
    assert len(calls) == 2


def test_loop_that_was_never_started_can_be_stopped() -> None:
    DeliveryLoop(lambda: False, nothing).stop()
