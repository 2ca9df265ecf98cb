import hashlib
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from plait.errors import PlaitError
from plait.model.digesting import digest_file
from plait.model.manifest import Manifest
from plait.model.paths import FilePath
from plait.model.safetensors_layout import TensorRange
from reference.safetensors_writer import read_by_library, write
from reference.strategies import tensor_maps

WEIGHTS = FilePath("adapter_model.safetensors")


def cut_up(data: bytes, cuts: list[int]) -> list[bytes | memoryview]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    pieces = [data[begin:end] for begin, end in pairwise(places)]
    return [memoryview(piece) if len(piece) % 2 else piece for piece in pieces]


cuts = st.lists(st.integers(0, 2_000), max_size=12)


@given(tensors=tensor_maps, cuts=cuts)
def test_any_chunking_gives_what_hashlib_and_the_library_say(
    tensors: dict[str, Any], cuts: list[int]
) -> None:
    data = write(tensors, {"format": "pt"})
    observed: dict[str, bytes] = {}

    def observe(tensor: TensorRange, piece: memoryview) -> None:
        observed[tensor.name] = observed.get(tensor.name, b"") + bytes(piece)

    file = digest_file(WEIGHTS, len(data), cut_up(data, cuts), observe=observe)
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    assert file.tensors is not None
    seen = read_by_library(data)
    assert {tensor.name: tensor.sha256 for tensor in file.tensors.entries} == {
        name: hashlib.sha256(content).hexdigest() for name, (_, _, content) in seen.items()
    }
    for tensor in file.tensors.entries:
        dtype, shape, content = seen[tensor.name]
        assert (tensor.dtype, tensor.shape) == (dtype, shape)
        assert data[tensor.offset : tensor.offset + tensor.size] == content
    assert observed == {name: content for name, (_, _, content) in seen.items() if content}
    Manifest.of([file])


@given(tensors=tensor_maps)
def test_byte_by_byte_gives_the_same_as_at_once(tensors: dict[str, Any]) -> None:
    data = write(tensors)
    single = [data[i : i + 1] for i in range(len(data))]
    assert digest_file(WEIGHTS, len(data), single) == digest_file(WEIGHTS, len(data), [data])


@given(junk=st.binary(max_size=40), cuts=cuts, prefix=st.integers(0, 40))
def test_any_bytes_at_all_are_described_or_refused(
    junk: bytes, cuts: list[int], prefix: int
) -> None:
    for data in (junk, prefix.to_bytes(8, "little") + b"{" + junk):
        answers = []
        for pieces in ([data], cut_up(data, cuts)):
            try:
                answers.append(str(digest_file(WEIGHTS, len(data), pieces)))
            except PlaitError as error:
                answers.append(f"{error.kind}: {error.message}")
        assert answers[0] == answers[1]
