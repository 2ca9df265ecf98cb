"""The stat cache: what the files were when they were last read, so that they need not be again.

An entry counts as long as the file's size, time of change and inode are the same, **and** its time
of change lies before the moment when reading began. A file that changed in the same tick of the
file system's clock as it was read could have changed again without a trace (git calls its entry
racily clean); such an entry is kept but never believed. Both times are the file system's own, so
that a clock that differs from this machine's does no harm.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from dataclasses import dataclass

from plait.describe import FileStamp, digest_source
from plait.errors import Integrity, InvalidInput, TooLarge
from plait.model.ids import ObjectId
from plait.model.manifest import File, Manifest
from plait.model.paths import FilePath
from plait.parallel import StopSign
from plait.progress import NO_PROGRESS
from plait.working_copy.layout import Layout
from plait.working_copy.state_files import read_json, write_json

_FORMAT = "plait.index/1"


@dataclass(frozen=True, slots=True)
class _Entry:
    file: File
    stamp: FileStamp
    read_at: int
    """The file system's time when reading began, in nanoseconds."""


@dataclass(frozen=True, slots=True)
class OnDisk:
    """What is at a path of the folder."""

    exists: bool
    sha256: ObjectId | None
    """None where nothing is there, or something that can be no file of a version."""


class StatCache:
    """The stat cache of one working copy, read at the start of a command."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._entries = _read_entries(layout)
        self._is_changed = False
        self.now = _read_clock(layout)
        """The file system's time, before anything was read."""

    def find(self, path: FilePath, stamp: FileStamp) -> File | None:
        """Return what a file with this stamp was found to be, if that can be relied on."""
        entry = self._entries.get(path)
        if entry is None or entry.stamp != stamp or stamp.modified_ns >= entry.read_at:
            return None
        return entry.file

    def remember(self, file: File, stamp: FileStamp) -> None:
        """Note what a file was found to be by reading it after `now`."""
        self._entries[file.path] = _Entry(file, stamp, self.now)
        self._is_changed = True

    def look_at(self, path: FilePath) -> OnDisk:
        """Return what is at `path` now; a folder or a link counts as something else."""
        source = self._layout.root / path
        try:
            status = source.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return OnDisk(exists=False, sha256=None)
        stamp = FileStamp.of(status)
        file = self.find(path, stamp)
        if file is None:
            try:
                file = digest_source(path, source, stamp, stop=StopSign(), progress=NO_PROGRESS)
            except (InvalidInput, TooLarge):  # no regular file, or a malformed one
                return OnDisk(exists=True, sha256=None)
            self.remember(file, stamp)
        return OnDisk(exists=True, sha256=file.sha256)

    def save(self, *, keep: Collection[FilePath]) -> None:
        """Write down what was found out about the files of `keep`; the caller holds the lock."""
        if not self._is_changed:
            return
        entries = [entry for path, entry in sorted(self._entries.items()) if path in keep]
        write_json(
            self._layout.index,
            {
                "format": _FORMAT,
                "manifest": Manifest(tuple(entry.file for entry in entries)).to_json(),
                "stamps": [[*_stamp_json(entry.stamp), entry.read_at] for entry in entries],
            },
        )
        self._is_changed = False


def _read_entries(layout: Layout) -> dict[FilePath, _Entry]:
    # Whatever is wrong with the cache only costs time: files are read again.
    with contextlib.suppress(Integrity, InvalidInput, TooLarge, KeyError, TypeError, ValueError):
        document = read_json(layout.index)
        if isinstance(document, dict) and document.get("format") == _FORMAT:
            files = Manifest.from_json(document["manifest"]).files
            return {
                file.path: _Entry(file, FileStamp(size, modified_ns, inode), read_at)
                for file, (size, modified_ns, inode, read_at) in zip(
                    files, document["stamps"], strict=True
                )
            }
    return {}


def _stamp_json(stamp: FileStamp) -> tuple[int, int, int]:
    return stamp.size, stamp.modified_ns, stamp.inode


def _read_clock(layout: Layout) -> int:
    """Return the file system's time; 0, by which no entry counts, where nothing can be written."""
    probe = layout.state / f"clock.{os.getpid()}.tmp"
    with contextlib.suppress(OSError):
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            return os.fstat(descriptor).st_mtime_ns
        finally:
            os.close(descriptor)
            probe.unlink()
    return 0
