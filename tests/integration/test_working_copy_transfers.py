"""Fetch, pull, push and clone over a real server, interrupted at every point that counts."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from copies.killing import survives
from copies.workshop import ADA, CONFIG, WEIGHTS, Workshop, read_tree, weight_bytes
from plait.errors import AlreadyExists, Conflict, Integrity, InvalidInput, NotFound, Unavailable
from plait.http_transport import HttpTransport
from plait.lookup import iter_log
from plait.model.address import RepositoryName
from plait.model.commit import OriginKind
from plait.model.ids import CommitId
from plait.model.refs import RefKind
from plait.push_folder import create_repository
from plait.transport import Transport
from plait.wire import SignedRequest
from plait.working_copy.clone import clone
from plait.working_copy.commit import Authorship, NewCommit, commit_folder
from plait.working_copy.copy import WorkingCopy
from plait.working_copy.fetch import RefChange, fetch
from plait.working_copy.layout import Remote
from plait.working_copy.pull import Outcome, PulledCopy, PullRequest, pull
from plait.working_copy.push import PushedRef, PushWish, plan_push, push_ref
from plait.working_copy.refs import write_refs
from plait.working_copy.status import read_status
from plait.working_copy.switch import create_and_switch, switch
from plait.working_copy.tag import create_tag
from plait.working_copy.three_way import Side


class Cut(HttpTransport):
    """A transport that loses its registry when `left` receives are used up."""

    left = 1_000_000

    def receive(self, request: SignedRequest, start: int, stop: int) -> Iterator[memoryview]:
        if self.left <= 0:
            raise Unavailable("registry-unreachable", "The cable is out.")
        self.left -= 1
        yield from super().receive(request, start, stop)


@dataclass
class Site:
    """A repository with somebody who works on it."""

    transport: Cut
    remote: Remote
    ada: Workshop
    root: Path

    def clone(self, name: str) -> WorkingCopy:
        return clone(self.transport, self.remote, self.root / name)

    def push(self, copy: WorkingCopy, *names: str, **options: bool) -> list[PushedRef]:
        updates = plan_push(copy, PushWish(names, **options))
        return [push_ref(copy, self.transport, update) for update in updates]

    def pull(self, copy: WorkingCopy, **options: Any) -> PulledCopy:
        return pull(copy, self.transport, PullRequest(self.ada.authorship(), **options))


@pytest.fixture
def site(
    registry_server: Any, repository_name: Callable[[], str], tmp_path: Path
) -> Iterator[Site]:
    """A repository whose `main` has versions 1 and 2, pushed from Ada's working copy."""
    transport = Cut(registry_server.url, registry_server.token)
    remote = Remote(registry_server.url, RepositoryName.parse(repository_name()))
    create_repository(transport, remote.repository)
    site = Site(transport, remote, Workshop(tmp_path / "ada", remote=remote), tmp_path)
    for value in (1, 2):
        site.ada.train_and_commit(value)
    site.push(site.ada.copy)
    yield site
    transport.close()


def edit(copy: WorkingCopy, files: dict[str, bytes]) -> CommitId:
    """Write files into a clone and commit them."""
    for name, data in files.items():
        (copy.root / name).write_bytes(data)
    return commit_folder(copy, NewCommit("edited", Authorship(ADA, "2026-11-24T07:00:00Z"))).id


def test_clone_holds_everything_and_works_offline(site: Site) -> None:
    create_and_switch(site.ada.copy, "side")
    site.ada.train_and_commit(3)
    create_tag(site.ada.copy, "v1", revision="main~1")
    site.push(site.ada.copy, all_branches=True, all_tags=True)
    copy = site.clone("bob")
    site.transport.left = 0
    assert read_tree(copy.root)[WEIGHTS] == weight_bytes(2)
    assert read_status(copy).is_clean
    assert copy.read_refs().remote_branches == site.ada.copy.read_refs().branches
    switch(copy, "side")
    assert read_tree(copy.root)[WEIGHTS] == weight_bytes(3)
    assert copy.resolve("v1") == copy.resolve("main~1")
    assert len(copy.graph.find_by_prefix("")) == 2


def test_clone_into_a_folder_with_something_in_it_is_refused(site: Site) -> None:
    site.clone("bob")
    for folder in ("bob", "ada"):
        with pytest.raises(AlreadyExists, match="plait pull"):
            site.clone(folder)
    with pytest.raises(NotFound):
        clone(site.transport, site.remote, site.root / "x", branch="nothing")
    assert not (site.root / "x").exists()


def test_clone_of_a_tag_is_detached_and_of_nothing_is_empty(site: Site) -> None:
    create_tag(site.ada.copy, "v1", revision="main~1")
    site.push(site.ada.copy, "v1")
    tagged = clone(site.transport, site.remote, site.root / "tagged", branch="v1")
    assert tagged.read_head().commit == site.ada.copy.resolve("v1")
    empty = Remote(site.remote.url, RepositoryName("tests", f"e-{site.root.name[:40]}"))
    create_repository(site.transport, empty.repository)
    copy = clone(site.transport, empty, site.root / "empty")
    assert copy.read_head().branch == "main"
    assert copy.find_head_commit() is None


