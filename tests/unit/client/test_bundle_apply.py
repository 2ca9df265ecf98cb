import hashlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from plait import wire
from plait.bundle import registry_source
from plait.bundle.apply import split_steps
from plait.bundle.create import Part
from plait.bundle.plan import Planner
from plait.bundle.refs import AskedGraph, BundleGraph, choose_refs, verify_prerequisites
from plait.bundle.registry_source import RegistrySource
from plait.bundle.verify import VerifiedBundle, verify_bundle
from plait.errors import Integrity, InvalidInput, NotFound
from plait.lookup import Refs
from plait.model.address import RepositoryName
from plait.model.digesting import digest_file
from plait.model.ids import CommitId
from plait.model.part_sizes import PartSizes
from plait.model.paths import FilePath
from plait.model.refs import DEFAULT_BRANCH
from plait.progress import NO_PROGRESS
from plait.uploads import Scattered, Uploader
from reference.bundles import KIB, MemorySource, bundle, make_history, noise
from reference.memory_transport import SALT, MemoryTransport

NAME = RepositoryName("a", "b")
EMBEDDING = noise(100 * KIB, 1)


def verified(source: MemorySource, folder: Path, since: Sequence[str] = ()) -> VerifiedBundle:
    return verify_bundle(bundle(source, folder / "x", since=since).path)


def chain(source: MemorySource, embeddings: Sequence[bytes]) -> list[CommitId]:
    """Commit one version on top of the other, each with one of these embeddings."""
    made: list[CommitId] = []
    for number, embedding in enumerate(embeddings):
        lora = noise(900, 100 + number)
        made.append(source.commit(f"v{number}", *made[-1:], embed=embedding, lora=lora))
    return made


def test_history_that_shares_little_goes_in_one_step(tmp_path: Path) -> None:
    source = MemorySource()
    commits = chain(source, [noise(100 * KIB, seed) for seed in range(4)])
    assert split_steps(verified(source, tmp_path), commits, None) == [commits]


def test_first_version_with_an_embedding_goes_before_all_others(tmp_path: Path) -> None:
    source = MemorySource()
    commits = chain(source, [EMBEDDING] * 5)
    assert split_steps(verified(source, tmp_path), commits, None) == [commits[:1], commits[1:]]


def test_each_new_embedding_begins_a_step_for_those_that_share_it(tmp_path: Path) -> None:
    other = noise(100 * KIB, 2)
    source = MemorySource()
    commits = chain(source, [EMBEDDING, EMBEDDING, other, other, EMBEDDING])
    steps = split_steps(verified(source, tmp_path), commits, None)
    assert steps == [commits[:1], commits[1:3], commits[3:]]


def test_tensors_of_a_prerequisite_need_no_step(tmp_path: Path) -> None:
    source = MemorySource()
    commits = chain(source, [EMBEDDING] * 4)
    found = verified(source, tmp_path, since=[commits[0]])
    assert found.files_in_part == 3
    assert split_steps(found, commits[1:], commits[0]) == [commits[1:]]


def test_branch_stops_only_where_its_own_history_leads(tmp_path: Path) -> None:
    source = MemorySource()
    root = source.commit("root", lora=noise(10, 5))
    left = source.commit("left", root, embed=EMBEDDING, lora=noise(900, 6))
    right = source.commit("right", root, embed=EMBEDDING, lora=noise(900, 7))
    tip = source.commit("tip", left, right, embed=EMBEDDING, lora=noise(900, 8))
    found = verified(source, tmp_path)
    assert split_steps(found, [root, left, right, tip], None) == [[root, left], [right, tip]]
    # With the branch at another commit, to be there in between would be no way forward.
    assert split_steps(found, [left, right, tip], right) == [[left, right, tip]]
    assert split_steps(found, [left, tip], right) == [[left, tip]]


def test_nothing_goes_in_no_step(tmp_path: Path) -> None:
    assert split_steps(verified(make_history(), tmp_path), [], None) == []


def test_graph_of_a_bundle_ends_at_its_prerequisites(tmp_path: Path) -> None:
    source = make_history()
    tip = source.refs["main"].target
    second, side = source.commits[tip].commit.parents
    first = source.refs["v1"].target
    found = verified(source, tmp_path, since=[second])
    graph = BundleGraph(found)
    assert graph.list_lacking(tip, []) == [side, tip]
    assert graph.list_lacking(tip, [side, CommitId("0" * 64)]) == [tip]
    assert graph.list_lacking(first, []) == []
    assert graph.reaches(tip, first)
    assert not graph.reaches(first, tip)
    assert not graph.reaches(tip, CommitId("0" * 64))
    main, tag = choose_refs(found, [])
    assert graph.find_required([main]) == sorted([first, second])
    assert graph.find_required([tag]) == [first]
    with pytest.raises(NotFound, match="it has main, v1"):
        choose_refs(found, ["main", "other"])


