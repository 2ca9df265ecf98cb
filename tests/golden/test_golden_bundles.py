"""Bundles as the first version wrote them: every later one must read them the same.

They are never written anew. That today's writer still makes the same bytes is no promise, but is
checked as well: whoever changes it should know.
"""

import hashlib
from pathlib import Path

import pytest

from plait.bundle.verify import verify_bundle
from plait.model.ids import CommitId
from plait.model.refs import Ref, RefKind, RefName
from reference.bundles import MemorySource, bundle

GOLDEN = Path(__file__).parent / "bundles"
DIGESTS = {
    "complete": "dd2072be992c4559e945ff4df0ba54e42b6c56657c888636e95aa78164719ae2",
    "since-second": "50162de33e0f5485201a21d557c5824f5e28793e7f6fbd7436df0fc8f1012f5a",
}
FIRST = CommitId("9d1dff79a187d9bd43c7253fa17379c5a47c7c434008b3b085f994dfe886bb2e")
SECOND = CommitId("a47ed344d6106569458ccd042d21ea3e4e0cfe55cbdee9ffd40db19ffa57db03")
SIDE = CommitId("4497d548825ae92c433f73adcb24cf2985cfabfb5e22ccecfb11e10cd43c33d6")
MERGE = CommitId("47ef0bf45e75990b1dfb5baee54cfb1cd5ceb987ff5869f2b35408bc2efa40ab")
REFS = (
    Ref(RefKind.BRANCH, RefName("feature/side"), SIDE),
    Ref(RefKind.BRANCH, RefName("main"), MERGE),
    Ref(RefKind.TAG, RefName("v1"), FIRST),
)


def make() -> MemorySource:
    embedding = b"plait" * 16_384
    source = MemorySource()
    first = source.commit("first", embed=embedding, lora=b"a" * 600)
    second = source.commit("second", first, embed=embedding, lora=b"b" * 600)
    side = source.commit("side", first, lora=b"c" * 600)
    source.commit("merge", second, side, embed=embedding, lora=b"d" * 600)
    source.point("v1", first, RefKind.TAG)
    source.point("feature/side", side)
    return source


@pytest.mark.parametrize("name", DIGESTS)
def test_golden_bundle_has_its_digest(name: str) -> None:
    data = (GOLDEN / f"{name}.plait").read_bytes()
    assert hashlib.sha256(data).hexdigest() == DIGESTS[name]


def test_golden_complete_bundle_means_what_it_meant() -> None:
    verified = verify_bundle(GOLDEN / "complete.plait")
    assert verified.sha256 == DIGESTS["complete"]
    assert verified.contents.refs == REFS
    assert list(verified.commits) == [FIRST, SIDE, SECOND, MERGE]
    assert verified.commits[MERGE].parents == (SECOND, SIDE)
    data, contents = (GOLDEN / "complete.plait").read_bytes(), make().contents
    assert verified.files.keys() == contents.keys()
    for digest, places in verified.files.items():
        pieces = [data[p.at : p.at + p.end - p.begin] for p in places.pieces if p.at is not None]
        assert b"".join(pieces) == contents[digest]


def test_golden_incremental_bundle_means_what_it_meant() -> None:
    verified = verify_bundle(GOLDEN / "since-second.plait")
    assert verified.contents.refs == REFS
    assert set(verified.prerequisites) == {FIRST, SECOND}
    assert list(verified.commits) == [SIDE, MERGE]
    assert verified.files_in_part == 1


@pytest.mark.parametrize("name", DIGESTS)
def test_golden_bundle_is_what_is_written_today(name: str, tmp_path: Path) -> None:
    since = [SECOND] if name == "since-second" else []
    assert bundle(make(), tmp_path / "x", since=since).sha256 == DIGESTS[name]
