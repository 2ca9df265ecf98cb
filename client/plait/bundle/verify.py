"""Checking all of a bundle without a registry, before anybody relies on a byte of it.

(1) the frame (`plait.bundle.reader`), and the sha256 of all of it, by which two sites compare;
(2) the commits: each has the id that it is named by, and its parents come earlier or are
    prerequisites;
(3) the manifests: each has its id, and is named by a commit, in the order of these;
(4) the files: each is carried once, and in that order. Of a file whose bytes are all here, its
    sha256, the rules of safetensors and each tensor's sha256 are checked; of one that counts on a
    prerequisite, its header and each tensor that is here.

What a registry asks beyond that, such as finite weights, it checks itself when it is pushed to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from plait.bundle.archive import archive_size
from plait.bundle.contents import CarriedFile, Contents
from plait.bundle.places import FilePlaces, Locator
from plait.bundle.plan import RegionCheck
from plait.bundle.reader import Bundle, open_bundle
from plait.errors import Integrity, InvalidInput
from plait.model.commit import Commit
from plait.model.digesting import digest_file
from plait.model.ids import CommitId, ManifestId, ObjectId, abbreviate
from plait.model.manifest import File
from plait.model.safetensors_layout import parse_header
from plait.progress import NO_PROGRESS, Progress


@dataclass(frozen=True, slots=True)
class VerifiedBundle:
    """A bundle that passed every check."""

    path: Path
    sha256: str
    """Of all of it."""
    size: int
    """Bytes."""
    contents: Contents
    prerequisites: Mapping[CommitId, Commit]
    commits: Mapping[CommitId, Commit]
    """Parents before children."""
    files: Mapping[ObjectId, FilePlaces]
    """The carried files, by their sha256."""
    first_files: Mapping[ManifestId, tuple[ObjectId, ...]]
    """Those that each manifest is the first to name."""

    @property
    def files_in_part(self) -> int:
        """How many files could be checked in part only, since a prerequisite has the rest."""
        return sum(not places.is_whole for places in self.files.values())


def verify_bundle(path: Path, progress: Progress = NO_PROGRESS) -> VerifiedBundle:
    """Check a bundle as the module says.

    Raises:
        NotFound: `file-not-found`.
        InvalidInput, TooLarge, Integrity: do not use it; the message says where it is wrong.
    """
    with open_bundle(path) as bundle:
        contents = bundle.contents
        size = archive_size(bundle.placed[-1])
        progress.total(2 * size, what="Verifying")
        try:
            digest = _digest(bundle, size, progress)  # (1)
            prerequisites = {
                CommitId(item.id): bundle.load_commit(CommitId(item.id))
                for item in contents.prerequisites
            }
            commits = _verify_commits(bundle, prerequisites)  # (2)
            _verify_order(contents, [*prerequisites.values(), *commits.values()])  # (3)
            required = {commit.manifest for commit in prerequisites.values()}
            files, firsts = _verify_files(bundle, required, progress)  # (4)
        finally:
            progress.finish()
        return VerifiedBundle(
            bundle.path, digest, size, contents, prerequisites, commits, files, firsts
        )


def _digest(bundle: Bundle, size: int, progress: Progress) -> str:
    digest = hashlib.sha256()
    for piece in bundle.read(0, size):
        digest.update(piece)
        progress.advance(len(piece))
    return digest.hexdigest()


def _verify_commits(
    bundle: Bundle, prerequisites: Mapping[CommitId, Commit]
) -> dict[CommitId, Commit]:
    commits: dict[CommitId, Commit] = {}
    for item in bundle.contents.commits:
        commit_id = CommitId(item.id)
        commit = bundle.load_commit(commit_id)
        for parent in commit.parents:
            if parent not in commits and parent not in prerequisites:
                raise Integrity(
                    "bundle-incomplete",
                    f"The bundle lacks the commit {abbreviate(parent)}, a parent of "
                    f"{abbreviate(commit_id)}: create it anew.",
                    commit=commit_id,
                    parent=parent,
                )
        commits[commit_id] = commit
    return commits


def _verify_order(contents: Contents, commits: list[Commit]) -> None:
    named = dict.fromkeys(commit.manifest for commit in commits)
    if list(named) != [ManifestId(item.id) for item in contents.manifests]:
        raise InvalidInput(
            "invalid-bundle", "The bundle's manifests are not those that its commits name in order."
        )


def _verify_files(
    bundle: Bundle, required: set[ManifestId], progress: Progress
) -> tuple[dict[ObjectId, FilePlaces], dict[ManifestId, tuple[ObjectId, ...]]]:
    named = [ManifestId(item.id) for item in bundle.contents.manifests]
    locator = Locator(bundle, [bundle.load_manifest(item) for item in named if item in required])
    files: dict[ObjectId, FilePlaces] = {}
    firsts: dict[ManifestId, tuple[ObjectId, ...]] = {}
    for manifest_id in named:
        if manifest_id in required:
            continue
        before = len(files)
        for file, carried, places in locator.locate(bundle.load_manifest(manifest_id)):
            files[file.sha256] = places
            _verify_file(bundle, file, carried, places)
            progress.advance(carried.member.size)
        firsts[manifest_id] = tuple(files)[before:]
    locator.finish()
    return files, firsts


def _verify_file(bundle: Bundle, file: File, carried: CarriedFile, places: FilePlaces) -> None:
    if places.is_whole:
        if digest_file(file.path, file.size, _read_file(bundle, places)) != file:
            raise Integrity(
                "digest-mismatch",
                f"The bytes of {file.path} are not those that its version names: copy the bundle "
                "again, or create it anew.",
                path=file.path,
                expected=file.sha256,
            )
        return
    check = RegionCheck(file, carried)
    begin = bundle.place_of(carried)
    for piece in bundle.read(begin, carried.member.size):
        check.update(piece)
    check.finish()
    _verify_header(bundle, begin, file)


def _read_file(bundle: Bundle, places: FilePlaces) -> Iterator[memoryview]:
    for piece in places.pieces:
        if piece.at is not None:
            yield from bundle.read(piece.at, piece.end - piece.begin)


def _verify_header(bundle: Bundle, begin: int, file: File) -> None:
    """Check that the header, which a member begins with, says the same as the manifest."""
    entries = file.tensors.entries if file.tensors is not None else ()
    end = entries[0].offset if entries else file.size
    header = b"".join(bytes(piece) for piece in bundle.read(begin, end))
    found = parse_header(header, file_size=file.size).tensors
    said = [(entry.name, entry.dtype, entry.shape, entry.offset) for entry in entries]
    if [(item.name, item.dtype, item.shape, item.offset) for item in found] != said:
        raise Integrity(
            "digest-mismatch",
            f"The header of {file.path} describes other tensors than its version names.",
            path=file.path,
        )
