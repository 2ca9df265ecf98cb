"""`plait push`: branches and tags of a working copy, or a folder in one step."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from plait.cli.arguments import add_base, add_json, add_message, add_url, parse_metrics
from plait.cli.composing import add_threads, count_threads
from plait.cli.context import Context
from plait.cli.terminal import format_size, plural, printable
from plait.errors import InvalidInput
from plait.model.address import Address, RepositoryName
from plait.model.commit import Base
from plait.model.ids import CommitId, ObjectId, abbreviate
from plait.model.refs import DEFAULT_BRANCH, RefUpdate, parse_ref_name
from plait.push_folder import FolderPush, Pushed, push_folder
from plait.working_copy.push import PushedRef, PushWish, plan_push, push_ref

USAGE = """plait push [BRANCH|TAG]... [--tags] [--all] [--force]
plait push FOLDER NS/NAME[@BRANCH] -m MESSAGE [--metric NAME=VALUE]... [--create]"""
EXAMPLES = """\
  plait push                        the branch that is checked out
  plait push v1.0                   a tag
  plait push --all --tags           every branch and tag
  plait push --force                leave commits behind that were seen on the remote's branch
  plait push out/checkpoint-300 team/sql -m 'Epoch 3' --metric loss=1.62
  plait push out/lora team/sql@experiment -m 'Rank 32' --create
  plait push out/lora team/sql -m 'Epoch 4' --expect --base-dir models/llama

