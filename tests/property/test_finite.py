from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from plait.algebra.arrays import decode
from plait.algebra.finite import FiniteCheck
from plait.errors import InvalidInput
from plait.model.safetensors_layout import TensorRange

WIDTHS = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E4M3FNUZ": 1,
    "F8_E5M2FNUZ": 1,
    "F8_E8M0": 1,
}


def find_not_finite(data: bytes, tensor: TensorRange, cuts: list[int]) -> int | None:
    check = FiniteCheck()
    bounds = [0, *sorted(cut % len(data) for cut in cuts), len(data)]
    try:
        for start, end in pairwise(bounds):
            check(tensor, memoryview(data)[start:end])
    except InvalidInput as error:
        index: int = error.details["index"]
        return index
    return None


@given(
    dtype=st.sampled_from(sorted(WIDTHS)),
    numbers=st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=30),
    cuts=st.lists(st.integers(0, 10_000), max_size=6),
    infinities=st.sets(st.integers(0, 29)),
)
def test_the_first_number_that_decodes_to_nan_or_infinity_is_found(
    dtype: str, numbers: list[bytes], cuts: list[int], infinities: set[int]
) -> None:
    width = WIDTHS[dtype]
    # The exponent is in the upper bytes: all ones there make a NaN in every format.
    elements = [
        b"\xff" * width if index in infinities else number[:width]
        for index, number in enumerate(numbers)
    ]
    data = b"".join(elements)
    shape = (len(elements),)
    values = decode(data, dtype, shape, precision=np.float64)
    bad = [index for index, value in enumerate(values) if not np.isfinite(value)]
    tensor = TensorRange("t", dtype, shape, 0, len(data))
    assert find_not_finite(data, tensor, cuts) == (bad[0] if bad else None)
