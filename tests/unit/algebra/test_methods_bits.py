"""Outcomes have the same bits in any blocks, on any number of threads, and compiled or not."""

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plait.algebra.methods import find_elementwise, merging
from reference.method_options import options_for

GIVEN: dict[str, dict[str, Any]] = {
    "ties": {"density": 0.4},
    "dare": {"density": 0.3},
    "dare_ties": {"density": 0.6, "majority": "frequency"},
    "della": {"density": 0.5, "epsilon": 0.2, "scale": 1.3},
    "breadcrumbs": {"density": 0.5, "gamma": 0.1},
    "magnitude_prune": {"density": 0.35},
}
PROGRAM = "import json, test_methods_bits as t; print(json.dumps(t.digests()))"
WEIGHTS = [0.7, 0.4, -0.2]
DIGESTS = {
    "ties": "3d6324da6d11a252",
    "dare": "b8a2d3c22869fa9c",
    "dare_ties": "fa8f9f1fe554f356",
    "della": "6d630c537337d400",
    "breadcrumbs": "6b6e50aaf6e9cf87",
    "magnitude_prune": "dd2d0e6dd12e63e0",
}


def make_deltas(shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Return deltas by whole numbers alone, with equal magnitudes among them."""
    indices = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    return ((indices * 7919 + 104729) % 2003 - 1001) / 1000.0


def draw(stream: int, start: int, count: int) -> NDArray[np.float64]:
    """Return numbers that depend on nothing but whole numbers."""
    indices = np.arange(start, start + count, dtype=np.int64) + 1_000_003 * stream
    return ((indices * 48271) % 65537) / 65537.0


def compute(method: str, shape: tuple[int, int, int] = (3, 12, 20)) -> bytes:
    options = options_for(method, **GIVEN[method])
    object.__setattr__(options, "uniforms", draw)
    return find_elementwise(method)(make_deltas(shape), WEIGHTS, options).tobytes()


def digests() -> dict[str, str]:
    return {method: hashlib.sha256(compute(method)).hexdigest()[:16] for method in GIVEN}


def test_bits_of_outcomes_are_fixed() -> None:
    assert digests() == DIGESTS


@pytest.mark.parametrize("block", [1, 41, 100, 10**6])
def test_the_size_of_blocks_does_not_show(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    whole = {method: compute(method, (3, 37, 41)) for method in GIVEN}
    monkeypatch.setattr(merging, "_BLOCK", block)
    assert {method: compute(method, (3, 37, 41)) for method in GIVEN} == whole


def test_two_threads_give_the_bits_of_one() -> None:
    work = [method for method in GIVEN for _ in range(3)]
    shape = (3, 90, 257)
    alone = [compute(method, shape) for method in work]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda method: compute(method, shape), work)) == alone


@pytest.mark.parametrize(
    "environment",
    [
        {"NUMBA_DISABLE_JIT": "1"},
        pytest.param({"NUMBA_CPU_NAME": "generic"}, marks=pytest.mark.slow),
        pytest.param({"NUMBA_OPT": "0"}, marks=pytest.mark.slow),
    ],
)
def test_plain_python_and_other_compilations_give_the_same_bits(
    environment: dict[str, str], tmp_path: Path
) -> None:
    paths = [str(Path(__file__).parent), *sys.path]
    outcome = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={
            **os.environ,
            **environment,
            "PYTHONPATH": os.pathsep.join(paths),
            "NUMBA_CACHE_DIR": str(tmp_path),
        },
        capture_output=True,
        check=True,
        text=True,
    )
    assert json.loads(outcome.stdout) == DIGESTS