class Answers(MemoryTransport):
    """A registry that knows nothing but what it is told, or fails."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer

    def call(self, method: str, path: str, **options: Any) -> Any:
        self.calls.append((method, path, options.get("query")))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_unknown_commits_are_related_to_nothing() -> None:
    asked = AskedGraph(Answers(NotFound("revision-not-found", "No.")), NAME)
    assert not asked.reaches(CommitId("1" * 64), CommitId("0" * 64))
    known = AskedGraph(Answers({"bases": ["0" * 64]}), NAME)
    assert known.reaches(CommitId("1" * 64), CommitId("0" * 64))
    assert not known.reaches(CommitId("1" * 64), CommitId("2" * 64))


def test_prerequisites_at_a_ref_need_no_request() -> None:
    commit = CommitId("1" * 64)
    there = Refs({DEFAULT_BRANCH: commit}, {}, DEFAULT_BRANCH)
    transport = Answers(NotFound("commit-not-found", "No."))
    verify_prerequisites(transport, NAME, [commit], there)
    assert transport.calls == []
    many = [CommitId(str(number) * 64) for number in range(1, 9)]
    with pytest.raises(NotFound) as caught:
        verify_prerequisites(transport, NAME, many, there)
    assert caught.value.kind == "prerequisite-missing"
    assert caught.value.details["missing"] == many[1:]
    assert ", ..." in caught.value.message


def test_other_failures_are_not_taken_for_an_absent_commit() -> None:
    there = Refs({}, {}, DEFAULT_BRANCH)
    transport = Answers(NotFound("repository-not-found", "No."))
    with pytest.raises(NotFound) as caught:
        verify_prerequisites(transport, NAME, [CommitId("1" * 64)], there)
    assert caught.value.kind == "repository-not-found"


DATA = random.Random(3).randbytes(300)


@pytest.fixture
def scattered(tmp_path: Path) -> Scattered:
    """A file of 300 bytes in three pieces, the last of which comes first."""
    path = tmp_path / "archive"
    path.write_bytes(b"head" + DATA[200:] + b"between" + DATA[:120] + DATA[120:200])
    return Scattered(path, [(0, 120, 111), (120, 200, 231), (200, 300, 4)])


@pytest.mark.parametrize("ranges", [[(0, 300)], [(0, 10), (110, 210)], [(199, 201)], [(0, 0)]])
def test_ranges_are_sent_from_where_they_lie(
    scattered: Scattered, ranges: list[tuple[int, int]]
) -> None:
    transport = MemoryTransport(part_size=64)
    digest = hashlib.sha256(DATA).hexdigest()
    uploader = Uploader(transport, "/push", PartSizes(64, 64), lambda _: scattered, NO_PROGRESS)
    uploader.upload([wire.FilePlan(digest, len(DATA), ranges)], salt=SALT)
    sent = b"".join(data for _, data in sorted(transport.arrived.items()))
    assert sent == b"".join(DATA[begin:end] for begin, end in ranges) + SALT


def test_bytes_that_the_bundle_leaves_out_are_told(scattered: Scattered) -> None:
    incomplete = Scattered(scattered.path, scattered.pieces[1:])
    assert incomplete.find([(120, 130)]) == [(231, 241)]
    with pytest.raises(Integrity, match="leaves out") as caught:
        incomplete.find([(119, 130)])
    assert caught.value.kind == "bundle-incomplete"


def test_files_are_fetched_in_batches_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_source, "BATCH_SIZE", 250)
    monkeypatch.setattr(registry_source, "BATCH", 3)
    transport = MemoryTransport()
    contents = [noise(size, size) for size in (100, 0, 120, 400, 1, 2, 3, 4)]
    parts = []
    planner = Planner([])
    for number, data in enumerate(contents):
        transport.store(data)
        file = digest_file(FilePath(f"{number}.txt"), len(data), [data])
        carried = planner.plan(file)
        assert carried is not None
        parts.append(Part(file, carried))
    found = []
    for pieces in RegistrySource(transport, NAME).read(parts, tmp_path, NO_PROGRESS):
        found.append(b"".join(bytes(piece) for piece in pieces))
        assert len(list(tmp_path.iterdir())) <= 3
    assert found == contents
    asked = [len(body["files"]) for _, path, body in transport.calls if path.endswith("downloads")]
    assert asked == [3, 1, 3, 1]
    assert list(tmp_path.iterdir()) == []


def test_too_many_revisions_to_begin_after_are_refused() -> None:
    source = RegistrySource(MemoryTransport(), NAME)
    with pytest.raises(InvalidInput):
        source.load_history([], [CommitId("0" * 64)] * 50)
