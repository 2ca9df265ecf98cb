"""The merge on a real GPU: the bits of the processor, and refusals that name their cause."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
if not torch.cuda.is_available():
    pytest.skip("there is no CUDA device", allow_module_level=True)

from plait.algebra.exact_merge import ProductTerm, WeightKind  # noqa: E402
from plait.algebra.merge_on_cpu import CpuMerge  # noqa: E402
from plait.algebra.merge_on_cuda import CudaMerge  # noqa: E402
from plait.algebra.merge_self_test import GOLDEN, digest_cases  # noqa: E402
from plait.errors import InvalidInput, Unavailable  # noqa: E402
from plait.merge import MergeOptions, MergeSource, merge  # noqa: E402

pytestmark = [pytest.mark.gpu, pytest.mark.torch]
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
GOLDEN_FILE = SHARED / "golden-merge-fp64-v1.json"
DTYPES = {"F32": ("<u4", 0x7F800000), "BF16": ("<u2", 0x7F80), "F16": ("<u2", 0x7C00)}


def make_weight(dtype: str, rows: int, columns: int, rng: np.random.Generator) -> bytes:
    """Return finite numbers of all exponents, subnormals and both zeros among them."""
    codes, exponent = DTYPES[dtype]
    width = 8 * np.dtype(codes).itemsize
    drawn = rng.integers(0, 1 << width, rows * columns, dtype=np.uint64)
    drawn[(drawn & exponent) == exponent] = 1 << (width - 1)
    return drawn.astype(codes).tobytes()


def make_term(rows: int, columns: int, rank: int, rng: np.random.Generator) -> ProductTerm:
    scales = 2.0 ** rng.integers(-40, 40, rank)
    left = (rng.standard_normal((rows, rank)) * scales).astype(np.float32)
    right = (rng.standard_normal((rank, columns)) / scales[:, None]).astype(np.float32)
    return ProductTerm(left, right, float(rng.standard_normal()))


@pytest.mark.parametrize("uses_tensor_cores", [True, False])
def test_self_test_has_its_golden_digest(uses_tensor_cores: bool) -> None:  # noqa: FBT001
    assert digest_cases(CudaMerge.find(tensor_cores=uses_tensor_cores)) == GOLDEN


@pytest.mark.parametrize("uses_tensor_cores", [True, False])
@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_random_merges_have_the_bits_of_the_processor(
    dtype: str,
    uses_tensor_cores: bool,  # noqa: FBT001
) -> None:
    gpu, cpu = CudaMerge.find(tensor_cores=uses_tensor_cores), CpuMerge()
    for seed, (rank, terms) in enumerate(product((1, 3, 8, 16, 17, 33, 64, 128), (1, 2, 3))):
        rng = np.random.default_rng(seed)
        rows, columns = (int(size) for size in rng.integers(1, 300, 2))
        kind = WeightKind("W", dtype, rows, columns)
        weight = memoryview(make_weight(dtype, rows, columns, rng))
        added = [make_term(rows, columns, rank + index, rng) for index in range(terms)]
        one, other = (bytes(device.open(kind, added)(weight, 0)) for device in (gpu, cpu))
        assert one == other, (seed, rank, terms, rows, columns)


def test_blocks_of_any_size_give_the_same_bits() -> None:
    rng = np.random.default_rng(5)
    kind = WeightKind("W", "BF16", 67, 130)
    weight = memoryview(make_weight("BF16", 67, 130, rng))
    open_rows = CudaMerge.find().open(kind, [make_term(67, 130, 20, rng)])
    whole = bytes(open_rows(weight, 0))
    parts = [
        bytes(open_rows(weight[first * kind.row_size : (first + 13) * kind.row_size], first))
        for first in range(0, 67, 13)
    ]
    assert b"".join(parts) == whole


def test_weight_that_is_not_finite_is_refused_by_name() -> None:
    rng = np.random.default_rng(6)
    codes = np.frombuffer(make_weight("BF16", 40, 40, rng), "<u2").copy()
    codes[777] = 0x7F80
    merge_rows = CudaMerge.find().open(
        WeightKind("model.up_proj.weight", "BF16", 40, 40), [make_term(40, 40, 4, rng)]
    )
    with pytest.raises(InvalidInput, match=r"model\.up_proj\.weight"):
        merge_rows(memoryview(codes.tobytes()), 0)


def test_full_gpu_takes_smaller_pieces_and_then_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    kind = WeightKind("W", "F32", 64, 50)
    weight = memoryview(make_weight("F32", 64, 50, rng))
    term = make_term(64, 50, 4, rng)
    expected = bytes(CpuMerge().open(kind, [term])(weight, 0))
    merge_rows = CudaMerge.find().open(kind, [term])
    room = torch.empty_like
    monkeypatch.setattr(torch, "empty_like", lambda like: _only_with_room(room, like, rows=5))
    assert bytes(merge_rows(weight, 0)) == expected
    monkeypatch.setattr(torch, "empty_like", lambda like: _only_with_room(room, like, rows=0))
    with pytest.raises(Unavailable, match="no memory left"):
        merge_rows(weight, 0)


def _only_with_room(make, like, *, rows: int):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    if like.shape[0] > rows:
        raise torch.cuda.OutOfMemoryError
    return make(like)


@pytest.mark.skipif(not GOLDEN_FILE.is_file(), reason="needs ../shared/data beside the checkout")
def test_real_adapters_have_the_golden_digests() -> None:
    recorded: dict[str, Any] = json.loads(GOLDEN_FILE.read_text())["merged"]
    single = {name: merged for name, merged in recorded.items() if ":" not in name}
    for name, golden in single.items():
        family, _, rest = name.partition("/")
        folder = SHARED / family / (rest if rest.startswith("adapters") else f"adapters/{rest}")
        options = MergeOptions(SHARED / family / "base", device="cuda", threads=2)
        merged = merge([MergeSource(name, folder)], options)
        assert merged.digests.root == golden["root"], name
        assert merged.digests.tensors == golden["tensors"], name
