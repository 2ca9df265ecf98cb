"""Describing a folder: which files a version of it has, and their digests.

- What is no part of a version is passed over: plait's and git's own folders, caches, editor and
  desktop droppings, what `.plaitignore` names, and the state that a trainer writes beside an
  adapter to resume from (it is pickled, large and of no use to who applies the adapter).
- Symbolic links, pickles, and whatever is no regular file are refused, and nothing that could
  block (a pipe) is ever opened.
- A file that changes while it is read is noticed.
- Files are hashed in parallel, in pieces; memory does not grow with their size.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from plait.errors import InvalidInput, TooLarge
from plait.model.adapter import FILE_NAME, LARGEST_CONFIG, AdapterConfig, parse_adapter_config
from plait.model.base_version import is_base
from plait.model.commit import Base
from plait.model.digesting import FileDigester, Hash
from plait.model.manifest import File, Manifest
from plait.model.paths import FilePath, is_pickle, parse_path
from plait.model.stack import FILE_NAME as STACK_NAME
from plait.model.stack import LARGEST_STACK, Stack, is_stack, verify_stack_files
from plait.parallel import StopSign, run_parallel
from plait.progress import NO_PROGRESS, Progress
from plait.transport import PIECE_SIZE

LEAST_BESIDE = 8 << 20
"""Bytes from which a thread for the file's own digest saves more than it costs."""
IGNORE_FILE = ".plaitignore"
"""Patterns as `fnmatch` reads them, one a line, matched against path and name; # is a comment."""
NEVER_INCLUDED = frozenset(
    {".plait", ".git", ".hg", ".svn", "__pycache__", ".ipynb_checkpoints", ".DS_Store", "Thumbs.db"}
)
TRAINER_STATE = (
    "optimizer.pt",
    "optimizer.bin",
    "scheduler.pt",
    "scaler.pt",
    "rng_state.pth",
    "rng_state_*.pth",
    "training_args.bin",
    "trainer_state.json",
)
"""What `transformers.Trainer` writes into a checkpoint to resume from, by the names it uses."""


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What tells cheaply that a file is the one that was read (git's index does the same)."""

    size: int
    modified_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileStamp:
        """Return the stamp of a file's status."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


@dataclass(frozen=True, slots=True)
class Description:
    """A folder as a version."""

    manifest: Manifest
    sources: Mapping[FilePath, Path]
    """Where each file of the manifest is on this machine."""
    stamps: Mapping[FilePath, FileStamp]
    """As they were when the files were read."""
    skipped: tuple[str, ...]
    """Trainer state that was left out, as paths: people may want to know."""
    config: AdapterConfig | None
    """What `adapter_config.json` says, where there is one."""
    config_bytes: bytes | None = field(repr=False)
    stack_bytes: bytes | None = field(repr=False, default=None)
    """Of `stack.json`, where there is one; they may be no stack."""


Known = Callable[[FilePath, FileStamp], File | None]
"""Returns what a file with this stamp was found to be before, so that it need not be read again."""


def describe_folder(
    folder: Path, *, known: Known | None = None, progress: Progress = NO_PROGRESS
) -> Description:
    """Return what `folder` holds as a version, which may still lack an adapter.

    Raises:
        InvalidInput: something in it cannot be part of a version; the message says what to do.
        TooLarge: a safetensors header is over a limit.
    """
    paths, skipped = list_files(folder)
    stamps = {path: _stamp(path, source) for path, source in paths.items()}
    files: dict[FilePath, File] = {}
    for path, stamp in stamps.items():
        earlier = known(path, stamp) if known else None
        if earlier is not None:
            files[path] = earlier
    unread = [path for path in paths if path not in files]
    progress.total(sum(stamps[path].size for path in unread), what="Hashing")
    lock = threading.Lock()

    def digest(path: FilePath, stop: StopSign) -> None:
        file = digest_source(path, paths[path], stamps[path], stop=stop, progress=progress)
        with lock:
            files[path] = file

    try:
        run_parallel([partial(digest, path) for path in unread])
    finally:
        progress.finish()
    config_bytes = _read_small(FILE_NAME, paths, LARGEST_CONFIG)
    return Description(
        manifest=Manifest.of(files.values()),
        sources=paths,
        stamps=stamps,
        skipped=tuple(skipped),
        config=None if config_bytes is None else parse_adapter_config(config_bytes),
        config_bytes=config_bytes,
        stack_bytes=_read_small(STACK_NAME, paths, LARGEST_STACK),
    )


def verify_adapter_folder(description: Description) -> None:
    """Check that a version is one of an adapter or of a stack, as the registry will.

    Raises:
        InvalidInput: `adapter-config-missing`, `adapter-empty` or `invalid-stack`.
    """
    if description.stack_bytes is not None and is_stack(description.manifest):
        verify_stack_files(description.manifest)
        Stack.from_bytes(description.stack_bytes)
        return
    if description.config is None and is_base(description.manifest):
        raise InvalidInput(
            "adapter-config-missing",
            f"The folder holds a base model and no {FILE_NAME}: bases are pushed with `plait base "
            "push`, from any folder, and adapters to repositories of their own.",
        )
    if description.config is None:
        raise InvalidInput(
            "adapter-config-missing",
            f"The folder has no {FILE_NAME}: is it the one that PEFT's save_pretrained wrote? "
            "Point plait at the folder that holds it, beside the weights; a model that adapters "
            "belong to is pushed with `plait base push`.",
        )
    if not any(file.tensors and file.tensors.entries for file in description.manifest.files):
        raise InvalidInput(
            "adapter-empty",
            "The folder holds no tensor in any safetensors file: was the adapter saved before it "
            "was trained, or in another format (save_pretrained(..., safe_serialization=True))?",
        )


def find_base(config: AdapterConfig | None, given: Base | None) -> Base:
    """Return the base model of an adapter: the one that was given, else what its config names.

    A stack has no config.

    Raises:
        InvalidInput: `base-unknown`.
    """
    if given is not None and given.name:
        return given
    name = config.base_name if config else None
    if config is None or name is None:
        silent = (
            f"{STACK_NAME} does not name the base model that its adapters belong to"
            if config is None
            else f"{FILE_NAME} does not name the base model that the adapter belongs to"
        )
        raise InvalidInput(
            "base-unknown", f"{silent}: give it with --base NAME[@REVISION], or base= in Python."
        )
    revision = config.base_revision
    return Base(name, revision, given.fingerprint if given else None)


def list_files(
    folder: Path, *, allow_pickles: bool = False
) -> tuple[dict[FilePath, Path], list[str]]:
    """Return the files that belong to a version of `folder`, sorted, and what was left out.

    Raises:
        InvalidInput: something in the folder cannot be part of a version.
    """
    if not folder.is_dir():
        raise InvalidInput(
            "invalid-input", f"{folder} is not a folder: name the one that holds the adapter."
        )
    ignored = _read_patterns(folder / IGNORE_FILE)
    files: dict[FilePath, Path] = {}
    skipped: list[str] = []
    for relative, entry in _walk(folder, "", ignored):
        if _matches(entry.name, TRAINER_STATE):
            skipped.append(relative)
            continue
        path = parse_path(relative)
        if is_pickle(path) and not allow_pickles:
            raise InvalidInput(
                "pickle-refused",
                f"{path} is in a pickle format, which can run code when it is loaded: convert it "
                f"to safetensors (`plait push --convert` does), or name it in {IGNORE_FILE}.",
                path=path,
            )
        files[path] = Path(entry.path)
    return dict(sorted(files.items())), skipped


def open_regular(path: FilePath, source: Path) -> int:
    """Return a descriptor for reading a file that is neither a link nor anything that blocks.

    Raises:
        InvalidInput: `symlink-refused`, `not-a-regular-file` or `file-changed`.
    """
    # O_NONBLOCK, since a pipe may have taken the file's place after it was listed.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(source, flags | getattr(os, "O_BINARY", 0))
    except OSError as error:
        if source.is_symlink():
            raise _refuse_link(path) from error
        raise InvalidInput(
            "file-changed", f"Cannot read {path}: {error.strerror}.", path=path
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _refuse_irregular(path)
    return descriptor


def digest_source(
    path: FilePath, source: Path, stamp: FileStamp, *, stop: StopSign, progress: Progress
) -> File:
    """Return what the file at `source` is, read in pieces.

    Raises:
        InvalidInput: `file-changed`, it is not the file of `stamp`; or it is malformed.
        TooLarge: its header is larger than allowed.
    """
    try:
        return _digest(path, source, stamp, stop=stop, progress=progress)
    except (InvalidInput, TooLarge) as error:
        if "path" in error.details:
            raise
        # The rules of a format know bytes alone; people have to know which file it is.
        details = {**error.details, "path": path}
        raise type(error)(error.kind, f"{path}: {error.message}", **details) from error


def _digest(
    path: FilePath, source: Path, stamp: FileStamp, *, stop: StopSign, progress: Progress
) -> File:
    descriptor = open_regular(path, source)
    try:
        buffer = memoryview(bytearray(min(PIECE_SIZE, stamp.size + 1)))
        with (
            os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file,
            _start_hash(stamp.size) as whole,
        ):
            digester = FileDigester(path, stamp.size, whole=whole)
            while count := file.readinto(buffer):
                stop.check()
                digester.update(buffer[:count])
                whole.settle()
                progress.advance(count)
        is_same = FileStamp.of(os.fstat(descriptor)) == stamp
    except OSError as error:
        raise InvalidInput(
            "file-changed", f"Cannot read {path}: {error.strerror}.", path=path
        ) from error
    finally:
        os.close(descriptor)
    if not is_same:
        raise InvalidInput(
            "file-changed",
            f"{path} was written to while it was read: wait until the training has saved it.",
            path=path,
        )
    return digester.finish()


class _FileHash:
    """The sha256 of a file; with a pool, computed in it while the caller goes on."""

    def __init__(self, pool: ThreadPoolExecutor | None) -> None:
        self._pool = pool
        self._hash = hashlib.sha256()
        self._running: Future[None] | None = None

    def update(self, view: memoryview, /) -> None:
        """Take the next bytes, which may not change before `settle`."""
        if self._pool is None:
            self._hash.update(view)
        else:
            self._running = self._pool.submit(self._hash.update, view)

    def settle(self) -> None:
        """Wait until the bytes were taken."""
        if self._running is not None:
            self._running.result()

    def hexdigest(self) -> str:
        """Return the digest of what was taken."""
        return self._hash.hexdigest()

    def copy(self) -> Hash:
        """Return another one that has taken the same."""
        return self._hash.copy()


@contextmanager
def _start_hash(size: int) -> Generator[_FileHash]:
    """Start the hash of a file of `size` bytes, beside that of its tensors where that pays."""
    if size < LEAST_BESIDE:
        yield _FileHash(None)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="digest") as pool:
        yield _FileHash(pool)


def _walk(
    folder: Path, prefix: str, ignored: Sequence[str]
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        relative = prefix + entry.name
        if entry.name in NEVER_INCLUDED or _matches(relative, ignored):
            continue
        if entry.is_symlink():
            raise _refuse_link(relative)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), f"{relative}/", ignored)
        elif entry.is_file(follow_symlinks=False):
            yield relative, entry
        else:
            raise _refuse_irregular(relative)


def _matches(path: str, patterns: Sequence[str]) -> bool:
    name = path.rpartition("/")[2]
    return any(
        fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(name, pattern)
        for pattern in patterns
    )


def _read_patterns(path: Path) -> list[str]:
    try:
        descriptor = open_regular(FilePath(IGNORE_FILE), path)
    except InvalidInput:
        if os.path.lexists(path):
            raise
        return []
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file]
    return [line.rstrip("/") for line in lines if line and not line.startswith("#")]


def _stamp(path: FilePath, source: Path) -> FileStamp:
    try:
        return FileStamp.of(source.lstat())
    except OSError as error:
        raise InvalidInput(
            "file-changed", f"{path} went away while it was read: try again.", path=path
        ) from error


def _read_small(name: str, paths: Mapping[FilePath, Path], limit: int) -> bytes | None:
    source = paths.get(FilePath(name))
    if source is None:
        return None
    with os.fdopen(open_regular(FilePath(name), source), "rb") as file:
        # The parser refuses what is over the limit; one byte more is enough for it to see that.
        return file.read(limit + 1)


def _refuse_link(path: str) -> InvalidInput:
    return InvalidInput(
        "symlink-refused",
        f"{path} is a symbolic link, which means something else on another machine: replace it by "
        "the file that it points at.",
        path=path,
    )


def _refuse_irregular(path: str) -> InvalidInput:
    return InvalidInput(
        "not-a-regular-file",
        f"{path} is a pipe, socket or device: remove it, or name it in {IGNORE_FILE}.",
        path=path,
    )
