import threading
from functools import partial

import pytest

from plait.parallel import Stopped, StopSign, run_parallel


def test_all_tasks_run() -> None:
    done: list[int] = []

    def note(number: int, _: StopSign) -> None:
        done.append(number)

    run_parallel([partial(note, number) for number in range(20)])
    assert sorted(done) == list(range(20))


def test_nothing_to_do_is_fine() -> None:
    run_parallel([])


@pytest.mark.timeout(20)
def test_first_failure_ends_the_others_and_is_raised() -> None:
    started = threading.Event()

    def endless(stop: StopSign) -> None:
        started.set()
        while True:
            stop.check()

    def fail(_: StopSign) -> None:
        started.wait()
        raise ValueError("the first")

    with pytest.raises(ValueError, match="the first"):
        run_parallel([endless, fail], workers=2)


def test_waiting_tasks_never_begin_after_a_failure() -> None:
    begun: list[int] = []

    def fail(_: StopSign) -> None:
        raise ValueError("at once")

    with pytest.raises(ValueError, match="at once"):
        run_parallel([fail, *[lambda _: begun.append(1)] * 50], workers=1)
    assert begun == []


def test_stop_sign_raises_once_it_is_set() -> None:
    sign = StopSign()
    sign.check()
    sign.set()
    with pytest.raises(Stopped):
        sign.check()
