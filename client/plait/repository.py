"""One repository as scripts see it: `registry.repository("team/sql")`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from plait import wire
from plait.accounts import Protections
from plait.cache import Cache
from plait.errors import NotFound
from plait.lookup import (
    CommitInfo,
    Refs,
    iter_log,
    load_commit,
    load_manifests,
    load_refs,
    read_ref,
    resolve,
)
from plait.model.address import RepositoryName
from plait.model.commit import Base, Person
from plait.model.diff import ManifestDiff, diff_manifests
from plait.model.ids import CommitId, ManifestId
from plait.model.manifest import Manifest
from plait.model.refs import DEFAULT_BRANCH, HEAD, Ref, RefKind, RefName, parse_ref_name
from plait.progress import NO_PROGRESS, Progress
from plait.pull import Pulled, PullRequest, pull
from plait.push_folder import FolderPush, Pushed, push_folder
from plait.transport import Transport, repository_path

if TYPE_CHECKING:
    from plait.bundle.apply import AppliedBundle
    from plait.bundle.create import CreatedBundle
    from plait.pull_stack import PulledStack
    from plait.reproduce import Reproduced

# What few need is imported where it is used, since many wait for this: bundles and compositions.


@dataclass(frozen=True, slots=True)
class PushOptions:
    """What a push of a folder seldom needs."""

    author: Person | None = None
    """None: who the client's settings name."""
    base: Base | str | None = None
    """The base model, or its name; None: what the adapter's config names."""
    create: bool = False
    """Make the repository where it is absent."""
    allow_non_finite: bool = False
    """Accept NaN and infinity in weights."""
    progress: Progress = NO_PROGRESS


