import subprocess
import sys
import threading

import pytest

from plait.algebra.kernels import self_test
from plait.errors import Unavailable

FLUSHING = """\
import threading
import torch
from plait.algebra.kernels.self_test import verify_arithmetic
from plait.errors import Unavailable

def try_it():
    try:
        verify_arithmetic()
    except Unavailable as error:
        print(error.message)
    else:
        print("nothing is wrong")

assert torch.set_flush_denormal(True)
try_it()
torch.set_flush_denormal(False)
try_it()

def switch_off():
    torch.set_flush_denormal(True)
    try_it()

thread = threading.Thread(target=switch_off)
thread.start()
thread.join()
"""


def test_the_arithmetic_here_is_right_in_any_thread() -> None:
    self_test.verify_arithmetic()
    caught: list[BaseException] = []

    def work() -> None:
        try:
            self_test.verify_arithmetic()
        except BaseException as error:  # noqa: BLE001 - shown below
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert caught == []


@pytest.mark.torch
def test_denormals_that_are_switched_off_in_a_thread_are_refused_there() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FLUSHING], capture_output=True, text=True, check=True
    )
    first, second, third = done.stdout.splitlines()
    assert first.startswith("Denormal numbers are switched off")
    assert second == "nothing is wrong"
    assert third.startswith("Denormal numbers are switched off")


def test_other_bits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_test, "GOLDEN", "0" * 64)
    with pytest.raises(Unavailable, match="other bits than everywhere else"):
        self_test.verify_arithmetic()
