"""`plait diff`, of a working copy or of a repository."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.cli.arguments import add_json, add_url
from plait.cli.context import Context
from plait.cli.terminal import Terminal, format_size, format_table, printable
from plait.errors import InvalidInput
from plait.model.address import Address
from plait.model.diff import ChangeKind, FieldChange, FileChange, TensorsDiff
from plait.model.manifest import File
from plait.working_copy.compare import (
    Version,
    VersionDiff,
    compare_versions,
    version_of_commit,
    version_of_folder,
)

if TYPE_CHECKING:
    from plait.algebra.change import Change
    from plait.algebra.delta_change import DeltaComparison

USAGE = """plait diff [OLD [NEW]] [--all]
plait diff NS/NAME OLD NEW [--all]"""
EXAMPLES = """\
  plait diff                        the folder against the last commit
  plait diff main~2                 the folder against an earlier version
  plait diff v1.0 main              two versions
  plait diff team/sql v1.0 main     two versions of a repository, without a working copy

The change of a module is the norm of the difference between its new and old effective delta
(gamma B A, what the adapter adds to the weight), relative to the old one.
"""
MOST_SHOWN = 20
"""Modules and tensors that a table has without --all."""
LONGEST_VALUE = 60


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("revisions", metavar="REVISION", nargs="*", help="what to compare")
    parser.add_argument("--all", action="store_true", help="every module, not the largest 20")
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Show what changed."""
    old, new = _find_versions(context, arguments.revisions, arguments.url)
    diff = compare_versions(old, new)
    if arguments.json:
        context.terminal.json(diff.to_json())
        return
    most = None if arguments.all else MOST_SHOWN
    for line in _format(context.terminal, diff, most):
        context.terminal.print(line)


def _find_versions(
    context: Context, revisions: list[str], url: str | None
) -> tuple[Version, Version]:
    if len(revisions) > 3:
        raise InvalidInput("usage", "Give at most two revisions, or NS/NAME and two revisions.")
    if len(revisions) == 3:
        address = Address.parse(revisions[0])
        if address.revision is not None:
            raise InvalidInput("usage", f"Write {address.repository} OLD NEW, without @.")
        old, new = (_pull(context, address, revision, url) for revision in revisions[1:])
        return old, new
    copy = context.get_copy()
    labels = revisions or ["HEAD"]
    old, *rest = (version_of_commit(copy, copy.resolve(text), label=text) for text in labels)
    return old, rest[0] if rest else version_of_folder(copy, progress=context.terminal.progress)


def _pull(context: Context, address: Address, revision: str, url: str | None) -> Version:
    repository = context.open_repository(address.repository, url)
    pulled = repository.pull(revision, progress=context.terminal.progress)

    def locate(file: File) -> Path:
        return pulled.path / file.path

    return Version(revision, repository.manifest(pulled.commit), locate)


def _format(terminal: Terminal, diff: VersionDiff, most: int | None) -> Iterator[str]:
    old, new = printable(diff.old), printable(diff.new)
    if diff.is_same:
        yield f"{old} and {new} are the same"
        return
    yield terminal.style(f"{old} -> {new}", "bold")
    if diff.config:
        yield "config"
        yield from format_table(map(_field_row, diff.config))
    yield "files"
    yield from format_table(map(_file_row, diff.files.changes))
    if diff.files.unchanged:
        yield f"  unchanged: {diff.files.unchanged}"
    if diff.deltas is not None:
        yield from _format_deltas(diff.deltas, most)
    elif diff.remark:
        yield f"effective deltas: {printable(diff.remark)}"


def _field_row(change: FieldChange) -> list[str]:
    old = "(absent)" if change.kind is ChangeKind.ADDED else _short(change.old)
    new = "(absent)" if change.kind is ChangeKind.REMOVED else _short(change.new)
    return [change.field, old, "->", new]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def _file_row(change: FileChange) -> list[str]:
    sizes = [format_size(file.size) for file in (change.old, change.new) if file is not None]
    if len(set(sizes)) == 1:
        sizes = sizes[:1]
    path = change.path
    if change.kind is ChangeKind.RENAMED and change.old is not None:
        path = f"{change.old.path} => {path}"
    return [change.kind.value, path, " -> ".join(sizes), _count_tensors(change.tensors)]


def _count_tensors(tensors: TensorsDiff | None) -> str:
    if tensors is None:
        return ""
    if tensors.is_header_only:
        return "tensors: all the same, only the header changed"
    kinds = [change.kind for change in tensors.changes]
    counts = {kind.value: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    counts["unchanged"] = tensors.unchanged
    return "tensors: " + ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


def _format_deltas(deltas: DeltaComparison, most: int | None) -> Iterator[str]:
    if deltas.modules:
        rows = [["effective delta", "change", "cosine", "norm", ""]]
        rows.append(_change_row("total", deltas.total))
        rows += [_change_row(change.name, change) for change in deltas.modules[:most]]
        yield from format_table(rows, right=(1, 2), indent="")
        yield from _count_hidden(len(deltas.modules), most)
    if deltas.tensors:
        rows = [["other tensor", "change", "cosine", "norm", ""]]
        rows += [_change_row(change.name, change) for change in deltas.tensors[:most]]
        yield from format_table(rows, right=(1, 2), indent="")
        yield from _count_hidden(len(deltas.tensors), most)
    if deltas.not_compared:
        yield "not compared"
        yield from format_table([item.name, item.reason] for item in deltas.not_compared[:most])
        yield from _count_hidden(len(deltas.not_compared), most)


def _change_row(name: str, change: Change) -> list[str]:
    relative, cosine = change.relative_change, change.cosine
    return [
        f"  {name}",
        "new" if relative is None else f"{relative:.2%}",
        "" if cosine is None else f"{cosine:.4f}",
        f"{change.old_norm:.4g} -> {change.new_norm:.4g}",
        change.note,
    ]


def _count_hidden(count: int, most: int | None) -> Iterator[str]:
    if most is not None and count > most:
        yield f"  and {count - most} more (--all)"
