"""`plait cache show`, `verify` and `clear`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from plait.cache import Cache, remove_folder, verify_digest
from plait.cli.arguments import add_json
from plait.cli.context import Context
from plait.cli.terminal import format_size, plural
from plait.errors import Integrity
from plait.model.ids import ManifestId, ObjectId

USAGE = "plait cache show|verify|clear"
EXAMPLES = """\
  plait cache show                  where it is, and how large
  plait cache verify                read every file again, and remove what is damaged
  plait cache clear                 remove everything; an engine that serves from it would fail
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("action", choices=("show", "verify", "clear"), help="what to do")
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Show, verify or clear."""
    root = context.configuration.cache_dir
    files = list(_list_files(root))
    size = sum(path.stat().st_size for path in files)
    versions = list(_list_versions(root))
    facts: dict[str, object] = {
        "folder": str(root),
        "files": len(files),
        "versions": len(versions),
        "bytes": size,
    }
    text = (
        f"{root}: {plural(len(files), 'file')} of {plural(len(versions), 'version')}, "
        f"{format_size(size)}"
    )
    if arguments.action == "clear":
        remove_folder(root)
        text = f"Removed {text}"
    elif arguments.action == "verify":
        damaged = _remove_damaged(context.open_cache(), files, versions)
        facts["damaged"] = damaged
        outcome = f"removed {len(damaged)} damaged" if damaged else "all intact"
        text = f"{text}; {outcome}"
    if arguments.json:
        context.terminal.json(facts)
        return
    context.terminal.print(text)


def _list_files(root: Path) -> Iterator[Path]:
    """Yield the cached files, which are named by their digests."""
    yield from (path for path in sorted(root.glob("files/sha256/*/*")) if len(path.name) == 64)


def _list_versions(root: Path) -> Iterator[Path]:
    yield from (path for path in sorted(root.glob("versions/*")) if len(path.name) == 64)


def _remove_damaged(cache: Cache, files: list[Path], versions: list[Path]) -> list[str]:
    """Remove what is not what its name says, and return it; the next pull gets it again."""
    damaged = []
    for folder in versions:
        manifest = cache.find_manifest(ManifestId(folder.name))
        try:
            if manifest is not None:
                cache.verify_version(folder, manifest)
        except Integrity:
            damaged.append(str(folder))
            remove_folder(folder)
    for path in files:
        try:
            if path.exists():  # it may have gone with a damaged version
                verify_digest(path, ObjectId(path.name))
        except Integrity:
            damaged.append(str(path))
            path.unlink()
    return damaged