def test_clone_that_is_killed_anywhere_goes_on_when_it_is_run_again(site: Site) -> None:
    wanted = site.ada.files()
    number = 0
    while not survives(lambda number=number: site.clone(f"bob-{number}"), number):  # type: ignore[misc]
        copy = site.clone(f"bob-{number}")
        assert read_tree(copy.root) == wanted
        assert read_status(copy).is_clean
        assert copy.read_head().branch == "main"
        number += 3
    assert number > 15


def test_interrupted_fetch_keeps_what_arrived(site: Site) -> None:
    copy = site.clone("bob")
    site.ada.write({f"part-{index}.txt": b"%d" % index for index in range(12)})
    site.ada.commit()
    site.push(site.ada.copy)
    before = copy.read_refs()
    site.transport.left = 6
    with pytest.raises(Unavailable):
        fetch(copy, site.transport)
    assert copy.read_refs() == before
    site.transport.left = 1_000
    fetched = fetch(copy, site.transport)
    assert fetched.commits == 1
    assert 1_000 - site.transport.left < 12  # what had arrived was not asked for again
    (report,) = fetched.refs
    assert (report.name, report.change) == ("main", RefChange.MOVED)
    assert fetch(copy, site.transport).refs == ()


def test_fetch_tells_new_gone_and_forced_refs(site: Site) -> None:
    copy = site.clone("bob")
    create_and_switch(site.ada.copy, "side", start="main~1")
    site.ada.train_and_commit(4)
    create_tag(site.ada.copy, "v1")
    site.push(site.ada.copy, "side", "v1")
    reports = {str(report.name): report for report in fetch(copy, site.transport).refs}
    assert reports["side"].change is RefChange.NEW
    assert (reports["v1"].change, reports["v1"].kind) == (RefChange.NEW, RefKind.TAG)
    assert copy.read_refs().tags == site.ada.copy.read_refs().tags
    create_and_switch(site.ada.copy, "anew", start="main~1")
    site.ada.train_and_commit(5)
    forced = site.ada.copy.resolve("anew")
    shutil.rmtree(site.root / "bob")
    copy = site.clone("bob")
    layout = site.ada.copy.layout
    write_refs(
        layout,
        site.ada.copy.read_refs().with_branch(site.ada.copy.read_refs().remote_default, forced),
    )
    with pytest.raises(Conflict, match="--force") as caught:
        site.push(site.ada.copy, "main")
    assert caught.value.kind == "ref-not-fast-forward"
    site.push(site.ada.copy, "main", force=True)
    reports = {str(report.name): report for report in fetch(copy, site.transport).refs}
    assert reports["main"].change is RefChange.FORCED


def test_force_never_throws_away_what_was_not_seen(site: Site) -> None:
    bob = site.clone("bob")
    edit(bob, {"bob.txt": b"b"})
    site.push(bob)
    site.ada.train_and_commit(7)
    with pytest.raises(Conflict) as caught:
        site.push(site.ada.copy, force=True)
    assert caught.value.kind == "ref-update-conflict"


def test_pull_fast_forwards_and_refuses_to_overwrite(site: Site) -> None:
    copy = site.clone("bob")
    assert site.pull(copy).outcome is Outcome.UP_TO_DATE
    site.ada.train_and_commit(3)
    site.push(site.ada.copy)
    (copy.root / WEIGHTS).write_bytes(weight_bytes(9))
    with pytest.raises(Conflict) as caught:
        site.pull(copy)
    assert caught.value.kind == "uncommitted-changes"
    assert read_tree(copy.root)[WEIGHTS] == weight_bytes(9)
    assert site.pull(copy, discard_changes=True).outcome is Outcome.FAST_FORWARD
    assert read_tree(copy.root) == site.ada.files()


def test_pull_that_is_killed_anywhere_is_completed_by_the_next(site: Site) -> None:
    template = site.clone("bob")
    site.ada.train(3)
    site.ada.write({"new/one.txt": b"1", "two.txt": b"2"})
    site.ada.commit()
    site.push(site.ada.copy)
    number = 0
    while True:
        folder = site.root / f"bob-{number}"
        shutil.copytree(template.root, folder)
        is_through = survives(lambda folder=folder: site.pull(WorkingCopy.find(folder)), number)  # type: ignore[misc]
        copy = WorkingCopy.find(folder)
        read_status(copy)
        site.pull(copy)
        assert read_tree(folder) == site.ada.files()
        assert read_status(copy).is_clean
        if is_through:
            break
        number += 2
    assert number > 10


