"""What families do to a weight has the same bits on any machine, and compiled or not."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plait.algebra.delta import LowRank, Matrix
from plait.algebra.dense_delta import multiply_out
from plait.algebra.families import read_changes
from plait.algebra.families.resolve import resolve
from reference.adapters import LABEL, adapter_of

OFT = {"peft_type": "OFT", "oft_block_size": 4, "peft_version": "0.21.2"}
SHAPE = (20, 24)
FAMILIES: dict[str, tuple[dict[str, Any], dict[str, tuple[int, ...]]]] = {
    "vera": ({"peft_type": "VERA"}, {"vera_lambda_b": (20,), "vera_lambda_d": (6,)}),
    "loha": (
        {"peft_type": "LOHA", "r": 4, "alpha": 3},
        {f"hada_w{i}_{s}": (20, 4) if s == "a" else (4, 24) for i in (1, 2) for s in "ab"},
    ),
    "lokr": (
        {"peft_type": "LOKR", "r": 3, "alpha": 7},
        {"lokr_w1": (4, 4), "lokr_w2_a": (3, 5), "lokr_w2_b": (3, 3), "lokr_t2": (3, 3, 2, 1)},
    ),
    "ia3": ({"peft_type": "IA3"}, {"ia3_l": (20, 1)}),
    "oft": ({**OFT, "coft": True, "eps": 2.0}, {"oft_R.weight": (6, 6)}),
    "oft-series": ({**OFT, "use_cayley_neumann": True}, {"oft_R.weight": (6, 6)}),
    "boft": ({"peft_type": "BOFT"}, {"boft_R": (2, 6, 4, 4), "boft_s": (20, 1)}),
    "hra": ({"peft_type": "HRA"}, {"hra_u": (24, 5)}),
    "hra-gs": ({"peft_type": "HRA", "apply_GS": True}, {"hra_u": (24, 5)}),
    "hira": ({"peft_type": "HIRA"}, {"hira_A": (3, 24), "hira_B": (20, 3)}),
    "fourierft": ({"peft_type": "FOURIERFT"}, {"fourierft_spectrum": (50,)}),
    "vblora": (
        {"peft_type": "VBLORA", "topk": 3},
        {"vblora_logits_A": (3, 6, 7), "vblora_logits_B": (5, 3, 7)},
    ),
    "miss": ({"peft_type": "MISS"}, {"miss_block": (5, 20)}),
    "miss-bat": ({"peft_type": "MISS", "init_weights": "bat"}, {"miss_block": (5, 4, 4)}),
    "c3a": ({"peft_type": "C3A"}, {"c3a_kernel": (5, 6, 4)}),
    "randlora": (
        {"peft_type": "RANDLORA", "r": 4},
        {"randlora_lambda": (4, 5), "randlora_gamma": (5, 20)},
    ),
    "delora": (
        {"peft_type": "DELORA"},
        {"delora_A": (3, 24), "delora_B": (20, 3), "delora_lambda": (1,), "delora_w_norm": (24,)},
    ),
    "gralora": ({"peft_type": "GRALORA"}, {"gralora_A": (2, 12, 4), "gralora_B": (2, 4, 10)}),
}
SHARED = {
    "vera_A": (6, 24),
    "vera_B": (20, 6),
    "vblora_vector_bank": (7, 4),
    "randlora_A": (4, 1, 20),
    "randlora_B": (24, 5, 4),
}
PROGRAM = "import json, test_families_bits as t; print(json.dumps(t.digests()))"
DIGESTS: dict[str, str] = {
    "vera": "1b7533e347d1edc3",
    "loha": "36e4d0c5cba65f33",
    "lokr": "7baf388ebf4dcac0",
    "ia3": "ed131aefd78c9d8b",
    "oft": "0b3df53f8f82816a",
    "oft-series": "c13660f7f7e2acdc",
    "boft": "943c8c5326443be3",
    "hra": "4be934d44e8c24dc",
    "hra-gs": "bc1ffb680a038d5e",
    "hira": "6914b88b80fc79c8",
    "fourierft": "ea4313c21700c4d7",
    "vblora": "6578dc04d6aaa0c3",
    "miss": "2e285ef7cba4bec6",
    "miss-bat": "d6a412f054bab828",
    "c3a": "11cd2202a2cc869a",
    "randlora": "231a98f40b9d8822",
    "delora": "8a422fd72e732c30",
    "gralora": "e3016aa9723b0f14",
}


def numbers(shape: tuple[int, ...], start: int) -> Matrix:
    """Return numbers that depend on nothing but whole numbers."""
    indices = np.arange(start, start + int(np.prod(shape)), dtype=np.int64).reshape(shape)
    return ((indices * 48271) % 65537 - 32768) / 32768.0


def compute(family: str) -> bytes:
    config, parts = FAMILIES[family]
    stem = family[:4]
    tensors = {
        f"base_model.model.q_proj.{part}": numbers(shape, 1000 * index)
        for index, (part, shape) in enumerate(parts.items())
    }
    tensors |= {
        f"base_model.{part}": numbers(shape, 77)
        for part, shape in SHARED.items()
        if part.startswith(stem)
    }
    change = read_changes(adapter_of(tensors, **config))["q_proj"]
    kernel = (2, 1) if family == "lokr" else ()
    weight = numbers((SHAPE[0], SHAPE[1] // (2 if kernel else 1), *kernel), 123)
    delta = resolve(LABEL, change, lambda: weight)
    return (multiply_out(delta) if isinstance(delta, LowRank) else delta.compute()).tobytes()


def digests() -> dict[str, str]:
    return {family: hashlib.sha256(compute(family)).hexdigest()[:16] for family in FAMILIES}


def test_bits_of_every_family_are_fixed() -> None:
    assert digests() == DIGESTS


def test_asking_again_gives_the_same_bits() -> None:
    for family in FAMILIES:
        assert compute(family) == compute(family)


@pytest.mark.parametrize(
    "environment",
    [
        {"NUMBA_DISABLE_JIT": "1"},
        pytest.param({"NUMBA_CPU_NAME": "generic"}, marks=pytest.mark.slow),
        pytest.param({"NUMBA_OPT": "0"}, marks=pytest.mark.slow),
        # numpy without AVX2 and what came later
        pytest.param(
            {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_plain_python_and_other_compilations_give_the_same_bits(
    environment: dict[str, str], tmp_path: Path
) -> None:
    paths = [str(Path(__file__).parent), *sys.path]
    outcome = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
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
