"""Where the refs of a bundle go in a repository, decided before the first one moves.

- A branch goes forward only, unless it is forced. What lies between the repository's commit and the
  bundle's is known from the bundle, or else by the registry.
- A ref that is there already, or further on, stays.
- A tag never moves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from plait import wire
from plait.bundle.verify import VerifiedBundle
from plait.errors import AlreadyExists, Conflict, NotFound
from plait.lookup import Refs, load_commit
from plait.model.address import RepositoryName
from plait.model.commit_graph import Node, Walk, is_ancestor
from plait.model.ids import CommitId, abbreviate
from plait.model.refs import Ref, RefKind
from plait.transport import Transport, repository_path


class RefChange(StrEnum):
    """What applying a bundle does to a ref."""

    NEW = "new"  # it was not there
    MOVED = "moved"  # forward to the bundle's commit
    FORCED = "forced"  # to the bundle's commit, leaving others behind
    KEPT = "kept"  # it was at the bundle's commit, or further on


@dataclass(frozen=True, slots=True)
class AppliedRef:
    """A ref of the bundle, and what became of it."""

    ref: Ref
    change: RefChange
    old: CommitId | None
    """Where it was in the repository."""


class BundleGraph:
    """The commits of a bundle, with the prerequisites as roots."""

    def __init__(self, verified: VerifiedBundle) -> None:
        self._required = frozenset(verified.prerequisites)
        self._nodes = {
            commit: Node(commit, (), 1, document.time)
            for commit, document in verified.prerequisites.items()
        }
        for commit, document in verified.commits.items():
            above = (self._nodes[parent].generation for parent in document.parents)
            generation = 1 + max(above, default=0)
            self._nodes[commit] = Node(commit, document.parents, generation, document.time)

    def load(self, commits: Collection[CommitId]) -> Mapping[CommitId, Node]:
        """Return nodes, as a `CommitSource`."""
        return {commit: self._nodes[commit] for commit in commits if commit in self._nodes}

    def reaches(self, descendant: CommitId, ancestor: CommitId) -> bool:
        """Tell whether a commit of the bundle is seen to continue another one."""
        return ancestor in self._nodes and is_ancestor(self, ancestor, descendant)

    def find_required(self, refs: Sequence[Ref]) -> list[CommitId]:
        """Return the prerequisites that the history of `refs` ends at."""
        reached = {node.id for node in Walk(self, [ref.target for ref in refs])}
        return sorted(reached & self._required)

    def list_lacking(self, tip: CommitId, known: Collection[CommitId]) -> list[CommitId]:
        """Return the commits up to `tip` that `known` do not reach, parents before children."""
        hidden = [commit for commit in {*known, *self._required} if commit in self._nodes]
        return [node.id for node in Walk(self, (tip,), hidden=hidden)][::-1]


class AskedGraph:
    """Asks the registry how commits are related that the bundle does not know."""

    def __init__(self, transport: Transport, repository: RepositoryName) -> None:
        self._transport = transport
        self._path = repository_path(repository, "/merge-base")

    def reaches(self, descendant: CommitId, ancestor: CommitId) -> bool:
        """Tell whether both are there, and one continues the other."""
        try:
            answer = self._transport.call(
                "GET", self._path, query={"left": descendant, "right": ancestor}
            )
        except NotFound:
            return False
        return wire.decode(wire.MergeBases, answer).bases == [ancestor]


def choose_refs(verified: VerifiedBundle, names: Sequence[str]) -> list[Ref]:
    """Return the wanted refs, branches first: what these bring, tags need not.

    Raises:
        NotFound: `ref-not-found`.
    """
    refs = verified.contents.refs
    for name in names:
        if name not in {ref.name for ref in refs}:
            carried = ", ".join(ref.name for ref in refs)
            raise NotFound(
                "ref-not-found", f"The bundle has no branch or tag {name!r:.200}: it has {carried}."
            )
    return [ref for ref in refs if not names or ref.name in names]


def verify_prerequisites(
    transport: Transport, repository: RepositoryName, required: Sequence[CommitId], there: Refs
) -> None:
    """Check that the repository has what the bundle goes on from.

    Raises:
        NotFound: `prerequisite-missing`, with the ids of all that are missing.
    """
    tips = {*there.branches.values(), *there.tags.values()}
    missing = [
        commit
        for commit in required
        if commit not in tips and not _is_there(transport, repository, commit)
    ]
    if missing:
        named = ", ".join(map(abbreviate, missing[:5])) + (", ..." if missing[5:] else "")
        raise NotFound(
            "prerequisite-missing",
            f"The bundle goes on from commits that {repository} does not have: {named}. Apply the "
            "bundle that brings them first, or create one without --since. Nothing was pushed.",
            missing=missing,
        )


def _is_there(transport: Transport, repository: RepositoryName, commit: CommitId) -> bool:
    try:
        load_commit(transport, repository, commit)
    except NotFound as error:
        if error.kind != "commit-not-found":
            raise
        return False
    return True


def plan_ref(
    ref: Ref, there: Refs, graph: BundleGraph, registry: AskedGraph, *, force: bool
) -> AppliedRef:
    """Return what becomes of one ref.

    Raises:
        AlreadyExists: `ref-exists`, the repository has a ref of the other kind and that name.
        Conflict: `ref-not-fast-forward` for a branch, `ref-update-conflict` for a tag.
    """
    is_branch = ref.kind is RefKind.BRANCH
    current = (there.branches if is_branch else there.tags).get(ref.name)
    if ref.name in (there.tags if is_branch else there.branches):
        raise AlreadyExists(
            "ref-exists",
            f"{ref.name!r} is a {ref.kind} in the bundle, and names are shared with what it is in "
            "the repository. Nothing was pushed: name the refs that shall be applied by --ref.",
            ref=ref.name,
        )
    if current is None:
        # Whether a tag had the name and was deleted, only the registry knows.
        return AppliedRef(ref, RefChange.NEW, None)
    if current == ref.target:
        return AppliedRef(ref, RefChange.KEPT, current)
    if not is_branch:
        raise Conflict(
            "ref-update-conflict",
            f"The tag {ref.name!r} is at {abbreviate(current)} in the repository and at "
            f"{abbreviate(ref.target)} in the bundle, and tags never move. Nothing was pushed: "
            "name the refs that shall be applied by --ref.",
            ref=ref.name,
            expected=current,
            actual=ref.target,
        )
    if graph.reaches(ref.target, current) or any(
        registry.reaches(required, current) for required in graph.find_required([ref])
    ):
        return AppliedRef(ref, RefChange.MOVED, current)
    if registry.reaches(current, ref.target):
        return AppliedRef(ref, RefChange.KEPT, current)
    if force:
        return AppliedRef(ref, RefChange.FORCED, current)
    raise Conflict(
        "ref-not-fast-forward",
        f"The branch {ref.name!r} of the repository has commits that the bundle lacks (it is at "
        f"{abbreviate(current)}). Nothing was pushed: use --force if they shall go, or name the "
        "refs that shall be applied by --ref.",
        ref=ref.name,
        expected=current,
        new=ref.target,
    )