def test_diverged_histories_are_merged_only_when_asked(site: Site) -> None:
    copy = site.clone("bob")
    mine = edit(copy, {"README.md": b"mine"})
    site.ada.train_and_commit(3)
    theirs = site.ada.copy.resolve("main")
    site.push(site.ada.copy)
    with pytest.raises(Conflict, match="only here: 1, only there: 1") as caught:
        site.pull(copy)
    assert caught.value.kind == "diverged"
    merged = site.pull(copy, merge=True)
    assert merged.outcome is Outcome.MERGED
    commit = copy.get_commit(merged.new)
    assert commit.parents == (mine, theirs)
    assert commit.origin.kind is OriginKind.MERGE
    assert read_tree(copy.root)["README.md"] == b"mine"
    assert read_tree(copy.root)[WEIGHTS] == weight_bytes(3)
    assert read_status(copy).is_clean
    (pushed,) = site.push(copy)
    assert pushed.result.commits == 2
    assert site.pull(site.ada.copy).outcome is Outcome.FAST_FORWARD
    assert site.ada.files() == read_tree(copy.root)


def test_conflict_names_the_files_and_a_side_settles_it(site: Site) -> None:
    copy = site.clone("bob")
    edit(copy, {WEIGHTS: weight_bytes(8)})
    site.ada.train_and_commit(9)
    site.push(site.ada.copy)
    before = read_tree(copy.root)
    with pytest.raises(Conflict) as caught:
        site.pull(copy, merge=True)
    assert caught.value.kind == "merge-conflict"
    assert caught.value.details["files"] == [WEIGHTS]
    assert read_tree(copy.root) == before
    site.pull(copy, merge=True, prefer=Side.THEIRS)
    assert read_tree(copy.root)[WEIGHTS] == weight_bytes(9)


def test_unrelated_histories_are_not_merged(site: Site) -> None:
    other = Workshop(site.root / "other", remote=site.remote)
    other.train_and_commit(4)
    with pytest.raises(NotFound, match="no commit in common"):
        site.pull(other.copy, merge=True)


def test_pull_needs_a_branch_that_the_remote_has(site: Site) -> None:
    copy = site.clone("bob")
    create_and_switch(copy, "new")
    with pytest.raises(NotFound, match="plait push"):
        site.pull(copy)
    copy.layout.head.write_text(copy.resolve("main"))
    with pytest.raises(InvalidInput, match="no branch"):
        site.pull(copy)
    with pytest.raises(InvalidInput, match="no branch"):
        site.push(copy)


def test_pull_into_a_new_working_copy_keeps_its_files(site: Site) -> None:
    fresh = Workshop(site.root / "fresh", remote=site.remote)
    fresh.write({"mine.txt": b"mine", CONFIG: b"mine"})
    with pytest.raises(Conflict) as caught:
        site.pull(fresh.copy)
    assert caught.value.details["files"] == [CONFIG]
    (fresh.folder / CONFIG).unlink()
    site.pull(fresh.copy)
    assert fresh.files() == {**site.ada.files(), "mine.txt": b"mine"}


def test_push_with_nothing_new_sends_nothing(site: Site) -> None:
    (again,) = site.push(site.ada.copy)
    assert (again.is_changed, again.result.commits, again.result.bytes_stored) == (False, 0, 0)
    assert site.push(site.ada.copy, all_branches=True, all_tags=True) == []


def test_push_to_a_branch_that_moved_says_how_to_go_on(site: Site) -> None:
    copy = site.clone("bob")
    edit(copy, {"README.md": b"mine"})
    site.ada.train_and_commit(3)
    site.push(site.ada.copy)
    with pytest.raises(Conflict, match="plait pull"):
        site.push(copy)
    assert copy.read_refs().remote_branches != site.ada.copy.read_refs().remote_branches


def test_removed_contents_are_fetched_again_by_repair(site: Site) -> None:
    copy = site.clone("bob")
    old = copy.get_version(copy.resolve("main~1")).find(WEIGHTS)
    assert old is not None
    copy.objects.path_of(old.sha256).unlink()
    assert fetch(copy, site.transport).received == 0
    assert fetch(copy, site.transport, repair=True).received == old.size
    assert copy.objects.read(old.sha256) == weight_bytes(1)


def test_tag_that_means_something_else_here_is_not_taken(site: Site) -> None:
    copy = site.clone("bob")
    create_tag(copy, "v1")
    create_tag(site.ada.copy, "v1", revision="main~1")
    site.push(site.ada.copy, "v1")
    (report,) = fetch(copy, site.transport).refs
    assert report.change is RefChange.REFUSED
    assert copy.resolve("v1") == copy.resolve("main")


def test_history_with_a_hole_is_not_taken_over(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = site.clone("bob")
    for value in (3, 4):
        site.ada.train_and_commit(value)
    site.push(site.ada.copy)

    def leave_one_out(transport: Transport, *arguments: Any, **options: Any) -> Iterator[Any]:
        yield next(iter_log(transport, *arguments, **options))

    monkeypatch.setattr("plait.working_copy.fetch.iter_log", leave_one_out)
    before = copy.read_refs()
    with pytest.raises(Integrity, match="left out"):
        fetch(copy, site.transport)
    assert copy.read_refs() == before