The second form needs no working copy: it puts the folder on top of the branch as a new version,
and does nothing where the branch's version has the same files. With --expect, the version is merged
into the base here, and the digests are stored with it: validations compare with them.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("names", metavar="NAME", nargs="*", help="see above")
    refs = parser.add_argument_group("of a working copy")
    refs.add_argument("--all", action="store_true", help="every branch")
    refs.add_argument("--tags", action="store_true", help="every tag")
    refs.add_argument(
        "--force", action="store_true", help="leave commits behind that were seen, never others"
    )
    folder = parser.add_argument_group("of a folder")
    add_message(parser)
    folder.add_argument(
        "--metric", metavar="NAME=VALUE", action="append", default=[], help="noted; repeatable"
    )
    add_base(parser)
    folder.add_argument(
        "--base-from",
        metavar="NS/NAME[@REVISION]",
        help="a base in the registry, to record its name and fingerprint",
    )
    folder.add_argument("--create", action="store_true", help="make the repository if it is absent")
    folder.add_argument(
        "--convert",
        action="store_true",
        help="convert pickled weights to safetensors (needs torch)",
    )
    parser.add_argument(
        "--allow-non-finite", action="store_true", help="accept NaN and infinity in weights"
    )
    parser.add_argument(
        "--expect",
        action="store_true",
        help="merge what is pushed into --base-dir, and store the digests with it",
    )
    add_threads(parser)
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Push."""
    if arguments.expect and arguments.base_dir is None:
        raise InvalidInput(
            "usage", "--expect merges into the base: name its folder with --base-dir DIR."
        )
    if arguments.message is not None or _is_folder_form(context, arguments.names):
        _push_folder(arguments, context)
    else:
        _push_refs(arguments, context)


def _is_folder_form(context: Context, names: list[str]) -> bool:
    return len(names) == 2 and "/" in names[1] and context.path(names[0]).is_dir()


def _push_folder(arguments: argparse.Namespace, context: Context) -> None:
    if len(arguments.names) != 2:
        raise InvalidInput("usage", "Give a folder and where to: plait push FOLDER NS/NAME -m ...")
    if arguments.message is None:
        raise InvalidInput("usage", "Say what changed: -m MESSAGE.")
    if arguments.all or arguments.tags or arguments.force:
        raise InvalidInput(
            "usage", "--all, --tags and --force are for a working copy: a folder is put on top."
        )
    folder, address = context.path(arguments.names[0]), Address.parse(arguments.names[1])
    if not arguments.convert:
        _push_one(arguments, context, folder, address)
        return
    from plait.integrations.pickles import convert_pickles

    with tempfile.TemporaryDirectory(prefix="plait-convert-") as name:
        converted = convert_pickles(folder, Path(name) / folder.name)
        for path in converted:
            context.terminal.remark(f"Converted to {printable(path)}")
        _push_one(arguments, context, Path(name) / folder.name, address)


def _push_one(
    arguments: argparse.Namespace, context: Context, folder: Path, address: Address
) -> None:
    wish = FolderPush(
        folder=folder,
        message=arguments.message,
        author=context.author(arguments.author),
        time=context.now(),
        branch=parse_ref_name(address.revision or DEFAULT_BRANCH),
        base=_find_base(arguments, context, folder),
        metrics=parse_metrics(arguments.metric) or None,
        create=arguments.create,
        allow_non_finite=arguments.allow_non_finite,
    )
    if arguments.expect:
        # Before anything is pushed: the commit names this base for good.
        from plait.merge import MergeSource, verify_mergeable

        base = context.path(arguments.base_dir)
        verify_mergeable([MergeSource(str(arguments.names[0]), folder)], base)
    transport = context.open_transport(arguments.url)
    pushed = push_folder(transport, address.repository, wish, context.terminal.progress)
    sent = context.terminal.progress.moved("Uploading")
    expected = _expect(arguments, context, address.repository, [pushed.commit])
    if arguments.json:
        context.terminal.json({**_folder_json(pushed, sent), **_expected_json(expected)})
        return
    at = abbreviate(pushed.commit)
    where = f"{address.repository}@{pushed.branch}"
    if pushed.result is None:
        context.terminal.print(f"{where} has these files already, at {at}: nothing was sent")
    else:
        context.terminal.print(f"Pushed {at} to {where} ({format_size(sent)} sent)")
    _show_expected(expected, context)
    for path in pushed.skipped:
        context.terminal.remark(f"Left out, as a trainer's state: {printable(path)}")


def _expect(
    arguments: argparse.Namespace,
    context: Context,
    repository: RepositoryName,
    commits: Iterable[CommitId],
) -> dict[CommitId, ObjectId]:
    """Return the roots that were stored for commits, where that was asked for."""
    if not arguments.expect:
        return {}
    from plait.expect import expect
    from plait.merge import MergeOptions

    options = MergeOptions(
        context.path(arguments.base_dir),
        threads=count_threads(arguments),
        cache_dir=context.configuration.cache_dir,
    )
    transport, cache = context.open_transport(arguments.url), context.open_cache()
    progress = context.terminal.progress
    return {
        commit: expect(
            transport, cache, repository, commit, options=options, progress=progress
        ).digests.root
        for commit in dict.fromkeys(commits)
    }


def _show_expected(expected: Mapping[CommitId, ObjectId], context: Context) -> None:
    for commit, root in expected.items():
        context.terminal.print(f"Merges of {abbreviate(commit)} are expected to be {root}")


def _expected_json(expected: Mapping[CommitId, ObjectId]) -> dict[str, object]:
    return {"expected": dict(expected)} if expected else {}


def _find_base(arguments: argparse.Namespace, context: Context, folder: Path) -> Base | None:
    if arguments.base_from is None:
        return context.base(arguments.base, arguments.base_dir)
    if arguments.base is not None or arguments.base_dir is not None:
        raise InvalidInput("usage", "--base-from names the base by itself, without the others.")
    from plait.base_match import take_base

    transport = context.open_transport(arguments.url)
    return take_base(transport, context.open_cache(), Address.parse(arguments.base_from), folder)


def _folder_json(pushed: Pushed, sent: int) -> dict[str, object]:
    result = pushed.result
    return {
        "commit": pushed.commit,
        "manifest": pushed.manifest,
        "branch": pushed.branch,
        "new": pushed.is_new,
        "bytes_sent": sent,
        "bytes_stored": 0 if result is None else result.bytes_stored,
        "left_out": list(pushed.skipped),
    }


def _push_refs(arguments: argparse.Namespace, context: Context) -> None:
    copy = context.get_copy()
    remote = copy.get_remote()
    wish = PushWish(
        names=tuple(arguments.names),
        all_branches=arguments.all,
        all_tags=arguments.tags,
        force=arguments.force,
    )
    transport = context.open_transport(remote.url)
    pushed = [
        push_ref(
            copy,
            transport,
            update,
            allow_non_finite=arguments.allow_non_finite,
            progress=context.terminal.progress,
        )
        for update in plan_push(copy, wish)
    ]
    sent = context.terminal.progress.moved("Uploading")
    commits = [item.update.new for item in pushed]
    expected = _expect(arguments, context, remote.repository, commits)
    if arguments.json:
        refs = {"refs": [_ref_json(item) for item in pushed], "bytes_sent": sent}
        context.terminal.json({**refs, **_expected_json(expected)})
        return
    _show_expected(expected, context)
    changed = [item for item in pushed if item.is_changed]
    if not changed:
        context.terminal.print("Everything is up to date")
        return
    context.terminal.print(f"To {remote.repository} at {remote.url}")
    context.terminal.table(_ref_row(item) for item in changed)
    count = sum(item.result.commits for item in pushed)
    context.terminal.print(f"{plural(count, 'new commit')}, {format_size(sent)} sent")


def _ref_row(pushed: PushedRef) -> list[str]:
    update = pushed.update
    if update.expected is None:
        return ["new", f"{update.kind} {update.name}", abbreviate(update.new), ""]
    how = "forced" if update.force else ""
    move = f"{abbreviate(update.expected)} -> {abbreviate(update.new)}"
    return ["moved", f"{update.kind} {update.name}", move, how]


def _ref_json(pushed: PushedRef) -> dict[str, object]:
    update: RefUpdate = pushed.update
    return {
        "kind": update.kind.value,
        "name": update.name,
        "old": update.expected,
        "new": update.new,
        "forced": update.force,
        "commits": pushed.result.commits,
        "bytes_stored": pushed.result.bytes_stored,
    }
