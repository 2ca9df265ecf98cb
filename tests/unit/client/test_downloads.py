import fcntl
import hashlib
import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from plait import downloads, wire
from plait.downloads import Downloader, Fetch, Piece, plan_segments
from plait.errors import Integrity, InvalidInput, PermissionDenied, PlaitError, Unavailable
from plait.model.address import RepositoryName
from plait.model.ids import ObjectId
from plait.partial_file import PartialFile, disk_errors
from reference.memory_transport import MemoryTransport

DATA = random.Random(1).randbytes(1000)
NAME = RepositoryName("a", "b")
EXPIRED = PermissionDenied("signed-url-expired", "Too late.")
LOST = Unavailable("registry-unreachable", "The connection was lost.")

Check = Callable[[Path], None]


@pytest.fixture(params=[False, True], ids=["any range", "signed ranges"])
def transport(request: pytest.FixtureRequest) -> MemoryTransport:
    return MemoryTransport(spans=request.param)


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "SEGMENT_SIZE", 100)


def verify(expected: bytes, path: Path) -> None:
    if path.read_bytes() != expected:
        raise Integrity("digest-mismatch", "Other bytes.")


def whole(file: str, data: bytes, destination: Path) -> Fetch:
    check = partial(verify, data)
    return Fetch(ObjectId(file), len(data), destination, [Piece(0, len(data), 0)], check)


def source(*extents: tuple[int, int, int]) -> wire.FileSource:
    size = sum(extent[2] for extent in extents)
    return wire.FileSource("f", size, [wire.Extent(*extent) for extent in extents])


def spans(file: wire.FileSource, *pieces: Piece) -> list[tuple[int, int, int]]:
    wanted = pieces or (Piece(0, file.size, 0),)
    return [(part.object, part.start, part.stop) for part in plan_segments(file, wanted)]


def test_neighbours_in_one_object_are_fetched_by_one_request() -> None:
    assert spans(source((0, 10, 5), (0, 15, 5))) == [(0, 10, 20)]


def test_a_small_gap_is_fetched_too_and_a_large_one_is_not() -> None:
    assert spans(source((0, 0, 10), (0, 25, 10))) == [(0, 0, 35)]
    assert spans(source((0, 0, 10), (0, 35, 10))) == [(0, 0, 10), (0, 35, 45)]


def test_order_in_the_file_need_not_be_that_of_the_object() -> None:
    file = source((0, 50, 10), (1, 0, 4), (0, 40, 10))
    (first, second) = plan_segments(file, [Piece(0, 24, 0)])
    assert (first.object, first.start, first.stop) == (0, 40, 60)
    assert first.parts == (Piece(40, 50, 14), Piece(50, 60, 0))
    assert second.parts == (Piece(0, 4, 10),)


def test_ranges_that_are_signed_by_themselves_are_not_fetched_together() -> None:
    assert spans(source((0, 10, 5), (1, 15, 5))) == [(0, 10, 15), (1, 15, 20)]


def test_the_same_bytes_twice_in_one_file_arrive_twice() -> None:
    file = source((0, 0, 10), (0, 0, 10))
    assert spans(file) == [(0, 0, 10), (0, 0, 10)]


def test_large_extents_are_cut(small_segments: None) -> None:
    assert spans(source((0, 0, 250))) == [(0, 0, 100), (0, 100, 200), (0, 200, 250)]


def test_a_part_of_a_file_is_found_in_its_extents() -> None:
    file = source((0, 100, 10), (1, 200, 10))
    (left, right) = plan_segments(file, [Piece(5, 15, 1000)])
    assert left.parts == (Piece(105, 110, 1000),)
    assert right.parts == (Piece(200, 205, 1005),)


def test_registry_that_knows_only_a_part_of_the_file_is_told_so() -> None:
    with pytest.raises(Unavailable):
        plan_segments(source((0, 0, 10)), [Piece(0, 11, 0)])


@pytest.mark.parametrize("cuts", [(), (10,), (1, 2, 500, 999)])
def test_files_arrive_whole(transport: MemoryTransport, tmp_path: Path, cuts: tuple[int]) -> None:
    file = transport.store(DATA, *cuts)
    received = Downloader(transport, NAME).fetch([whole(file, DATA, tmp_path / "d" / "x")])
    assert (tmp_path / "d" / "x").read_bytes() == DATA
    assert received == len(DATA)
    assert os.listdir(tmp_path / "d") == ["x"]  # noqa: PTH208 - names are compared


def test_many_files_arrive_in_batches(
    transport: MemoryTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "BATCH", 3)
    contents = [f"file {number}".encode() for number in range(8)]
    fetches = [whole(transport.store(data), data, tmp_path / data.decode()) for data in contents]
    Downloader(transport, NAME).fetch(fetches)
    assert [(tmp_path / data.decode()).read_bytes() for data in contents] == contents
    assert len(transport.calls) == 3


def test_empty_file_arrives(transport: MemoryTransport, tmp_path: Path) -> None:
    transport.files["e"] = []
    Downloader(transport, NAME).fetch([whole("e", b"", tmp_path / "x")])
    assert (tmp_path / "x").read_bytes() == b""


def test_pieces_and_preamble_make_another_file(transport: MemoryTransport, tmp_path: Path) -> None:
    file = transport.store(DATA, 300)
    expected = b"HEAD" + DATA[500:510] + DATA[290:310]
    pieces = [Piece(500, 510, 4), Piece(290, 310, 14)]
    fetch = Fetch(
        ObjectId(file), 34, tmp_path / "x", pieces, partial(verify, expected), preamble=b"HEAD"
    )
    Downloader(transport, NAME).fetch([fetch])
    assert (tmp_path / "x").read_bytes() == expected


