"""Merges against the plain reference on numbers of every kind, and single bits flipped."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from plait.algebra.merge_on_cpu import CpuMerge
from plait.errors import PlaitError
from plait.merge import Merged, MergeOptions, MergeSource, merge
from reference import exact_merges, safetensors_writer
from reference.made_merges import CASES, PREFIX, Case, lora, make_case, numbers

CODES = {"F32": ("<u4", 0x7F800000), "BF16": ("<u2", 0x7F80), "F16": ("<u2", 0x7C00)}
DTYPES = st.sampled_from(sorted(CODES))
WEIGHTS = st.floats(-8.0, 8.0).filter(lambda weight: abs(weight) > 1e-300) | st.sampled_from(
    [1.0, -1.0, 1e-30, 1e30, 5e-324]
)
CASE_NAMES = st.sampled_from(sorted(name for name in CASES if not name.startswith("pissa-by")))

ADDING = st.sampled_from(
    sorted(
        name
        for name, make in CASES.items()
        if getattr(make().base.get("q.weight"), "shape", None) == (20, 13) and make().weight != 1.0
    )
)
"""The cases whose adapters all change a weight of one shape, and can be weighted."""


@dataclass(frozen=True)
class Drawn:
    """Several adapters for one weight, by what their numbers are made from."""

    base_dtype: str
    shape: tuple[int, int]
    is_transposed: bool
    seed: int
    adapters: list[tuple[str, int, int, float]]
    """dtype, rank, alpha and weight of each."""

    @contextmanager
    def write(self) -> Iterator[tuple[Path, list[tuple[Path, float]]]]:
        """Write base and adapters; give their folders, and the weights."""
        rng = np.random.default_rng(self.seed)
        out, width = self.shape
        stored = (width, out) if self.is_transposed else (out, width)
        with tempfile.TemporaryDirectory() as name:
            base = Path(name) / "base"
            write_codes(base, {"q.weight": (self.base_dtype, stored)}, rng)
            folders = []
            for number, (dtype, rank, alpha, weight) in enumerate(self.adapters):
                folder = Path(name) / str(number)
                shapes = {"A": (rank, width), "B": (out, rank)}
                write_codes(
                    folder,
                    {f"{PREFIX}q.lora_{k}.weight": (dtype, s) for k, s in shapes.items()},
                    rng,
                )
                config = lora(rank, lora_alpha=alpha, fan_in_fan_out=self.is_transposed)
                (folder / "adapter_config.json").write_text(json.dumps(config))
                folders.append((folder, weight))
            yield base, folders


DRAWN = st.builds(
    Drawn,
    DTYPES,
    st.tuples(st.integers(1, 9), st.integers(1, 20) | st.integers(505, 520)),
    st.booleans(),
    st.integers(0, 2**32),
    st.lists(
        st.tuples(DTYPES, st.integers(1, 9), st.integers(1, 64), WEIGHTS), min_size=1, max_size=3
    ),
)


def write_codes(
    folder: Path, shapes: dict[str, tuple[str, tuple[int, ...]]], rng: np.random.Generator
) -> None:
    """Write tensors of any finite numbers: subnormal ones, zeros, and the largest among them."""
    folder.mkdir()
    contents = {
        name: (dtype, shape, draw_codes(rng, dtype, shape).tobytes())
        for name, (dtype, shape) in shapes.items()
    }
    (folder / "model.safetensors").write_bytes(safetensors_writer.write(contents))


def draw_codes(
    rng: np.random.Generator, dtype: str, shape: tuple[int, ...]
) -> NDArray[np.unsignedinteger]:
    code, exponent = CODES[dtype]
    width = 8 * np.dtype(code).itemsize
    codes = rng.integers(0, 1 << width, shape, dtype=np.uint64).astype(code)
    codes[rng.random(shape) < 0.1] &= np.array((1 << (width - 1)) | 3, code)  # the smallest
    codes[(codes & exponent) == exponent] &= np.array(~(exponent // 3) % (1 << width), code)
    codes[(codes & exponent) == exponent] = 0
    return codes


def attempt(base: Path, adapters: Sequence[tuple[Path, float]]) -> Merged | PlaitError:
    """Merge, or return what was wrong."""
    try:
        return carry_out(base, adapters)
    except PlaitError as error:
        return error


def carry_out(base: Path, adapters: Sequence[tuple[Path, float]], *, threads: int = 1) -> Merged:
    sources = [MergeSource("team/adapter", folder, weight) for folder, weight in adapters]
    return merge(sources, MergeOptions(base, device="cpu", threads=threads))


@settings(max_examples=80)
@given(DRAWN, st.integers(1, 5_000), st.integers(1, 3))
def test_any_numbers_merge_as_the_reference_says(drawn: Drawn, block: int, threads: int) -> None:
    with drawn.write() as (base, adapters), pytest.MonkeyPatch.context() as patch:
        patch.setattr(CpuMerge, "block_size", block)
        merged = carry_out(base, adapters, threads=threads)
        assert merged.digests.root == exact_merges.merge(base, adapters)[0]


@settings(max_examples=50)
@given(st.lists(ADDING, min_size=2, max_size=3), st.data())
def test_adapters_of_any_families_add_up(names: list[str], data: st.DataObject) -> None:
    cases = [CASES[name]() for name in names]
    tensors = {name: values for case in cases for name, values in case.base.items()}
    with tempfile.TemporaryDirectory() as name:
        base, _ = replace(cases[0], base=tensors).write(Path(name))
        adapters = [
            (case.write(Path(name) / str(number))[1], data.draw(WEIGHTS, label="weight"))
            for number, case in enumerate(cases)
        ]
        merged = carry_out(base, adapters)
        assert merged.digests.root == exact_merges.merge(base, adapters)[0]


def flip(folder: Path, place: int, bit: int) -> str:
    """Flip one bit of the tensors of a folder, and return the name of the changed one."""
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    offset = place % (len(data) - start)
    data[start + offset] ^= 1 << bit
    path.write_bytes(data)
    for name, entry in json.loads(data[8:start]).items():
        if entry["data_offsets"][0] <= offset < entry["data_offsets"][1]:
            return str(name)
    raise AssertionError("no tensor is there")


@cache
def merge_intact(name: str) -> Merged:
    return merge_case(CASES[name]())


def merge_case(case: Case, weight: float | None = None) -> Merged:
    with tempfile.TemporaryDirectory() as name:
        base, adapter = case.write(Path(name))
        return carry_out(base, [(adapter, weight or case.weight)])


@contextmanager
def flipped(case: Case, *, side: str, place: int, bit: int) -> Iterator[tuple[Path, Path, str]]:
    with tempfile.TemporaryDirectory() as name:
        base, adapter = case.write(Path(name))
        tensor = flip(base if side == "base" else adapter, place, bit)
        yield base, adapter, tensor


@settings(max_examples=60)
@given(CASE_NAMES, st.integers(0), st.integers(0, 7))
def test_flipped_bit_of_the_base_changes_that_tensor_alone(name: str, place: int, bit: int) -> None:
    case, intact = CASES[name](), merge_intact(name)
    with flipped(case, side="base", place=place, bit=bit) as (base, adapter, tensor):
        merged = attempt(base, [(adapter, case.weight)])
    if isinstance(merged, PlaitError):
        assert merged.kind == "tensor-not-finite"
        assert tensor.rpartition(".")[0] in merged.message
        return
    assert merged.base != intact.base
    differing = merged.digests.find_differences(intact.digests)
    assert differing == [tensor] or (tensor in merged.changed and differing == [])


@settings(max_examples=60)
@given(CASE_NAMES, st.integers(0), st.integers(0, 7))
def test_flipped_bit_of_an_adapter_changes_its_module_alone(
    name: str, place: int, bit: int
) -> None:
    case, intact = CASES[name](), merge_intact(name)
    with flipped(case, side="adapter", place=place, bit=bit) as (base, adapter, tensor):
        merged = attempt(base, [(adapter, case.weight)])
    if isinstance(merged, PlaitError):
        assert merged.kind == "tensor-not-finite"
        assert tensor in merged.message
        return
    module = tensor.removeprefix(PREFIX).partition(".")[0]
    differing = merged.digests.find_differences(intact.digests)
    is_shared = module == "base_model"
    assert all(is_shared or item.partition(".")[0] == module for item in differing)
    assert merged.base == intact.base


@pytest.mark.parametrize("side", ["base", "A", "B"])
@settings(max_examples=40)
@given(place=st.integers(0), bit=st.integers(0, 7))
def test_flipped_bit_that_is_not_rounded_away_is_always_found(
    side: str, place: int, bit: int
) -> None:
    # W + 0 A, 0 + 1 A or 0 + B 1: every bit of a factor stands in the outcome.
    ones, zeros = np.ones((5, 1), np.float32), np.zeros((5, 7), np.float32)
    case = Case(
        base={"q.weight": zeros, "k.weight": zeros, "v.weight": numbers(5, 7, seed=3)},
        adapter={
            f"{PREFIX}q.lora_A.weight": numbers(1, 7, seed=1),
            f"{PREFIX}q.lora_B.weight": ones,
            f"{PREFIX}k.lora_A.weight": np.ones((1, 7), np.float32),
            f"{PREFIX}k.lora_B.weight": numbers(5, 1, seed=2),
            f"{PREFIX}v.lora_A.weight": np.zeros((1, 7), np.float32),
            f"{PREFIX}v.lora_B.weight": ones,
        },
        config=lora(1, lora_alpha=1),
    )
    chosen = {"base": "v.weight", "A": f"{PREFIX}q.lora_A.weight", "B": f"{PREFIX}k.lora_B.weight"}
    intact = merge_case(case, 1.0)
    with tempfile.TemporaryDirectory() as name:
        base, adapter = case.write(Path(name))
        folder = base if side == "base" else adapter
        tensor = flip(folder, place_of(folder, chosen[side], place), bit)
        assert tensor == chosen[side]
        module = tensor.removeprefix(PREFIX).partition(".")[0]
        merged = attempt(base, [(adapter, 1.0)])
    if isinstance(merged, PlaitError):
        assert merged.kind == "tensor-not-finite"
        assert tensor in merged.message
    else:
        assert merged.digests.find_differences(intact.digests) == [f"{module}.weight"]


def place_of(folder: Path, tensor: str, place: int) -> int:
    """Return a place of the tensors' data that lies in one of them."""
    data = (folder / "model.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    begin, end = header[tensor]["data_offsets"]
    return int(begin) + place % int(end - begin)


@settings(max_examples=60)
@given(st.integers(0), st.integers(0, 7))
def test_flipped_bit_of_a_header_is_refused(place: int, bit: int) -> None:
    case = make_case(
        lora(3),
        {"q.weight": (20, 13)},
        {"q.lora_A.weight": (3, 13), "q.lora_B.weight": (20, 3)},
    )
    with tempfile.TemporaryDirectory() as name:
        base, adapter = case.write(Path(name))
        path = adapter / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[place % (8 + int.from_bytes(data[:8], "little"))] ^= 1 << bit
        path.write_bytes(data)
        assert isinstance(attempt(base, [(adapter, case.weight)]), PlaitError)
