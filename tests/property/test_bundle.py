"""Whatever happens to a bundle's bytes is noticed, and whatever goes in comes out."""

import functools
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.bundle.verify import verify_bundle
from plait.errors import PlaitError
from reference.bundles import KIB, MemorySource, bundle, make_history, noise

QUICK = settings(max_examples=60, deadline=None)


@functools.cache
def intact(*, incremental: bool) -> bytes:
    """Return a bundle that has members of every kind."""
    source = make_history()
    second = source.commits[source.refs["main"].target].commit.parents[0]
    with tempfile.TemporaryDirectory() as folder:
        since = [second] if incremental else []
        return bundle(source, Path(folder) / "x", since=since).path.read_bytes()


def verify(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(data)
        verify_bundle(path)


@QUICK
@given(data=st.data(), incremental=st.booleans(), change=st.integers(1, 255))
def test_no_byte_can_change(*, data: st.DataObject, incremental: bool, change: int) -> None:
    spoilt = bytearray(intact(incremental=incremental))
    # Headers, documents and the end are a small part of all bytes, and the more interesting one.
    position = data.draw(
        st.one_of(
            st.integers(0, len(spoilt) - 1),
            st.integers(0, 12_000),
            st.integers(len(spoilt) - 6_000, len(spoilt) - 1),
        ).map(lambda at: min(at, len(spoilt) - 1))
    )
    spoilt[position] ^= change
    with pytest.raises(PlaitError):
        verify(bytes(spoilt))


@QUICK
@given(data=st.data(), incremental=st.booleans())
def test_no_byte_can_be_taken_out_or_put_in(*, data: st.DataObject, incremental: bool) -> None:
    whole = intact(incremental=incremental)
    begin = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(begin, min(len(whole), begin + 2_000)))
    put = data.draw(st.binary(max_size=600))
    spoilt = whole[:begin] + put + whole[end:]
    if spoilt == whole:
        verify(spoilt)
        return
    with pytest.raises(PlaitError):
        verify(spoilt)


@QUICK
@given(incremental=st.booleans(), size=st.integers(0, 240_000))
def test_no_beginning_passes_for_all(*, incremental: bool, size: int) -> None:
    whole = intact(incremental=incremental)
    with pytest.raises(PlaitError):
        verify(whole[: size % len(whole)])


# Some tensors are as large as the smallest saving, so that every decision of the plan comes up.
tensors = st.dictionaries(
    st.sampled_from("abcdef"),
    st.tuples(st.sampled_from([0, 1, 700, 40 * KIB, 70 * KIB]), st.integers(0, 3)),
    min_size=1,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(tensors, min_size=1, max_size=5), st.data())
def test_every_byte_that_is_carried_comes_out_and_none_is_carried_twice(
    versions: list[dict[str, tuple[int, int]]], data: st.DataObject
) -> None:
    source = MemorySource()
    parents: list[str] = []
    for number, version in enumerate(versions):
        held = {name: noise(size, seed) for name, (size, seed) in version.items()}
        parents.append(source.commit(f"version {number}", *parents[-1:], **held))  # type: ignore[arg-type]
    since = data.draw(st.sampled_from([None, *parents[:-1]]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        bundle(source, path, since=[] if since is None else [since])
        archive = path.read_bytes()
        verified = verify_bundle(path)
    for digest, places in verified.files.items():
        content = source.contents[digest]
        assert places.size == len(content)
        position = 0
        for piece in places.pieces:
            assert piece.begin == position
            position = piece.end
            if piece.at is not None:
                found = archive[piece.at : piece.at + piece.end - piece.begin]
                assert found == content[piece.begin : piece.end]
        assert position == len(content)
    assert since is not None or verified.files.keys() == source.contents.keys()
    assert since is not None or verified.files_in_part == 0
    carried = sum(end - begin for file in verified.contents.files for begin, end in file.carried)
    assert carried <= sum(places.size for places in verified.files.values())
