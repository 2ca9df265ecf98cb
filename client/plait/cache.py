"""The cache of one user: verified files by their digest, and versions as immutable folders.

    files/sha256/ab/abcd...     verified bytes, read-only
    versions/<manifest id>/     a whole version, read-only: hard links to the files
    parts/<digest>/             a part of a version, named by the commit and the patterns
    manifests/<manifest id>     canonical JSON
    commits/<commit id>         the manifest id of a commit

- A name under any of these exists only once its content is complete and verified: things are built
  under a temporary name and renamed.
- Nothing under such a name ever changes, so serving engines may map it for as long as they like.
- Every file gets the same modification time. Whoever writes to a cached file by force changes it,
  so that one look at the status of each file tells whether a version is intact; reading all bytes
  again is `verify`'s business. (Who also sets the time back is not noticed by the cheap check.)
- A damaged version is set aside and built anew, and so is a damaged file.
- Any number of processes may use one cache: two that build the same thing both succeed, and the
  first one's stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TypeVar

from plait.errors import Integrity, InvalidInput
from plait.model.ids import CommitId, ManifestId, ObjectId, hash_bytes, parse_manifest_id
from plait.model.manifest import File, Manifest
from plait.partial_file import disk_errors
from plait.transport import PIECE_SIZE

STAMP = 1_000_000_000
"""The modification time of every cached file, in seconds since 1970."""
READ_ONLY_FILE = 0o444
READ_ONLY_FOLDER = 0o555

T = TypeVar("T")


class Cache:
    """A cache under one folder, which is made when it is first written to."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path_of(self, file: ObjectId) -> Path:
        """Return where a file of this digest lies, or would."""
        return self._root / "files" / "sha256" / file[:2] / file

    def has_file(self, file: File) -> bool:
        """Tell whether the file is there, by its size and stamp; a damaged one is removed.

        One whose stamp was lost, as by copying the cache, is read and stamped again.
        """
        path = self.path_of(file.sha256)
        if _is_intact(path, file.size):
            return True
        with disk_errors(path):
            try:
                self.seal_file(path, file.sha256)
                return True
            except Integrity:
                # Removing the name leaves the bytes to whoever has them open.
                path.unlink(missing_ok=True)
                return False

    def seal_file(self, path: Path, file: ObjectId) -> None:
        """Check bytes that are about to become the cached file, and make them read-only.

        Raises:
            Integrity: `digest-mismatch`.
        """
        verify_digest(path, file)
        path.chmod(READ_ONLY_FILE)
        os.utime(path, (STAMP, STAMP))

    def find_version(self, manifest: Manifest, manifest_id: ManifestId) -> Path | None:
        """Return the folder of a version that is there and intact, by a look at each file."""
        folder = self._root / "versions" / manifest_id
        is_intact = all(_is_intact(folder / file.path, file.size) for file in manifest.files)
        return folder if is_intact and folder.is_dir() else None

    def verify_version(self, folder: Path, manifest: Manifest) -> None:
        """Read a version's folder again.

        Raises:
            Integrity: `digest-mismatch`, a file is not what it was; it is removed from the cache.
        """
        for file in manifest.files:
            try:
                verify_digest(folder / file.path, file.sha256)
            except Integrity:
                self.path_of(file.sha256).unlink(missing_ok=True)
                raise

    def build_version(self, manifest: Manifest, manifest_id: ManifestId) -> Path:
        """Make the folder of a version whose files are all cached, and return it.

        A folder of that name that is there already is damaged, or `find_version` had found it.
        """
        folder = self._root / "versions" / manifest_id

        def fill(temporary: Path) -> None:
            for file in manifest.files:
                self.place_file(file, temporary)

        if folder.exists():
            self._set_aside(folder)
        self.build(folder, fill)
        return folder

    def place_file(self, file: File, folder: Path) -> None:
        """Put a cached file at its path under a folder that is being built."""
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        _link(self.path_of(file.sha256), target)

    def part_folder(self, commit: CommitId, patterns: Sequence[str]) -> Path:
        """Return where the part of a version lies, or would, that some patterns select."""
        key = hash_bytes("\n".join((commit, *sorted(set(patterns)))).encode())
        return self._root / "parts" / key

    def build(self, folder: Path, fill: Callable[[Path], T]) -> T:
        """Make a folder of the cache, which `fill` writes and verifies under a temporary name."""
        # Beside its final place: moving a read-only folder between parents is not allowed.
        temporary = _temporary(folder, "new")
        try:
            with disk_errors(folder):
                temporary.mkdir(parents=True)
                result = fill(temporary)
                _make_read_only(temporary)
                with _first_one_stays(folder):
                    temporary.rename(folder)
            return result
        finally:
            remove_folder(temporary)

    def find_manifest(self, manifest_id: ManifestId) -> Manifest | None:
        """Return a manifest that was seen before."""
        try:
            data = (self._root / "manifests" / manifest_id).read_bytes()
        except OSError:
            return None
        if ManifestId(hash_bytes(data)) != manifest_id:
            return None
        return Manifest.from_bytes(data)

    def keep_manifest(self, manifest: Manifest, manifest_id: ManifestId) -> None:
        """Remember a manifest."""
        write_whole(self._root / "manifests" / manifest_id, manifest.to_bytes())

    def find_commit(self, commit: CommitId) -> ManifestId | None:
        """Return the manifest of a commit that was seen before."""
        try:
            return parse_manifest_id((self._root / "commits" / commit).read_text("ascii"))
        except (OSError, ValueError, InvalidInput):
            return None

    def keep_commit(self, commit: CommitId, manifest_id: ManifestId) -> None:
        """Remember which manifest a commit names."""
        write_whole(self._root / "commits" / commit, manifest_id.encode())

    def _set_aside(self, folder: Path) -> None:
        """Take its name from a damaged folder; whoever uses it keeps what is open."""
        with contextlib.suppress(FileNotFoundError):
            folder.rename(_temporary(folder, "damaged"))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is never seen in part; its folder is made where it is absent.

    Raises:
        Unavailable: `disk-full`.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(path, "new")
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def verify_digest(path: Path, expected: ObjectId) -> None:
    """Read a file and check its digest.

    Raises:
        Integrity: `digest-mismatch`.
    """
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(PIECE_SIZE))
    try:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                digest.update(buffer[:count])
    except FileNotFoundError as error:
        raise Integrity("digest-mismatch", f"{path} is not there.", path=str(path)) from error
    if digest.hexdigest() != expected:
        raise Integrity(
            "digest-mismatch",
            f"{path.name}: the bytes are not those that were asked for (sha256 "
            f"{digest.hexdigest()[:12]} instead of {expected[:12]}). They were thrown away: try "
            "again, and ask the registry's operator to run `plait-registry fsck` if it repeats.",
            expected=expected,
            actual=digest.hexdigest(),
        )


