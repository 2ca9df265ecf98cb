"""The local commit graph against the objects that it is an index of."""

import pytest

from copies.workshop import ADA, Workshop
from plait.errors import InvalidInput, NotFound
from plait.model.commit import Base, Commit, Origin, OriginKind
from plait.model.ids import CommitId, ManifestId, hash_bytes
from plait.working_copy.graph import LocalGraph


def commit_on(*parents: CommitId, message: str = "m") -> Commit:
    return Commit(
        manifest=ManifestId(hash_bytes(b"m")),
        parents=parents,
        author=ADA,
        time="2026-11-24T06:07:00Z",
        message=message,
        base=Base("micro/base"),
        origin=Origin(OriginKind.TRAINING),
    )


def add(workshop: Workshop, *commits: Commit) -> list[CommitId]:
    copy = workshop.copy
    ids = [CommitId(copy.objects.add(commit.to_bytes())) for commit in commits]
    copy.graph.append(zip(ids, commits, strict=True))
    return ids


def chain(workshop: Workshop, length: int) -> list[CommitId]:
    ids: list[CommitId] = []
    for number in range(length):
        ids += add(workshop, commit_on(*ids[-1:], message=str(number)))
    return ids


def test_nodes_come_back_as_they_were_added(workshop: Workshop) -> None:
    (root,) = add(workshop, commit_on())
    left, right = add(workshop, commit_on(root, message="l"), commit_on(root, message="r"))
    (merge,) = add(workshop, commit_on(left, right))
    nodes = workshop.copy.graph.load([root, left, merge, CommitId("0" * 64)])
    assert {commit: node.generation for commit, node in nodes.items()} == {
        root: 1,
        left: 2,
        merge: 3,
    }
    assert nodes[merge].parents == (left, right)


def test_commit_whose_parent_is_absent_is_refused(workshop: Workshop) -> None:
    orphan = commit_on(CommitId(hash_bytes(b"nobody")))
    with pytest.raises(NotFound, match="parent"):
        add(workshop, orphan)


@pytest.mark.parametrize("kept", [0, 1, 100, 250, 300])
def test_torn_graph_is_completed_from_the_objects(workshop: Workshop, kept: int) -> None:
    ids = chain(workshop, 4)
    path = workshop.copy.layout.graph
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    graph = workshop.copy.graph
    assert graph.find_ancestor(ids[-1], 3) == ids[0]
    assert graph.load([ids[-1]])[ids[-1]].generation == 4
    (new,) = add(workshop, commit_on(ids[-1], message="next"))
    assert workshop.copy.graph.find_ancestor(new, 4) == ids[0]
    assert all(line.count(b" ") >= 2 for line in path.read_bytes().splitlines())


def test_missing_graph_is_made_again(workshop: Workshop) -> None:
    ids = chain(workshop, 3)
    workshop.copy.layout.graph.unlink()
    assert workshop.copy.graph.has(ids[2])
    add(workshop, commit_on(ids[2], message="next"))
    assert len(workshop.copy.layout.graph.read_bytes().splitlines()) == 4


def test_walking_history_parses_no_commit(workshop: Workshop) -> None:
    ids = chain(workshop, 30)
    for commit in ids:
        path = workshop.copy.objects.path_of(commit)  # type: ignore[arg-type]
        path.unlink()
    graph = workshop.copy.graph
    assert graph.find_ancestor(ids[-1], 29) == ids[0]
    assert graph.find_ancestor(ids[-1], 30) is None
    assert graph.find_by_prefix(ids[7][:12]) == [ids[7]]
    assert len(graph.find_by_prefix("")) == 2


def test_object_that_is_no_commit_is_no_commit(workshop: Workshop) -> None:
    copy = workshop.copy
    other = CommitId(copy.objects.add(b'{"format": "plait.manifest/1"}'))
    assert not copy.graph.has(other)


def test_appending_what_is_known_changes_nothing(workshop: Workshop) -> None:
    commit = commit_on()
    add(workshop, commit)
    before = workshop.copy.layout.graph.read_bytes()
    graph = LocalGraph(workshop.copy.layout.graph, workshop.copy.objects)
    graph.append([(commit.id, commit)])
    assert workshop.copy.layout.graph.read_bytes() == before


def test_revisions_resolve_offline(workshop: Workshop) -> None:
    first = workshop.train_and_commit(1)
    second = workshop.train_and_commit(2)
    copy = workshop.copy
    for text in ("HEAD", "@", "main", second[:7], second):
        assert copy.resolve(text) == second
    for text in ("HEAD~1", "main^", "@~", f"{second[:9]}~1"):
        assert copy.resolve(text) == first
    with pytest.raises(NotFound):
        copy.resolve("main~2")
    with pytest.raises(NotFound):
        copy.resolve("nothing")
    with pytest.raises(InvalidInput):
        copy.resolve("..")


def test_empty_branch_has_no_head(workshop: Workshop) -> None:
    with pytest.raises(NotFound, match="no commit yet"):
        workshop.copy.resolve("HEAD")