def test_a_small_range_is_read_into_memory(transport: MemoryTransport) -> None:
    file = transport.store(DATA, 300, 310)
    assert Downloader(transport, NAME).read(ObjectId(file), 295, 320) == DATA[295:320]


def test_broken_connection_goes_on_where_it_broke(
    transport: MemoryTransport, tmp_path: Path
) -> None:
    file = transport.store(DATA)
    transport.cut = 280
    Downloader(transport, NAME).fetch([whole(file, DATA, tmp_path / "x")])
    assert [start for _, start, _ in transport.ranges] == [0, 280, 560, 840]


def test_expired_signature_is_asked_for_again(transport: MemoryTransport, tmp_path: Path) -> None:
    file = transport.store(DATA, 400)
    transport.faults = [EXPIRED, EXPIRED]
    Downloader(transport, NAME).fetch([whole(file, DATA, tmp_path / "x")])
    assert (tmp_path / "x").read_bytes() == DATA
    assert len(transport.calls) == 3


@pytest.mark.parametrize("fault", [EXPIRED, LOST])
def test_fetch_gives_up_in_the_end(
    transport: MemoryTransport, tmp_path: Path, fault: PlaitError
) -> None:
    file = transport.store(DATA)
    transport.faults = [fault] * 10
    with pytest.raises(type(fault)):
        Downloader(transport, NAME).fetch([whole(file, DATA, tmp_path / "x")])
    assert list(tmp_path.iterdir()) == []


def test_wrong_bytes_are_removed(transport: MemoryTransport, tmp_path: Path) -> None:
    file = transport.store(DATA)
    with pytest.raises(Integrity):
        Downloader(transport, NAME).fetch([whole(file, b"x" * 1000, tmp_path / "x")])
    assert list(tmp_path.iterdir()) == []


def test_interrupted_fetch_goes_on_where_it_was(
    transport: MemoryTransport, tmp_path: Path, small_segments: None
) -> None:
    file = transport.store(DATA)
    fetch = whole(file, DATA, tmp_path / "x")
    transport.faults = [None, None, None, None, *[LOST] * 20]
    with pytest.raises(Unavailable):
        Downloader(transport, NAME).fetch([fetch])
    finished = len((tmp_path / "x.ranges").read_text().splitlines()) - 1
    assert finished > 0
    transport.faults = []
    transport.ranges = []
    received = Downloader(transport, NAME).fetch([fetch])
    assert len(transport.ranges) == 10 - finished
    assert received == 1000 - 100 * finished
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_bytes() == DATA


@pytest.mark.parametrize("listed", ["1000\n0 100\n100 2", "1000\n0 100\nnonsense x\n"])
def test_torn_list_of_ranges_does_no_harm(
    transport: MemoryTransport, tmp_path: Path, small_segments: None, listed: str
) -> None:
    file = transport.store(DATA)
    (tmp_path / "x.partial").write_bytes(DATA[:100] + bytes(900))
    (tmp_path / "x.ranges").write_text(listed)
    Downloader(transport, NAME).fetch([whole(file, DATA, tmp_path / "x")])
    assert (tmp_path / "x").read_bytes() == DATA


def test_spoiled_leftover_is_thrown_away_and_fetched_anew(
    transport: MemoryTransport, tmp_path: Path, small_segments: None
) -> None:
    file = transport.store(DATA)
    (tmp_path / "x.partial").write_bytes(bytes(1000))
    (tmp_path / "x.ranges").write_text("1000\n0 100\n")
    Downloader(transport, NAME).fetch([whole(file, DATA, tmp_path / "x")])
    assert (tmp_path / "x").read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_second_process_takes_another_name(
    transport: MemoryTransport, tmp_path: Path, small_segments: None
) -> None:
    file = transport.store(DATA)
    with (tmp_path / "x.partial").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        Downloader(transport, NAME).fetch([whole(file, DATA, tmp_path / "x")])
        assert (tmp_path / "x").read_bytes() == DATA
        assert (tmp_path / "x.partial").read_bytes() == b""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "x.partial"]


def test_full_disk_says_what_to_do(tmp_path: Path) -> None:
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(Unavailable, match="PLAIT_CACHE_DIR") as caught,
        disk_errors(tmp_path),
    ):
        full.write(b"x")
    assert caught.value.kind == "disk-full"


def test_destination_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="file"):
        PartialFile.open(tmp_path / "file" / "x", 1, resumable=False)


def test_longest_names_are_fetched(
    transport: MemoryTransport, tmp_path: Path, small_segments: None
) -> None:
    destination = tmp_path / ("x" * 255)
    Downloader(transport, NAME).fetch([whole(transport.store(DATA), DATA, destination)])
    assert list(tmp_path.iterdir()) == [destination]


def test_refused_content_is_removed_too(tmp_path: Path) -> None:
    target = PartialFile.open(tmp_path / "x", 4, resumable=True)

    def refuse(_: Path) -> None:
        raise InvalidInput("invalid-safetensors", "No.")

    with pytest.raises(InvalidInput):
        target.finish(refuse)
    target.close()
    assert list(tmp_path.iterdir()) == []


def test_digest_in_the_test_is_that_of_the_data(transport: MemoryTransport) -> None:
    assert transport.store(DATA, 5) == hashlib.sha256(DATA).hexdigest()
