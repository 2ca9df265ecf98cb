"""Golden merges have their roots on other processors, compilers' levels and threads.

As `test_processors`: each case is a process of its own that compiles the kernels anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from golden.test_golden_merges import DIGESTS
from portability.test_processors import TESTS, has_avx512
from reference.made_merges import CASES

MADE = tuple(f"made/{case}" for case in CASES if case != "pissa-by-search")
SEVERAL = (*MADE, "made/pissa-by-search", "micro/cpp-and-prose")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def carry_out(
    merges: tuple[str, ...], cache: Path, *options: str, **environment: str
) -> dict[str, str]:
    """Return the roots of merges that another process carried out."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "portability.merging", *merges, *options],
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
    roots: dict[str, str] = json.loads(done.stdout)
    return roots


def golden(merges: tuple[str, ...]) -> dict[str, str]:
    return {name: DIGESTS[name]["root"] for name in merges}


@pytest.mark.parametrize("name", ["arm64", "riscv64"])
def test_merges_on_another_instruction_set_have_the_golden_roots(name: str, tmp_path: Path) -> None:
    assert carry_out(MADE, tmp_path, "--emulate", name, NUMBA_OPT="0") == golden(MADE)


def test_merges_on_a_generic_processor_and_two_threads_have_the_golden_roots(
    tmp_path: Path,
) -> None:
    found = carry_out(SEVERAL, tmp_path, "--threads", "2", NUMBA_CPU_NAME="generic")
    assert found == golden(SEVERAL)


@pytest.mark.parametrize("processor", ["nehalem", "haswell", "skylake-avx512"])
def test_merges_on_another_processor_of_this_kind_have_the_golden_roots(
    processor: str, tmp_path: Path
) -> None:
    if processor == "skylake-avx512" and not has_avx512():
        pytest.skip("this processor has no AVX-512")
    assert carry_out(SEVERAL, tmp_path, NUMBA_CPU_NAME=processor) == golden(SEVERAL)


def test_merges_without_optimisation_and_without_a_compiler_have_the_golden_roots(
    tmp_path: Path,
) -> None:
    assert carry_out(SEVERAL, tmp_path, NUMBA_OPT="0") == golden(SEVERAL)
    assert carry_out(("made/dora", "made/lora-bf16"), tmp_path, NUMBA_DISABLE_JIT="1") == golden(
        ("made/dora", "made/lora-bf16")
    )
