"""`plait bundle create`, `verify` and `apply`: versions in one file, to carry by hand."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from plait.bundle.contents import Contents
from plait.bundle.create import BundleSource, BundleWish, create_bundle
from plait.cli.arguments import add_json, add_url
from plait.cli.context import Context
from plait.cli.terminal import format_size, plural
from plait.errors import InvalidInput
from plait.model.address import Address, RepositoryName
from plait.model.ids import abbreviate

if TYPE_CHECKING:
    from plait.bundle.apply import AppliedBundle
    from plait.bundle.refs import AppliedRef

USAGE = """plait bundle create FILE [NS/NAME[@REF]] [--ref REF]... [--since REVISION]... [--force]
plait bundle verify FILE
plait bundle apply FILE NS/NAME [--ref REF]... [--force] [--create]"""
EXAMPLES = """\
  plait bundle create sql.plait team/sql            all branches and tags of a repository
  plait bundle create sql.plait team/sql@main       one branch with its history
  plait bundle create new.plait team/sql --since v1.0    only what is new since v1.0
  plait bundle create mine.plait                    the branches and tags of a working copy
  plait bundle verify sql.plait                     check every byte, without a registry
  plait bundle apply sql.plait team/sql --create    bring it into a repository

A bundle is a tar archive that is read by plait alone with care: nothing in it is believed before it
was checked. Equal contents give equal bytes, so compare the sha256 that create and verify print.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("action", choices=("create", "verify", "apply"), help="what to do")
    parser.add_argument("file", metavar="FILE", help="the bundle")
    parser.add_argument("name", metavar="NS/NAME", nargs="?", help="the repository")
    parser.add_argument(
        "--ref", metavar="REF", action="append", default=[], help="a branch or tag; repeatable"
    )
    create = parser.add_argument_group("of create")
    create.add_argument(
        "--since",
        metavar="REVISION",
        action="append",
        default=[],
        help="what the receiver has; repeatable",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="create: replace FILE; apply: let branches leave commits behind",
    )
    apply = parser.add_argument_group("of apply")
    apply.add_argument("--create", action="store_true", help="make the repository if it is absent")
    apply.add_argument(
        "--allow-non-finite", action="store_true", help="accept NaN and infinity in weights"
    )
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Create, verify or apply."""
    if arguments.action != "create" and arguments.since:
        raise InvalidInput("usage", "--since is for plait bundle create.")
    if arguments.action != "apply" and (arguments.create or arguments.allow_non_finite):
        raise InvalidInput("usage", "--create and --allow-non-finite are for plait bundle apply.")
    path = context.path(arguments.file)
    if arguments.action == "create":
        _create(arguments, context, path)
    elif arguments.action == "verify":
        _verify(arguments, context, path)
    else:
        _apply(arguments, context, path)


def _create(arguments: argparse.Namespace, context: Context, path: Path) -> None:
    address = None if arguments.name is None else Address.parse(arguments.name)
    named = [] if address is None or address.revision is None else [address.revision]
    wish = BundleWish(
        path=path,
        refs=(*named, *arguments.ref),
        since=tuple(arguments.since),
        force=arguments.force,
    )
    source = _open_source(arguments, context, address)
    created = create_bundle(source, wish, context.terminal.progress)
    if arguments.json:
        context.terminal.json(_bundle_json(path, created.sha256, created.size, created.contents))
        return
    context.terminal.print(f"Wrote {arguments.file} ({format_size(created.size)})")
    _tell(context, created.sha256, created.contents)


def _open_source(
    arguments: argparse.Namespace, context: Context, address: Address | None
) -> BundleSource:
    if address is not None:
        from plait.bundle.registry_source import RegistrySource

        return RegistrySource(context.open_transport(arguments.url), address.repository)
    from plait.bundle.working_copy_source import WorkingCopySource

    copy = context.get_copy()
    if copy.root.resolve() in context.path(arguments.file).resolve().parents:
        raise InvalidInput(
            "usage",
            f"{arguments.file} lies in the working copy, and would become a part of its next "
            "version: name a file outside of it.",
        )
    return WorkingCopySource(copy)


def _verify(arguments: argparse.Namespace, context: Context, path: Path) -> None:
    if arguments.name is not None or arguments.ref or arguments.force:
        raise InvalidInput("usage", "plait bundle verify takes a file and nothing else.")
    from plait.bundle.verify import verify_bundle

    verified = verify_bundle(path, context.terminal.progress)
    if arguments.json:
        facts = _bundle_json(path, verified.sha256, verified.size, verified.contents)
        context.terminal.json({**facts, "files_in_part": verified.files_in_part})
        return
    context.terminal.print(f"{arguments.file} is intact ({format_size(verified.size)})")
    _tell(context, verified.sha256, verified.contents)
    if verified.files_in_part:
        context.terminal.remark(
            f"{plural(verified.files_in_part, 'file')} could be checked in part only: the rest is "
            "with the prerequisites, and is checked when the bundle is applied."
        )


def _apply(arguments: argparse.Namespace, context: Context, path: Path) -> None:
    if arguments.name is None:
        raise InvalidInput("usage", "Say where to: plait bundle apply FILE NS/NAME.")
    from plait.bundle.apply import ApplyWish, apply_bundle

    name = RepositoryName.parse(arguments.name)
    transport = context.open_transport(arguments.url)
    wish = ApplyWish(
        path=path,
        refs=tuple(arguments.ref),
        force=arguments.force,
        create=arguments.create,
        allow_non_finite=arguments.allow_non_finite,
    )
    applied = apply_bundle(transport, name, wish, context.terminal.progress)
    sent = context.terminal.progress.moved("Uploading")
    if arguments.json:
        context.terminal.json(_applied_json(applied, sent))
        return
    context.terminal.print(f"To {name} at {transport.url}")
    context.terminal.table(map(_row, applied.refs))
    context.terminal.print(f"{plural(applied.commits, 'new commit')}, {format_size(sent)} sent")


def _row(item: AppliedRef) -> list[str]:
    return [item.change.value, f"{item.ref.kind} {item.ref.name}", abbreviate(item.ref.target)]


def _applied_json(applied: AppliedBundle, sent: int) -> dict[str, object]:
    return {
        "sha256": applied.sha256,
        "refs": [
            {
                "kind": item.ref.kind.value,
                "name": item.ref.name,
                "change": item.change.value,
                "old": item.old,
                "target": item.ref.target,
            }
            for item in applied.refs
        ],
        "commits": applied.commits,
        "bytes_sent": sent,
        "bytes_stored": applied.bytes_stored,
    }


def _bundle_json(path: Path, digest: str, size: int, contents: Contents) -> dict[str, object]:
    return {
        "file": str(path),
        "sha256": digest,
        "size": size,
        "refs": [
            {"kind": ref.kind.value, "name": ref.name, "target": ref.target}
            for ref in contents.refs
        ],
        "prerequisites": [item.id for item in contents.prerequisites],
        "commits": len(contents.commits),
        "files": len(contents.files),
    }


def _tell(context: Context, digest: str, contents: Contents) -> None:
    context.terminal.print(f"sha256 {digest}")
    context.terminal.table(
        [f"{ref.kind} {ref.name}", abbreviate(ref.target)] for ref in contents.refs
    )
    context.terminal.print(
        f"{plural(len(contents.commits), 'commit')}, {plural(len(contents.files), 'file')}"
    )
    if contents.prerequisites:
        named = ", ".join(abbreviate(item.id) for item in contents.prerequisites)
        context.terminal.print(f"for who has {named}")