class Repository:
    """The versions of one line of work on adapters."""

    def __init__(
        self, name: RepositoryName, transport: Transport, cache: Cache, author: Person
    ) -> None:
        self.name = name
        self._transport = transport
        self._cache = cache
        self._author = author

    def __repr__(self) -> str:
        return f"<plait repository {self.name} at {self._transport.url}>"

    def push(
        self,
        folder: str | os.PathLike[str],
        *,
        message: str,
        branch: str = DEFAULT_BRANCH,
        metrics: Mapping[str, Any] | None = None,
        options: PushOptions | None = None,
    ) -> Pushed:
        """Push an adapter's folder as the next version of a branch; nothing where it is the same.

        Raises:
            Conflict: somebody else moved the branch at the same time.
            InvalidInput: the folder is no version of an adapter.
            NotFound: the repository is not there.
        """
        options = options or PushOptions()
        base = Base(options.base) if isinstance(options.base, str) else options.base
        wish = FolderPush(
            folder=Path(folder),
            message=message,
            author=options.author or self._author,
            time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            branch=parse_ref_name(branch),
            base=base,
            metrics=metrics,
            create=options.create,
            allow_non_finite=options.allow_non_finite,
        )
        return push_folder(self._transport, self.name, wish, options.progress)

    def pull(
        self,
        revision: str | None = None,
        *,
        dest: str | os.PathLike[str] | None = None,
        only: Sequence[str] = (),
        force: bool = False,
        verify: bool = False,
        progress: Progress = NO_PROGRESS,
    ) -> Pulled:
        """Pull a version (default: of the default branch) and return where it is.

        Without `dest`, that is an immutable, digest-named, read-only folder in the cache. `only`
        takes the tensors whose names match one of its patterns.

        Raises:
            NotFound: `revision-not-found`, `repository-not-found`.
            AlreadyExists: `dest` is not empty and holds something else.
            Integrity: bytes are not what the version says.
        """
        request = PullRequest(
            revision=revision or HEAD,
            destination=None if dest is None else Path(dest),
            only=_names(only),
            force=force,
            verify=verify,
        )
        return pull(self._transport, self.name, self._cache, request, progress)

    def pull_stack(
        self, revision: str | None = None, *, progress: Progress = NO_PROGRESS
    ) -> PulledStack:
        """Pull every adapter of a stack into the cache, in the order in which they are applied.

        Raises:
            InvalidInput: `invalid-stack`, the version is no stack.
            NotFound: the version is not there, or an adapter of it is not.
            Integrity: bytes are not what the version says.
        """
        from plait.pull_stack import pull_stack

        return pull_stack(self._transport, self.name, self._cache, revision or HEAD, progress)

    def reproduce(
        self,
        revision: str | None = None,
        *,
        base_folder: str | os.PathLike[str] | None = None,
        tuned_folder: str | os.PathLike[str] | None = None,
        threads: int = 1,
        progress: Progress = NO_PROGRESS,
    ) -> Reproduced:
        """Carry out again what a version was made by; `is_same` tells whether it gives the same.

        `base_folder` holds the base model, where a recipe used its weights or the version was
        extracted; `tuned_folder` then the full fine-tune.

        Raises:
            InvalidInput: `recipe-missing`, the version was neither composed nor extracted;
                `delta-missing`, without a model that it was made with.
            NotFound: the version is not there.
        """
        from plait.reproduce import ReproduceWish, reproduce

        wish = ReproduceWish(
            repository=self.name,
            revision=revision or HEAD,
            base_folder=None if base_folder is None else Path(base_folder),
            tuned_folder=None if tuned_folder is None else Path(tuned_folder),
            threads=threads,
        )
        return reproduce(self._transport, self._cache, wish, progress)

    def bundle(
        self,
        path: str | os.PathLike[str],
        *,
        refs: Sequence[str] = (),
        since: Sequence[str] = (),
        force: bool = False,
        progress: Progress = NO_PROGRESS,
    ) -> CreatedBundle:
        """Write branches and tags (default: all) with their history into one file.

        `since` names revisions that the receiver has; what they reach is left out.

        Raises:
            AlreadyExists: `destination-exists`, without `force`.
            InvalidInput: `bundle-empty`, nothing is new.
            NotFound: there is no such ref or revision.
        """
        from plait.bundle.create import BundleWish, create_bundle
        from plait.bundle.registry_source import RegistrySource

        wish = BundleWish(Path(path), _names(refs), _names(since), force)
        return create_bundle(RegistrySource(self._transport, self.name), wish, progress)

    def apply_bundle(
        self,
        path: str | os.PathLike[str],
        *,
        refs: Sequence[str] = (),
        force: bool = False,
        create: bool = False,
        progress: Progress = NO_PROGRESS,
    ) -> AppliedBundle:
        """Verify a bundle and push what it holds; the same again does nothing.

        Raises:
            Conflict: a branch would leave commits behind, without `force`, or a tag would move.
            InvalidInput, Integrity: the bundle is damaged, or the registry refused a version.
            NotFound: `prerequisite-missing`, `repository-not-found`.
        """
        from plait.bundle.apply import ApplyWish, apply_bundle

        wish = ApplyWish(Path(path), _names(refs), force, create)
        return apply_bundle(self._transport, self.name, wish, progress)

    def info(self) -> wire.Repository:
        """Return what the registry lists about the repository.

        Raises:
            NotFound: `repository-not-found`.
        """
        return wire.decode(wire.Repository, self._transport.call("GET", self._path("")))

    def update(
        self,
        *,
        description: str | None = None,
        private: bool | None = None,
        validate_on: str | None = None,
    ) -> wire.Repository:
        """Return the changed repository; None leaves something as it is.

        `validate_on` is when validations are asked for by themselves: `tag`, `push` or `none`.
        """
        body = wire.encode(wire.RepositoryUpdate(description, private, validate_on))
        answer = self._transport.call("PATCH", self._path(""), body=body)
        return wire.decode(wire.Repository, answer)

    def delete(self) -> None:
        """Delete the repository with its refs and notes, for good; for owners."""
        self._transport.call("DELETE", self._path(""))

    @property
    def protections(self) -> Protections:
        """The rules for its branches and tags."""
        return Protections(self._transport, self.name)

    def resolve(self, revision: str = HEAD) -> CommitId:
        """Return the commit that `revision` names."""
        return resolve(self._transport, self.name, revision)[0]

    def log(
        self, revision: str = HEAD, *, exclude: Sequence[CommitId] = ()
    ) -> Iterator[CommitInfo]:
        """Yield the commits that `revision` reaches, newest first; pages are read as needed."""
        return iter_log(self._transport, self.name, revision, exclude=exclude)

    def show(self, revision: str = HEAD) -> CommitInfo:
        """Return one commit with its notes."""
        return load_commit(self._transport, self.name, self.resolve(revision))

    def manifest(self, revision: str = HEAD) -> Manifest:
        """Return the files and tensors of a version."""
        return self._load_manifest(resolve(self._transport, self.name, revision)[1])

    def diff(self, old: str, new: str = HEAD) -> ManifestDiff:
        """Return which files and tensors changed from one revision to another."""
        return diff_manifests(self.manifest(old), self.manifest(new))

    def merge_bases(self, left: str, right: str) -> list[CommitId]:
        """Return the best common ancestors of two revisions."""
        answer = self._transport.call(
            "GET", self._path("/merge-base"), query={"left": left, "right": right}
        )
        return [CommitId(commit) for commit in wire.decode(wire.MergeBases, answer).bases]

    def refs(self) -> Refs:
        """Return all branches and tags."""
        return load_refs(self._transport, self.name)

    def branch(self, name: str, revision: str = HEAD) -> Ref:
        """Make a branch at a revision.

        Raises:
            Conflict: it is there and points elsewhere.
            AlreadyExists: a tag has the name.
        """
        return self._create_ref(RefKind.BRANCH, name, revision)

    def tag(self, name: str, revision: str = HEAD) -> Ref:
        """Make a tag at a revision, where it stays for good.

        Raises:
            Conflict: `tag-name-retired`, or it is there and points elsewhere.
            AlreadyExists: a branch has the name.
        """
        return self._create_ref(RefKind.TAG, name, revision)

    def delete_ref(
        self, name: str, *, kind: str | None = None, expected: CommitId | None = None
    ) -> Ref:
        """Delete a branch or tag and return what it was; the name of a tag is retired for good.

        `kind` is what it must be, `branch` or `tag`. `expected` is where it must point; None:
        wherever it points when this is called.

        Raises:
            Conflict: it points elsewhere.
            NotFound: `ref-not-found`, also where the name is of the other kind.
        """
        ref = self._find_ref(name)
        if kind is not None and ref.kind is not RefKind(kind):
            raise NotFound(
                "ref-not-found",
                f"{name!r} is a {ref.kind} of {self.name}, no {kind}: nothing was deleted. `plait "
                f"{ref.kind} -d {self.name} {name}` deletes it.",
                name=name,
            )
        path = self._path(f"/refs/{ref.kind.value}/{quote(ref.name)}")
        self._transport.call("DELETE", path, query={"expected": expected or ref.target})
        return ref

    def notes(self, revision: str = HEAD) -> list[wire.Note]:
        """Return the notes of a commit, oldest first."""
        answer = self._transport.call("GET", self._path(f"/commits/{self.resolve(revision)}/notes"))
        return wire.decode(wire.NoteList, answer).notes

    def add_note(self, revision: str, kind: str, body: Mapping[str, Any]) -> wire.Note:
        """Hang facts on a commit, as `metrics`."""
        path = self._path(f"/commits/{self.resolve(revision)}/notes")
        answer = self._transport.call("POST", path, body=wire.encode(wire.Note(kind, dict(body))))
        return wire.decode(wire.Note, answer)

    def _find_ref(self, name: str) -> Ref:
        refs = self.refs()
        for kind, targets in ((RefKind.BRANCH, refs.branches), (RefKind.TAG, refs.tags)):
            target = targets.get(RefName(name))
            if target is not None:
                return Ref(kind, RefName(name), target)
        raise NotFound(
            "ref-not-found", f"There is no branch or tag {name!r} in {self.name}.", name=name
        )

    def _create_ref(self, kind: RefKind, name: str, revision: str) -> Ref:
        wish = wire.NewRef(kind.value, parse_ref_name(name), revision)
        # Making the same ref again is fine, so a lost answer may be asked for again.
        answer = self._transport.call(
            "POST", self._path("/refs"), body=wire.encode(wish), repeatable=True
        )
        return read_ref(wire.decode(wire.Ref, answer))

    def _load_manifest(self, manifest_id: ManifestId) -> Manifest:
        manifest = self._cache.find_manifest(manifest_id)
        if manifest is None:
            manifest = load_manifests(self._transport, self.name, [manifest_id])[manifest_id]
            self._cache.keep_manifest(manifest, manifest_id)
        return manifest

    def _path(self, tail: str) -> str:
        return repository_path(self.name, tail)


def _names(given: Sequence[str]) -> tuple[str, ...]:
    """Return names, also where one was given instead of a list."""
    return (given,) if isinstance(given, str) else tuple(given)
