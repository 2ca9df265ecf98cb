"""The state that bitsandbytes keeps beside a 4-bit weight, and what is none."""

import json
from typing import Any

import pytest

from plait.errors import InvalidInput
from plait.model.quant_state import QuantState, parse_quant_state
from plait.model.quantization import QuantizedWeight, Scheme

PLAIN = QuantizedWeight("m.weight", Scheme.NF4, {"codes": "m.weight", "absmax": "m.absmax"})
NESTED = QuantizedWeight("m.weight", Scheme.NF4, {**PLAIN.parts, "nested_absmax": "m.nested"})
HELD = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [128, 352]}
HELD_NESTED = {
    **HELD,
    "nested_blocksize": 256,
    "nested_dtype": "float32",
    "nested_offset": 0.23633505403995514,
}


def test_plain_state_is_read() -> None:
    state = parse_quant_state(PLAIN, json.dumps(HELD).encode())
    assert state == QuantState("BF16", (128, 352), 64, None, 0.0)
    assert state.count == 45056
    assert state.blocks == 704


def test_nested_state_is_read() -> None:
    state = parse_quant_state(NESTED, json.dumps(HELD_NESTED).encode())
    assert state == QuantState("BF16", (128, 352), 64, 256, 0.23633505403995514)


def test_a_last_block_may_be_short() -> None:
    assert QuantState("F32", (5, 13), 64, None, 0.0).blocks == 2


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"quant_type": "fp4"}, "is that of 'fp4', not nf4"),
        ({"quant_type": None}, "is that of None"),
        ({"dtype": "float64"}, "has the dtype 'float64'"),
        ({"blocksize": 48}, "has blocks of 48 elements"),
        ({"blocksize": True}, "has blocks of True elements"),
        ({"shape": None}, "has the shape None"),
        ({"shape": []}, r"has the shape \[\]"),
        ({"shape": [0, 4]}, r"has the shape \[0, 4\]"),
        ({"shape": [-1, 4]}, r"has the shape \[-1, 4\]"),
        ({"shape": [2.0, 4]}, "has the shape"),
        ({"shape": [2**40, 2**40]}, "has a shape of over"),
        ({"nested_blocksize": None}, "has blocks of None elements"),
        ({"nested_dtype": "float16"}, "has the nested dtype 'float16'"),
        ({"nested_offset": "0.5"}, "has '0.5' as nested_offset"),
        ({"nested_offset": 1e39}, "has 1e[+]39 as nested_offset"),
        ({"dtype": ["float32"]}, "has the dtype"),
    ],
)
def test_a_state_that_bitsandbytes_does_not_write_is_refused(
    changed: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        parse_quant_state(NESTED, json.dumps(HELD_NESTED | changed).encode())
    assert caught.value.kind == "not-mergeable"
    assert caught.value.details["tensor"] == "m.weight"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "is no JSON"),
        (b"[1]", "is no JSON object"),
        (b'{"a": 1, "a": 2}', "is no JSON"),
        (b" " * 10_001, "has 10001 bytes"),
    ],
)
def test_bytes_that_are_no_state_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        parse_quant_state(PLAIN, data)
