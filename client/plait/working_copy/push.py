"""Pushing local branches and tags to the remote.

Only the commits that the remote lacks are sent, by what is known of its refs. Each ref moves by
compare-and-swap from where it was last seen, by force as well: a force throws away what was seen,
never what somebody pushed since (git's `--force-with-lease`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from plait import wire
from plait.errors import Conflict, InvalidInput, NotFound
from plait.model.commit_graph import Walk, is_ancestor
from plait.model.ids import CommitId
from plait.model.refs import RefKind, RefName, RefUpdate, parse_ref_name
from plait.progress import NO_PROGRESS, Progress
from plait.push import PushRequest, push_commits
from plait.transport import Transport
from plait.working_copy.copy import WorkingCopy
from plait.working_copy.divergence import count_commits
from plait.working_copy.refs import ORIGIN, Refs, write_refs


@dataclass(frozen=True, slots=True)
class PushWish:
    """Which refs to push."""

    names: tuple[str, ...] = ()
    """Branches and tags; none means the branch that is checked out, unless a group is named."""
    all_branches: bool = False
    all_tags: bool = False
    force: bool = False
    """Allow a branch to leave commits behind that were seen on it."""


@dataclass(frozen=True, slots=True)
class PushedRef:
    """A ref that was pushed."""

    update: RefUpdate
    result: wire.PushResult

    @property
    def is_changed(self) -> bool:
        """Whether the remote's ref moved or was made."""
        return self.update.expected != self.update.new


def plan_push(copy: WorkingCopy, wish: PushWish) -> list[RefUpdate]:
    """Return how the remote's refs shall move.

    Raises:
        NotFound: there is no branch or tag of a name.
        InvalidInput: `usage`, nothing is named and HEAD is detached.
        Conflict: `ref-not-fast-forward`, commits seen on the remote would be left behind.
    """
    refs = copy.read_refs()
    names = [parse_ref_name(name) for name in wish.names]
    names += sorted(refs.branches) if wish.all_branches else []
    names += sorted(refs.tags) if wish.all_tags else []
    if not names and not (wish.all_branches or wish.all_tags):
        names.append(_get_current(copy))
    updates = [_plan(refs, name, force=wish.force) for name in dict.fromkeys(names)]
    # What was named is pushed even if nothing seems to be new: only the remote knows.
    named = {parse_ref_name(name) for name in wish.names}
    is_group = wish.all_branches or wish.all_tags
    updates = [
        update
        for update in updates
        if update.expected != update.new or update.name in named or not is_group
    ]
    for update in updates:
        _verify_forward(copy, update)
    return updates


def push_ref(
    copy: WorkingCopy,
    transport: Transport,
    update: RefUpdate,
    *,
    allow_non_finite: bool = False,
    progress: Progress = NO_PROGRESS,
) -> PushedRef:
    """Push one ref with the commits that the remote lacks.

    Raises:
        Conflict: `ref-update-conflict`, somebody else moved the ref; nothing was published.
        InvalidInput, Integrity: the registry refused a version.
    """
    remote = copy.get_remote()
    commits = [copy.get_commit(commit) for commit in _find_lacking(copy, update.new)]
    request = PushRequest(
        update=update,
        commits=commits,
        manifests={commit.manifest: copy.get_manifest(commit.manifest) for commit in commits},
        find_file=copy.objects.path_of,
        allow_non_finite=allow_non_finite,
    )
    result = push_commits(transport, remote.repository, request, progress)
    with copy.changing():
        write_refs(copy.layout, copy.read_refs().with_remote(update.kind, update.name, update.new))
    return PushedRef(update, result)


def _get_current(copy: WorkingCopy) -> RefName:
    branch = copy.read_head().branch
    if branch is None:
        raise InvalidInput(
            "usage",
            "HEAD is at no branch: name one to push, or make one of it by `plait switch -c NAME`.",
        )
    if branch not in copy.read_refs().branches:
        raise NotFound(
            "revision-not-found",
            f"The branch {branch!r} has no commit yet: make one by `plait commit`, then push.",
        )
    return branch


def _plan(refs: Refs, name: RefName, *, force: bool) -> RefUpdate:
    if name in refs.branches:
        expected = refs.remote_branches.get(name)
        return RefUpdate(RefKind.BRANCH, name, expected, refs.branches[name], force)
    if name in refs.tags:
        return RefUpdate(RefKind.TAG, name, refs.remote_tags.get(name), refs.tags[name])
    raise NotFound(
        "ref-not-found",
        f"There is no branch or tag {name!r} here: `plait branch` and `plait tag` list them.",
        ref=name,
    )


def _verify_forward(copy: WorkingCopy, update: RefUpdate) -> None:
    if update.expected is None or update.force or update.kind is RefKind.TAG:
        return
    if not is_ancestor(copy.graph, update.expected, update.new):
        lost = count_commits(copy, update.expected, without=update.new)
        raise Conflict(
            "ref-not-fast-forward",
            f"The remote's {update.name!r} has {lost} commits that yours lacks: `plait pull "
            f"--merge` joins the two, then push again; or push by --force if they shall go "
            f"(`plait log {ORIGIN}{update.name}` shows them).",
            ref=update.name,
            expected=update.expected,
            new=update.new,
        )


def _find_lacking(copy: WorkingCopy, tip: CommitId) -> Sequence[CommitId]:
    """Return the commits that the remote lacks, parents before children."""
    walk = Walk(copy.graph, (tip,), hidden=copy.read_refs().remote_targets())
    return [node.id for node in walk][::-1]
