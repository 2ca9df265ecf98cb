"""Golden compositions give their bytes on other processors, compilers' levels and threads.

Each case is a process of its own that compiles the kernels anew. Of other instruction sets the
kernels are numba's own code compiled by LLVM for them and run on an emulated processor; what numpy
does around them, element by element, is this machine's. The golden digests were made elsewhere.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from golden.test_golden_compositions import DIGESTS

TESTS = Path(__file__).parents[1]
MODULE = "portability.carrying_out"
FACTORED = ("sum-rank-8",)
SEVERAL = ("sum-rank-8", "sum-energy", "slerp", "ties", "dare-ties", "della")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def carry_out(
    recipes: tuple[str, ...], micro: Path, cache: Path, *options: str, **environment: str
) -> dict[str, dict[str, str]]:
    """Return the digests of recipes that another process carried out."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", MODULE, str(micro), *recipes, *options],
        env={
            **os.environ,
            "NUMBA_CACHE_DIR": str(cache),
            "PYTHONPATH": str(TESTS),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    digests: dict[str, dict[str, str]] = json.loads(done.stdout)
    return digests


def golden(recipes: tuple[str, ...]) -> dict[str, dict[str, str]]:
    return {name: DIGESTS[name] for name in recipes}


def has_avx512() -> bool:
    try:
        return "avx512f" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("name", ["arm64", "riscv64"])
def test_kernels_on_another_instruction_set_give_the_golden_bytes(
    name: str, micro_data: Path, tmp_path: Path
) -> None:
    found = carry_out(FACTORED, micro_data, tmp_path, "--emulate", name, NUMBA_OPT="0")
    assert found == golden(FACTORED)


def test_a_generic_processor_and_two_threads_give_the_golden_bytes(
    micro_data: Path, tmp_path: Path
) -> None:
    found = carry_out(
        SEVERAL,
        micro_data,
        tmp_path,
        *("--threads", "2"),
        NUMBA_CPU_NAME="generic",
        PYTHONHASHSEED="1",
    )
    assert found == golden(SEVERAL)


@pytest.mark.parametrize("processor", ["nehalem", "haswell", "skylake-avx512"])
def test_another_processor_of_this_kind_gives_the_golden_bytes(
    processor: str, micro_data: Path, tmp_path: Path
) -> None:
    if processor == "skylake-avx512" and not has_avx512():
        pytest.skip("this processor has no AVX-512")
    found = carry_out(FACTORED, micro_data, tmp_path, NUMBA_CPU_NAME=processor, PYTHONHASHSEED="2")
    assert found == golden(FACTORED)


@pytest.mark.parametrize("level", ["0", "1"])
def test_another_level_of_optimisation_gives_the_golden_bytes(
    level: str, micro_data: Path, tmp_path: Path
) -> None:
    assert carry_out(FACTORED, micro_data, tmp_path, NUMBA_OPT=level) == golden(FACTORED)
