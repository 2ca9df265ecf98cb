"""Quantised weights stand for the numbers that bitsandbytes said when the files were written.

bitsandbytes 0.50.2 quantised tensors of the demo's base into `quantised/*/model.safetensors`, with
plain and nested scales, in blocks of 64 and of 128, from bfloat16, float16 and float32, of an odd
count of elements, and stored as bfloat16. `quantised/digests.json` holds the sha256 of what it
dequantised from them. No digest is ever edited to make a test pass: where one differs, the
arithmetic changed, and `plait.model.quantization.DEFINITION` has to change with it.
"""

import hashlib
import json
from pathlib import Path

import pytest

from plait.quantised_base import open_weights

FOLDER = Path(__file__).parent / "quantised"
DIGESTS: dict[str, dict[str, str]] = json.loads((FOLDER / "digests.json").read_text())


@pytest.mark.timeout(300)  # kernels are compiled the first time
@pytest.mark.parametrize("name", DIGESTS)
def test_quantised_weights_give_their_golden_numbers(name: str) -> None:
    files = open_weights(FOLDER / name, dequantise=True)
    found = {
        tensor: hashlib.sha256(files.read_bytes(tensor)).hexdigest() for tensor in files.places
    }
    assert found == DIGESTS[name]
