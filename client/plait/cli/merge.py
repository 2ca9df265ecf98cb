"""`plait merge`: adapters into their base, to the same bits on every machine."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from plait.cli.arguments import add_json, add_url
from plait.cli.composing import add_threads, count_threads
from plait.cli.context import Context
from plait.cli.terminal import plural, printable
from plait.errors import InvalidInput
from plait.model.ids import abbreviate
from plait.model.merge_digests import DEFINITION
from plait.model.recipe_shorthand import split_weight
from plait.model.refs import HEAD

if TYPE_CHECKING:
    from plait.merge import Merged, MergeOptions, MergeSource

USAGE = """plait merge NS/NAME[@REV][*WEIGHT]... --base DIR -o DIR
plait merge NS/NAME[@REV][*WEIGHT]... --base DIR --digest-only [--json]"""
EXAMPLES = """\
  plait merge team/sql@v1 --base models/llama -o out/llama-sql
  plait merge team/sql@v1*0.7 team/prose*0.3 --base models/llama -o out/blend
  plait merge ./adapters/sql --base models/llama --digest-only
  plait merge team/sql --base models/llama --digest-only --json > expected.json
  plait merge team/sql --base models/llama-nf4 --dequantise --digest-only

The outcome is a model as its base is: the same files, tensors and dtypes. Its digests depend on the
numbers alone, not on the machine, the device, or the threads: see docs/merge-definitions.md.
"""
ALLOWANCES = ("base-mismatch",)
_PATH_STARTS = ("/", "./", "../", "~")
"""What no repository's name begins with, and paths do."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "adapters",
        metavar="ADAPTER",
        nargs="+",
        help="NS/NAME[@REV] or a folder, with *WEIGHT behind it for another weight than 1",
    )
    parser.add_argument("--base", metavar="DIR", required=True, help="the base model's folder")
    parser.add_argument("-o", "--out", metavar="DIR", help="where the merged model goes")
    parser.add_argument(
        "--digest-only", action="store_true", help="write nothing: print the digests"
    )
    _add_device(parser)
    parser.add_argument(
        "--dequantise",
        action="store_true",
        help="of a quantised base: merge into its dequantised weights",
    )
    parser.add_argument(
        "--allow",
        action="append",
        choices=ALLOWANCES,
        default=[],
        help="let pass what is refused otherwise",
    )
    add_threads(parser)
    add_json(parser)
    add_url(parser)


def _add_device(parser: argparse.ArgumentParser) -> None:
    """Add the choice of what computes."""
    parser.add_argument(
        "--device",
        metavar="DEVICE",
        default="auto",
        help="cpu, cuda, or auto: a GPU where there is one; the bits are the same",
    )


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Merge."""
    from plait.merge import merge

    if (arguments.out is None) is not arguments.digest_only:
        raise InvalidInput(
            "usage",
            "Say where the merged model goes (-o DIR), or ask for its digests alone "
            "(--digest-only): one of the two.",
        )
    sources = [_find_source(text, arguments, context) for text in arguments.adapters]
    merged = merge(sources, _read_options(arguments, context), context.terminal.progress)
    if arguments.json:
        context.terminal.json(merged.digests.to_json())
        return
    _show(merged, arguments, context)


def _read_options(arguments: argparse.Namespace, context: Context) -> MergeOptions:
    from plait.merge import MergeOptions

    return MergeOptions(
        base=context.path(arguments.base),
        into=None if arguments.out is None else context.path(arguments.out),
        device=arguments.device,
        threads=count_threads(arguments),
        cache_dir=context.configuration.cache_dir,
        allow_other_base="base-mismatch" in arguments.allow,
        dequantise=arguments.dequantise,
    )


def _find_source(text: str, arguments: argparse.Namespace, context: Context) -> MergeSource:
    """Return an adapter that is named by its folder, or pulled."""
    from plait.merge import MergeSource

    name, weight = split_weight(text)
    folder = context.path(name)
    if folder.is_dir():
        return MergeSource(name, folder, weight)
    if name.startswith(_PATH_STARTS):
        raise InvalidInput(
            "usage",
            f"There is no folder {printable(name)}: name an adapter's folder, or a version as "
            "NS/NAME@REV.",
        )
    return _pull(name, weight, arguments, context)


def _pull(name: str, weight: float, arguments: argparse.Namespace, context: Context) -> MergeSource:
    from plait.merge_source import pull_source
    from plait.model.address import Address

    address = Address.parse(name)
    transport, cache = context.open_transport(arguments.url), context.open_cache()
    revision, progress = address.revision or HEAD, context.terminal.progress
    source, _ = pull_source(transport, cache, address.repository, revision, progress)
    return replace(source, weight=weight)


def _show(merged: Merged, arguments: argparse.Namespace, context: Context) -> None:
    terminal = context.terminal
    changed, kept = len(merged.changed), len(merged.digests.tensors) - len(merged.changed)
    terminal.print(f"{DEFINITION} {merged.digests.root}")
    terminal.print(
        f"{plural(changed, 'tensor')} merged, {kept} as in the base "
        f"({abbreviate(merged.base)}, {merged.base_weights} weights), on {printable(merged.device)}"
    )
    if arguments.out is not None:
        terminal.print(f"Written to {printable(str(context.path(arguments.out)))}")
