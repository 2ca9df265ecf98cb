"""`plait commit`."""

from __future__ import annotations

import argparse

from plait.cli.arguments import add_base, add_json, add_message
from plait.cli.context import Context
from plait.cli.terminal import plural
from plait.errors import InvalidInput
from plait.model.ids import CommitId, abbreviate
from plait.working_copy.commit import Authorship, Committed, NewCommit, commit_folder
from plait.working_copy.copy import WorkingCopy

USAGE = (
    "plait commit -m MESSAGE [--author 'NAME <EMAIL>'] [--base NAME[@REVISION]] [--base-dir DIR]"
)
EXAMPLES = """\
  plait commit -m 'More joins in the training set'
  plait commit -m 'First version' --base meta-llama/Llama-3.1-8B --base-dir ~/models/llama

There is no staging area: a commit takes the whole folder, but for what .plaitignore names and
for the state that a trainer resumes from.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_message(parser)
    add_base(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Make the commit."""
    if arguments.message is None:
        raise InvalidInput("usage", "Say what changed: plait commit -m MESSAGE.")
    copy = context.get_copy()
    parent = copy.find_head_commit()
    new = NewCommit(
        message=arguments.message,
        authorship=Authorship(context.author(arguments.author), context.now()),
        base=context.base(arguments.base, arguments.base_dir),
    )
    made = commit_folder(copy, new, progress=context.terminal.progress)
    if arguments.json:
        context.terminal.json(_to_json(copy, made))
        return
    branch = copy.read_head().branch or "detached HEAD"
    changes = plural(len(made.changes.changes), "file")
    context.terminal.print(
        f"[{branch} {abbreviate(made.id)}] {made.commit.subject} ({changes} changed)"
    )
    if arguments.author is None:
        remark_author(context, copy, made, parent)


def remark_author(
    context: Context, copy: WorkingCopy, made: Committed, parent: CommitId | None
) -> None:
    """Say how to name the author, where nothing did, at the first commit of theirs in a row."""
    author = made.commit.author
    is_known = parent is not None and copy.get_commit(parent).author == author
    if author.email or is_known:
        return
    context.terminal.remark(
        f"The author is {author.name!r}, the name of the login. To be named otherwise, set "
        "PLAIT_AUTHOR_NAME and PLAIT_AUTHOR_EMAIL, or `name` and `email` under [author] in "
        f"{context.configuration.config_file}."
    )


def _to_json(copy: WorkingCopy, made: Committed) -> dict[str, object]:
    return {
        "commit": made.id,
        "manifest": made.commit.manifest,
        "branch": copy.read_head().branch,
        "parents": list(made.commit.parents),
        "base": made.commit.to_json()["base"],
        "changes": made.changes.to_json(),
        "left_out": list(made.left_out),
    }
