import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from plait.algebra.arrays import decode
from plait.algebra.layer_probe import LayerProbe, is_probed, probe_vector
from plait.algebra.merge_health import MergeHealth
from plait.algebra.rounding import encode
from plait.errors import Integrity, InvalidInput
from reference.merge_probes import probe

NAME = "model.layers.0.self_attn.q_proj.weight"
GOLDEN = {
    "F32": "169054016089b0dfe094cbe3a42c1183457fbff5599c05d88452f6ad51033e43",
    "F16": "e28b7219e38d95bb6e2c11cb220dafa403a289a8fc4cb75a314fe0753e6717b1",
    "BF16": "82f4249239af3877ec901c7c102356e79646fb43a3b50cc69ed31d8d541d0f88",
}
"""Of `make_weight(…, 6, 100)`. They never change: another definition would have another name."""
PROGRAM = "import test_layer_probe as t; print(t.compute_goldens())"


def make_weight(dtype: str, rows: int, columns: int) -> bytes:
    """Return a weight by whole numbers alone."""
    indices = np.arange(rows * columns, dtype=np.int64).reshape(rows, columns)
    return encode(((indices * 7919 + 104729) % 2003 - 1001) / 1000.0, dtype)


def digest_of(dtype: str, shape: tuple[int, ...], data: bytes, *, rows: int | None = None) -> str:
    """Return the digest of a tensor that comes in blocks of so many rows."""
    layer = LayerProbe(NAME, shape, dtype)
    size = len(data) // shape[0] * (rows or shape[0])
    for start in range(0, len(data), size):
        layer.add(data[start : start + size])
    return layer.finish()


def compute_goldens() -> list[str]:
    """Return all digests, and the bits of a health figure, as another process computes them."""
    figures = MergeHealth("BF16")
    figures.add(make_weight("BF16", 6, 100), make_weight("BF16", 6, 100)[::-1])
    digests = [digest_of(dtype, (6, 100), make_weight(dtype, 6, 100)) for dtype in GOLDEN]
    return [*digests, figures.finish().norm.hex()]


@pytest.mark.parametrize("dtype", GOLDEN)
def test_the_digest_is_the_one_that_it_always_was(dtype: str) -> None:
    assert digest_of(dtype, (6, 100), make_weight(dtype, 6, 100)) == GOLDEN[dtype]


@pytest.mark.parametrize("dtype", GOLDEN)
@pytest.mark.parametrize("columns", [1, 7, 8, 9, 64, 100, 128, 1000, 1024, 1025])
def test_the_digest_is_that_of_the_definition(dtype: str, columns: int) -> None:
    data = make_weight(dtype, 5, columns)
    y = probe(NAME, decode(data, dtype, (5, columns), precision=np.float64))
    expected = hashlib.sha256(y.astype("<f8").tobytes()).hexdigest()
    assert digest_of(dtype, (5, columns), data) == expected


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 16, 17])
def test_blocks_of_any_size_give_the_same_digest(rows: int) -> None:
    data = make_weight("BF16", 17, 300)
    assert digest_of("BF16", (17, 300), data, rows=rows) == digest_of("BF16", (17, 300), data)


def test_y_is_near_what_a_matrix_product_gives() -> None:
    data = make_weight("F32", 20, 1000)
    rows = decode(data, "F32", (20, 1000), precision=np.float64)
    product = rows @ probe_vector(NAME, 1000)[:1000].astype(float)
    np.testing.assert_allclose(probe(NAME, rows), product, atol=1e-10)


@pytest.mark.parametrize("columns", [1, 8, 9, 4096])
def test_the_input_is_odd_24_bit_numbers_and_zeros_up_to_a_power_of_two(columns: int) -> None:
    x = probe_vector(NAME, columns)
    numbers = x.astype(float) * 2.0**24
    assert x.size == max(8, 1 << (columns - 1).bit_length())
    assert (numbers[:columns] % 2 == 1).all()
    assert (np.abs(numbers) < 2**24).all()
    assert not x[columns:].any()


def test_each_tensor_has_an_input_of_its_own() -> None:
    assert not np.isin(probe_vector("a", 100)[:100], probe_vector("b", 100)).any()


@pytest.mark.parametrize("bit", range(16))
def test_one_flipped_bit_anywhere_gives_another_digest(bit: int) -> None:
    codes = np.frombuffer(make_weight("BF16", 6, 100), "<u2").copy()
    before = digest_of("BF16", (6, 100), codes.tobytes())
    codes[37 * bit] ^= 1 << bit
    assert digest_of("BF16", (6, 100), codes.tobytes()) != before


def test_columns_after_the_first_two_dimensions_are_flattened() -> None:
    data = make_weight("F32", 4, 24)
    assert digest_of("F32", (4, 2, 3, 4), data) == digest_of("F32", (4, 24), data)


def test_every_nan_has_the_same_digest() -> None:
    codes = np.frombuffer(make_weight("F32", 2, 16), "<u4").copy()
    digests = set()
    for bad in (0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF):
        codes[5] = bad
        digests.add(digest_of("F32", (2, 16), codes.tobytes()))
    codes[5], codes[6] = 0x7F800000, 0xFF800000  # infinities of both signs
    x = probe_vector(NAME, 16)
    codes[6] ^= 0x80000000 if x[5] * x[6] < 0 else 0
    digests.add(digest_of("F32", (2, 16), codes.tobytes()))
    assert len(digests) == 1


def test_threads_do_not_show() -> None:
    data = make_weight("BF16", 40, 3000)
    with ThreadPoolExecutor(4) as pool:
        digests = set(pool.map(lambda _: digest_of("BF16", (40, 3000), data, rows=3), range(12)))
    assert digests == {digest_of("BF16", (40, 3000), data)}


@pytest.mark.parametrize("variables", [{"NUMBA_DISABLE_JIT": "1"}, {"NUMBA_CPU_NAME": "generic"}])
def test_plain_python_and_other_instructions_give_the_same_bits(variables: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **variables},
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.strip() == str(compute_goldens())


@pytest.mark.parametrize(
    ("shape", "dtype"), [((8,), "F32"), ((), "F32"), ((4, 0), "F32"), ((4, 4), "I64")]
)
def test_vectors_empty_tensors_and_other_dtypes_are_not_probed(
    shape: tuple[int, ...], dtype: str
) -> None:
    assert not is_probed(shape, dtype)
    assert is_probed((4, 4), "F16")


def test_another_dtype_is_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        LayerProbe(NAME, (2, 2), "I64")
    assert caught.value.kind == "not-mergeable"


@pytest.mark.parametrize("size", [7, 24, 4])
def test_a_block_that_does_not_end_with_a_row_is_refused(size: int) -> None:
    layer = LayerProbe(NAME, (2, 2), "F32")
    with pytest.raises(Integrity) as caught:
        layer.add(bytes(size))
    assert caught.value.kind == "size-mismatch"


def test_missing_rows_are_noticed() -> None:
    layer = LayerProbe(NAME, (2, 2), "F32")
    layer.add(bytes(8))
    with pytest.raises(Integrity) as caught:
        layer.finish()
    assert caught.value.kind == "size-mismatch"