def remove_folder(folder: Path) -> None:
    """Remove a folder also where it is read-only; absent is fine."""
    if not folder.exists():
        return
    for path, folders, _ in os.walk(folder):
        for name in folders:
            Path(path, name).chmod(0o755)
    folder.chmod(0o755)
    shutil.rmtree(folder)


def _is_intact(path: Path, size: int) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    is_same = status.st_size == size and status.st_mtime_ns == STAMP * 1_000_000_000
    return is_same and stat.S_ISREG(status.st_mode)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        # No hard links here, or too many to this file already.
        shutil.copyfile(source, target)
        target.chmod(READ_ONLY_FILE)
        os.utime(target, (STAMP, STAMP))


def _make_read_only(folder: Path) -> None:
    for path, _, names in os.walk(folder, topdown=False):
        for name in names:
            file = Path(path, name)
            if stat.S_IMODE(file.stat().st_mode) != READ_ONLY_FILE:
                file.chmod(READ_ONLY_FILE)
            os.utime(file, (STAMP, STAMP))
        Path(path).chmod(READ_ONLY_FOLDER)


@contextlib.contextmanager
def _first_one_stays(folder: Path) -> Generator[None]:
    try:
        yield
    except OSError:
        # Another process was first: its folder holds the same bytes.
        if not folder.is_dir():
            raise


def _temporary(path: Path, what: str) -> Path:
    return path.with_name(f".{what}-{secrets.token_hex(6)}-{path.name[:24]}")
