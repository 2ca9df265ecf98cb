"""`plait show`, of a working copy or of a repository."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from plait.cli.arguments import add_json, add_url
from plait.cli.context import Context
from plait.cli.describe_commit import ShownCommit, format_commit
from plait.cli.log import find_names, find_remote_names
from plait.cli.targets import find_address
from plait.cli.terminal import Terminal, format_size, plural, printable
from plait.errors import InvalidInput
from plait.model.adapter import FILE_NAME, parse_adapter_config
from plait.model.address import Address
from plait.model.ids import abbreviate
from plait.model.manifest import File, Manifest
from plait.model.stack import FILE_NAME as STACK_NAME
from plait.model.stack import Stack, is_stack
from plait.working_copy.copy import WorkingCopy
from plait.working_copy.notes import read_notes

USAGE = """plait show [REVISION]
plait show NS/NAME[@REVISION]"""
EXAMPLES = """\
  plait show                        what is checked out
  plait show main~2                 an earlier version
  plait show team/sql@v1.0          a version of a repository, without a working copy
"""


@dataclass(frozen=True, slots=True)
class _Shown:
    """A version with what is told about it."""

    commit: ShownCommit
    manifest: Manifest
    declaration: bytes | None
    """The bytes of the adapter's config, or of a stack."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("revision", metavar="REVISION", nargs="?", help="default: HEAD")
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Show a commit."""
    address = find_address(context, arguments.revision)
    if address is not None:
        shown = _read_remote(context, address, arguments.url)
    else:
        shown = _read_local(context.get_copy(), arguments.revision or "HEAD")
    stack = _find_stack(shown)
    adapter = _summarize(shown.declaration) if stack is None else None
    if arguments.json:
        context.terminal.json(
            {
                **shown.commit.to_json(),
                "adapter": adapter,
                "stack": None if stack is None else stack.to_json()["adapters"],
                "size": shown.manifest.size,
                "files": [_file_json(file) for file in shown.manifest.files],
            }
        )
        return
    terminal = context.terminal
    for line in format_commit(terminal, shown.commit):
        terminal.print(line)
    terminal.print()
    if adapter is not None:
        terminal.print(f"Adapter: {printable(adapter)}")
    if stack is not None:
        _show_stack(terminal, stack)
    count = plural(len(shown.manifest.files), "file")
    terminal.print(f"{count}, {format_size(shown.manifest.size)}:")
    terminal.table(map(_file_row, shown.manifest.files), right=(0,))


def _read_local(copy: WorkingCopy, revision: str) -> _Shown:
    commit_id = copy.resolve(revision)
    commit = copy.get_commit(commit_id)
    manifest = copy.get_manifest(commit.manifest)
    declaration = _find_declaration(manifest)
    shown = ShownCommit(
        commit_id,
        commit,
        find_names(copy).get(commit_id, ()),
        read_notes(copy.layout).get(commit_id, ()),
    )
    data = None if declaration is None else copy.objects.read(declaration.sha256)
    return _Shown(shown, manifest, data)


def _read_remote(context: Context, address: Address, url: str | None) -> _Shown:
    repository = context.open_repository(address.repository, url)
    info = repository.show(address.revision or "HEAD")
    manifest = repository.manifest(info.id)
    declaration = _find_declaration(manifest)
    notes = [
        {"kind": note.kind, "body": note.body, "created_at": note.created_at} for note in info.notes
    ]
    data = None if declaration is None else _download(context, address, declaration, url=url)
    names = find_remote_names(repository).get(info.id, ())
    return _Shown(ShownCommit(info.id, info.commit, names, notes), manifest, data)


def _download(context: Context, address: Address, file: File, *, url: str | None) -> bytes:
    from plait.downloads import Downloader
    from plait.pull import fetch_files

    cache = context.open_cache()
    fetch_files(Downloader(context.open_transport(url), address.repository), cache, (file,))
    return cache.path_of(file.sha256).read_bytes()


def _find_declaration(manifest: Manifest) -> File | None:
    return manifest.find(STACK_NAME if is_stack(manifest) else FILE_NAME)


def _find_stack(shown: _Shown) -> Stack | None:
    if shown.declaration is None or not is_stack(shown.manifest):
        return None
    return Stack.from_bytes(shown.declaration)


def _show_stack(terminal: Terminal, stack: Stack) -> None:
    terminal.print(f"Stack of {plural(len(stack.adapters), 'adapter')}, applied in this order:")
    terminal.table(
        (
            [f"{item.weight:g}", f"{item.adapter}@{abbreviate(item.commit)}"]
            for item in stack.adapters
        ),
        right=(0,),
    )


def _summarize(config: bytes | None) -> str | None:
    if config is None:
        return None
    try:
        return parse_adapter_config(config).summary()
    except InvalidInput as error:
        return f"its config cannot be read: {error.message}"


def _file_row(file: File) -> list[str]:
    tensors = plural(len(file.tensors.entries), "tensor") if file.tensors else ""
    return [format_size(file.size), abbreviate(file.sha256), file.path, tensors]


def _file_json(file: File) -> dict[str, Any]:
    return {
        "path": file.path,
        "size": file.size,
        "sha256": file.sha256,
        "tensors": len(file.tensors.entries) if file.tensors else None,
    }
