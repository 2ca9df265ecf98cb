"""`plait reproduce`: carry a version's recipe out again, and compare every byte."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from plait.cli.arguments import add_json, add_url
from plait.cli.composing import add_threads, count_threads
from plait.cli.context import Context
from plait.cli.terminal import printable
from plait.errors import Integrity
from plait.model.address import Address
from plait.model.ids import abbreviate
from plait.model.refs import HEAD

if TYPE_CHECKING:
    from plait.reproduce import Reproduced

USAGE = "plait reproduce NS/NAME[@REV] [--base-dir DIR] [--tuned-dir DIR]"
EXAMPLES = """\
  plait reproduce team/blend
  plait reproduce team/blend@v1.0 --json
  plait reproduce team/blend --base-dir models/llama      where the recipe used the base's weights
  plait reproduce team/cpp --base-dir models/llama --tuned-dir runs/cpp      what plait extract made

Ends with status 0 where the recipe gives the version's manifest, and with 1 where it does not.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("address", metavar="NS/NAME[@REV]", help="the version")
    parser.add_argument(
        "--base-dir", metavar="DIR", help="the base model's folder, where the recipe used it"
    )
    parser.add_argument(
        "--tuned-dir", metavar="DIR", help="of an extraction: the full fine-tune's folder"
    )
    add_threads(parser)
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Reproduce."""
    from plait.reproduce import ReproduceWish, reproduce

    address = Address.parse(arguments.address)
    base, tuned = arguments.base_dir, arguments.tuned_dir
    wish = ReproduceWish(
        repository=address.repository,
        revision=address.revision or HEAD,
        base_folder=None if base is None else context.path(base),
        tuned_folder=None if tuned is None else context.path(tuned),
        threads=count_threads(arguments),
    )
    found = reproduce(
        context.open_transport(arguments.url),
        context.open_cache(),
        wish,
        context.terminal.progress,
    )
    where = f"{address.repository}@{abbreviate(found.commit)}"
    if not found.is_same:
        changed = [change.path for change in found.difference.changes]
        raise Integrity(
            "not-reproduced",
            f"{where} is not what its recipe gives here: {printable(', '.join(changed))} came out "
            f"otherwise, and with them the manifest {abbreviate(found.actual)} in place of "
            f"{abbreviate(found.expected)}. Either the version was not made by its recipe, or this "
            "machine's arithmetic is wrong: try another machine before you trust it.",
            **_to_json(found),
        )
    if arguments.json:
        context.terminal.json(_to_json(found))
        return
    context.terminal.print(
        f"Reproduced {where}: the recipe gives the same manifest, {abbreviate(found.actual)}"
    )


def _to_json(found: Reproduced) -> dict[str, Any]:
    return {
        "commit": found.commit,
        "expected": found.expected,
        "actual": found.actual,
        "same": found.is_same,
        "recipe": dict(found.recipe),
        "difference": found.difference.to_json(),
    }
