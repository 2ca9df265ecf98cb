import hashlib
from pathlib import Path

import pytest

from plait.errors import InvalidInput, PlaitError, TooLarge
from plait.model.digesting import FileDigester, digest_file
from plait.model.paths import FilePath
from plait.model.safetensors_layout import TensorRange
from reference.safetensors_writer import assemble, entry, read_by_library, write

WEIGHTS = FilePath("adapter_model.safetensors")
TEXT = FilePath("README.md")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_ordinary_file_has_a_digest_and_no_tensors() -> None:
    file = digest_file(TEXT, 5, [b"he", memoryview(b"l"), b"", b"lo"])
    assert (file.path, file.size, file.sha256, file.tensors) == (TEXT, 5, sha256(b"hello"), None)


def test_empty_file_is_a_file() -> None:
    assert digest_file(TEXT, 0, []).sha256 == sha256(b"")


def test_every_tensor_of_a_safetensors_file_has_its_own_digest() -> None:
    data = write({"a": ("U8", [3], b"abc"), "none": ("F32", [0], b""), "b": ("U8", [2], b"de")})
    table = digest_file(WEIGHTS, len(data), [data]).tensors
    assert table is not None
    start = len(data) - 5
    assert table.header_sha256 == sha256(data[:start])
    assert [(t.name, t.offset, t.size, t.sha256) for t in table.entries] == [
        ("a", start, 3, sha256(b"abc")),
        ("none", start + 3, 0, sha256(b"")),
        ("b", start + 3, 2, sha256(b"de")),
    ]


def test_safetensors_file_without_tensors_has_an_empty_table() -> None:
    data = assemble({"__metadata__": {"a": "b"}})
    table = digest_file(WEIGHTS, len(data), [data]).tensors
    assert table is not None
    assert (table.header_sha256, table.entries) == (sha256(data), ())


def test_observer_sees_the_bytes_of_every_tensor_in_order() -> None:
    seen: list[tuple[str, bytes]] = []

    def observe(tensor: TensorRange, piece: memoryview) -> None:
        seen.append((tensor.name, bytes(piece)))

    data = write({"a": ("U8", [3], b"abc"), "none": ("F32", [0], b""), "b": ("U8", [2], b"de")})
    digest_file(WEIGHTS, len(data), [data[:-4], data[-4:]], observe=observe)
    assert seen == [("a", b"a"), ("a", b"bc"), ("b", b"de")]


def test_observer_that_refuses_ends_the_reading() -> None:
    def observe(tensor: TensorRange, piece: memoryview) -> None:
        raise InvalidInput("tensor-not-finite", tensor.name)

    data = write({"a": ("U8", [1], b"x")})
    with pytest.raises(InvalidInput, match="a"):
        digest_file(WEIGHTS, len(data), [data], observe=observe)


@pytest.mark.parametrize("path", [TEXT, WEIGHTS])
def test_file_that_ends_early_is_refused(path: FilePath) -> None:
    data = write({"a": ("U8", [4], b"abcd")})
    for length in range(len(data)):
        with pytest.raises(InvalidInput) as caught:
            digest_file(path, len(data), [data[:length]])
        assert caught.value.kind == "file-changed"


@pytest.mark.parametrize("path", [TEXT, WEIGHTS])
def test_file_that_goes_on_is_refused(path: FilePath) -> None:
    data = write({"a": ("U8", [4], b"abcd")})
    digester = FileDigester(path, len(data))
    digester.update(data)
    with pytest.raises(InvalidInput, match="is longer than") as caught:
        digester.update(b"x")
    assert caught.value.kind == "file-changed"


@pytest.mark.parametrize("size", range(8))
def test_file_too_short_for_a_header_is_refused(size: int) -> None:
    with pytest.raises(InvalidInput, match="shorter than the 8 bytes") as caught:
        digest_file(WEIGHTS, size, [bytes(size)])
    assert caught.value.kind == "invalid-safetensors"


def test_truncated_file_is_refused_as_soon_as_its_header_is_read() -> None:
    data = write({"a": ("U8", [100], bytes(100))})
    digester = FileDigester(WEIGHTS, len(data) - 1)
    with pytest.raises(InvalidInput, match="is truncated"):
        digester.update(data[:-100])


def test_huge_header_is_refused_from_its_first_eight_bytes() -> None:
    digester = FileDigester(WEIGHTS, 2**40)
    with pytest.raises(TooLarge):
        digester.update((2**63).to_bytes(8, "little"))


@pytest.mark.parametrize(
    "data",
    [
        assemble(b""),
        assemble({}, b"x"),
        assemble({}, length=100),
        assemble({"a": entry("U8", [2], 0, 1)}, b"x"),
        assemble(b"[" * 1000),
    ],
)
def test_broken_file_is_refused_in_one_piece_and_byte_by_byte(data: bytes) -> None:
    for pieces in ([data], [data[i : i + 1] for i in range(len(data))]):
        with pytest.raises(PlaitError) as caught:
            digest_file(WEIGHTS, len(data), pieces)
        assert caught.value.kind in {"invalid-safetensors", "invalid-json"}


def test_real_adapter_is_described_as_the_safetensors_library_sees_it(micro_data: Path) -> None:
    for path in sorted(micro_data.rglob("adapter_model.safetensors")):
        data = path.read_bytes()
        file = digest_file(WEIGHTS, len(data), [data])
        assert file.tensors is not None
        assert file.sha256 == sha256(data)
        assert {
            tensor.name: (tensor.dtype, tensor.shape, tensor.sha256)
            for tensor in file.tensors.entries
        } == {
            name: (dtype, shape, sha256(content))
            for name, (dtype, shape, content) in read_by_library(data).items()
        }
