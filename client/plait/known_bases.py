"""The bases on this machine: their tensors' digests, remembered so that a base is hashed once.

What was found out about a safetensors file is kept in the cache's folder under the digest of the
file's path, with a stamp: size, inode, device, and the times of the last change of content and of
status. Nobody sets the latter back, short of changing the clock, so that a changed byte is noticed
even where the former was set back. As in `plait.working_copy.stat_cache`, an entry is believed
only if both times lie before the moment when reading began.

Whatever is wrong with an entry, or with the folder, only costs time: the file is read again.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from plait.cache import write_whole
from plait.errors import InvalidInput, PlaitError, TooLarge
from plait.fingerprint import digest_weights, list_weights
from plait.model import canonical
from plait.model.base_fingerprint import fingerprint_tensors
from plait.model.ids import ObjectId, hash_bytes
from plait.model.manifest import TensorTable, parse_table
from plait.model.paths import FilePath, is_safetensors
from plait.progress import NO_PROGRESS, Progress

CACHE_NAME = "bases"
"""The folder below the cache's."""
DEEPEST = 6
"""Levels below a root at which a base is looked for; the Hub's cache has its snapshots at 3."""
_FORMAT = "plait.known-weights/1"

_Stamp = list[int]


def base_digests(
    folder: Path, cache_dir: Path | None, progress: Progress = NO_PROGRESS
) -> tuple[ObjectId, Mapping[str, ObjectId]]:
    """Return the fingerprint of the base in `folder`, and the sha256 of each tensor by its name.

    Files that were read before are not read again; without a `cache_dir`, all are.

    Raises:
        InvalidInput: there are no safetensors, a name appears twice, or a file is malformed.
    """
    tables = base_tables(folder, cache_dir, progress)
    tensors = [tensor for table in tables.values() for tensor in table.entries]
    return fingerprint_tensors(tensors), {tensor.name: tensor.sha256 for tensor in tensors}


def base_tables(
    folder: Path, cache_dir: Path | None, progress: Progress = NO_PROGRESS
) -> dict[FilePath, TensorTable]:
    """Return the tensors of each safetensors file in `folder`; raises as `base_digests`."""
    sources = list_weights(folder)
    if cache_dir is None:
        return digest_weights(sources, progress=progress)
    memory = cache_dir / CACHE_NAME
    stamps = {path: _take_stamp(source) for path, source in sources.items()}
    tables = {path: _recall(memory, source, stamps[path]) for path, source in sources.items()}
    unread = {path: source for path, source in sources.items() if tables[path] is None}
    if unread:
        now = _read_clock(memory)
        for path, table in digest_weights(unread, progress=progress).items():
            tables[path] = table
            _remember(memory, sources[path], stamps[path], now, table)
    return {path: table for path, table in tables.items() if table is not None}


def find_base_folder(
    roots: Sequence[Path],
    fingerprint: ObjectId,
    cache_dir: Path | None = None,
    progress: Progress = NO_PROGRESS,
) -> Path | None:
    """Return the first folder at or below `roots` that holds the base of this fingerprint.

    Folders that are no models, or damaged ones, are passed over.
    """
    found = _walk_bases(roots, cache_dir, progress)
    return next((folder for known, folder in found if known == fingerprint), None)


def list_bases(
    roots: Sequence[Path], cache_dir: Path | None = None, progress: Progress = NO_PROGRESS
) -> dict[ObjectId, Path]:
    """Return the bases at or below `roots`, each with the first folder that holds it."""
    bases: dict[ObjectId, Path] = {}
    for fingerprint, folder in _walk_bases(roots, cache_dir, progress):
        bases.setdefault(fingerprint, folder)
    return bases


def _walk_bases(
    roots: Sequence[Path], cache_dir: Path | None, progress: Progress
) -> Iterator[tuple[ObjectId, Path]]:
    for folder in _list_models(roots):
        with contextlib.suppress(InvalidInput, TooLarge):
            yield base_digests(folder, cache_dir, progress)[0], folder


def _list_models(roots: Sequence[Path]) -> Iterator[Path]:
    """Yield the folders that hold safetensors and are no adapters, in order."""
    for root in roots:
        for parent, folders, names in os.walk(root):
            depth = len(Path(parent).relative_to(root).parts)
            folders[:] = sorted(name for name in folders if depth < DEEPEST and name[0] != ".")
            is_adapter = "adapter_config.json" in names
            if not is_adapter and any(is_safetensors(name) for name in names):
                yield Path(parent)


def _take_stamp(source: Path) -> _Stamp:
    try:
        status = source.stat()
    except OSError as error:
        raise InvalidInput("file-changed", f"Cannot read {source}: {error.strerror}.") from error
    times = [status.st_mtime_ns, status.st_ctime_ns]
    # As text in the document: nanoseconds exceed what canonical JSON holds as a number.
    return [status.st_size, status.st_ino, status.st_dev, *times]


def _entry_of(memory: Path, source: Path) -> Path:
    return memory / f"{hash_bytes(os.fsencode(source))}.json"


def _recall(memory: Path, source: Path, stamp: _Stamp) -> TensorTable | None:
    with contextlib.suppress(OSError, PlaitError, AttributeError, KeyError, TypeError, ValueError):
        document = canonical.loads(_entry_of(memory, source).read_bytes())
        is_same = document.get("stamp") == _write_numbers(stamp)
        is_settled = max(stamp[-2:]) < int(document["read_at"])
        if document.get("format") == _FORMAT and is_same and is_settled:
            return parse_table(document["table"], str(source))
    return None


def _remember(memory: Path, source: Path, stamp: _Stamp, now: int, table: TensorTable) -> None:
    document = {
        "format": _FORMAT,
        "path": os.fspath(source).encode(errors="replace").decode(),
        "stamp": _write_numbers(stamp),
        "read_at": str(now),
        "table": table.to_json(),
    }
    with contextlib.suppress(OSError, PlaitError):
        if _take_stamp(source) == stamp:
            write_whole(_entry_of(memory, source), canonical.dumps(document))


def _write_numbers(stamp: _Stamp) -> list[str]:
    return list(map(str, stamp))


def _read_clock(memory: Path) -> int:
    """Return the file system's time in ns; 0, by which no entry counts, where one cannot write."""
    probe = memory / f".clock-{secrets.token_hex(6)}"
    with contextlib.suppress(OSError):
        memory.mkdir(parents=True, exist_ok=True)
        try:
            probe.touch()
            return probe.stat().st_mtime_ns
        finally:
            probe.unlink(missing_ok=True)
    return 0
