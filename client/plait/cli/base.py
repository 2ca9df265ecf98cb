"""`plait base`: the models that adapters belong to."""

from __future__ import annotations

import argparse

from plait.base_folder import verify_base_folder
from plait.base_match import (
    BaseMatches,
    ListedBase,
    keep_newest,
    list_bases,
    load_card,
    match_base,
    read_adapter_folder,
    read_adapter_version,
)
from plait.base_push import BasePush, push_base
from plait.cli.arguments import add_json, add_message, add_url
from plait.cli.context import Context
from plait.cli.ref_arguments import require, tell
from plait.cli.terminal import format_size, printable
from plait.errors import InvalidInput
from plait.model.address import Address
from plait.model.base_card import BaseCard
from plait.model.commit import Base
from plait.model.ids import abbreviate
from plait.model.refs import DEFAULT_BRANCH, HEAD, parse_ref_name
from plait.push_folder import FolderPush

USAGE = """plait base push DIR NS/NAME[@BRANCH] [--name MODEL[@REVISION]] [--manifest-only]
plait base match ADAPTER_DIR|NS/NAME[@REVISION]
plait base verify DIR NS/NAME[@REVISION]
plait base show NS/NAME[@REVISION]
plait base list [--name MODEL] [--fingerprint DIGEST]"""
EXAMPLES = """\
  plait base push models/llama team/llama           weights and all
  plait base push models/llama-70b team/llama-70b --manifest-only --name meta/Llama-70B@a1b2c3
  plait base match out/checkpoint-300               which base is this adapter's?
  plait base match team/sql@v1.0 --json
  plait base verify models/llama team/llama         is this folder still that base?
  plait base show team/llama

A base is named by its fingerprint, a digest over all of its tensors. `push` makes the repository,
of the kind `base`, where it is absent; with --manifest-only the weights stay where they are.
`match` looks among the registry's bases: by the fingerprint that the adapter's version names, else
by the name and revision in its configuration, else by the shapes of its tensors.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("action", choices=tuple(_RUNS), help="what to do")
    parser.add_argument("names", metavar="NAME", nargs="*", help="see above")
    parser.add_argument("--name", metavar="MODEL[@REVISION]", help="what the model is called")
    push = parser.add_argument_group("of push")
    push.add_argument(
        "--manifest-only", action="store_true", help="store the model's card without its weights"
    )
    push.add_argument(
        "--allow-non-finite", action="store_true", help="accept NaN and infinity in weights"
    )
    add_message(parser)
    parser.add_argument("--fingerprint", metavar="DIGEST", help="of list: only these weights")
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Push, match, verify, show or list."""
    _RUNS[arguments.action](arguments, context)


def _push(arguments: argparse.Namespace, context: Context) -> None:
    require(len(arguments.names) == 2, "Give a folder and where to: plait base push DIR NS/NAME.")
    address = Address.parse(arguments.names[1])
    base = context.base(arguments.name, None)
    wish = BasePush(
        FolderPush(
            folder=context.path(arguments.names[0]),
            message=arguments.message or f"Base {arguments.name or address.repository}",
            author=context.author(arguments.author),
            time=context.now(),
            branch=parse_ref_name(address.revision or DEFAULT_BRANCH),
            base=base,
            create=True,
            allow_non_finite=arguments.allow_non_finite,
        ),
        manifest_only=arguments.manifest_only,
        cache_dir=context.configuration.cache_dir,
    )
    transport = context.open_transport(arguments.url)
    pushed = push_base(transport, address.repository, wish, context.terminal.progress)
    sent = context.terminal.progress.moved("Uploading")
    facts = {
        **_describe_card(pushed.card),
        "repository": str(address.repository),
        "commit": pushed.pushed.commit,
        "manifest": pushed.pushed.manifest,
        "branch": pushed.pushed.branch,
        "new": pushed.pushed.is_new,
        "weights": pushed.has_weights,
        "bytes_sent": sent,
        "left_out": list(pushed.pushed.skipped),
    }
    if arguments.json:
        context.terminal.json(facts)
        return
    at = f"{address.repository}@{pushed.pushed.branch}"
    if pushed.pushed.is_new:
        context.terminal.print(
            f"Pushed {abbreviate(pushed.pushed.commit)} to {at} ({format_size(sent)} sent)"
        )
    else:
        context.terminal.print(f"{at} has this base already: nothing was sent")
    context.terminal.print(f"{_write_base(pushed.card.base)}: {pushed.card.fingerprint}")
    for name in pushed.pushed.skipped:
        context.terminal.remark(f"Left out: {printable(name)}")


def _match(arguments: argparse.Namespace, context: Context) -> None:
    require(len(arguments.names) == 1, "Name one adapter: a folder, or NS/NAME[@REVISION].")
    text = arguments.names[0]
    transport = context.open_transport(arguments.url)
    if context.path(text).is_dir():
        adapter = read_adapter_folder(context.path(text))
    else:
        adapter = read_adapter_version(transport, Address.parse(text))
    found = match_base(transport, context.open_cache(), adapter)
    if not found.matches:
        raise _refuse(found)
    if arguments.json:
        context.terminal.json(
            {
                "adapter": adapter.label,
                "matches": [
                    {**_describe(match.found), "by": match.by.value} for match in found.matches
                ],
                "refused": [
                    {**_describe(item), "reason": reason} for item, reason in found.refused
                ],
            }
        )
        return
    context.terminal.table([*_row(match.found), f"by {match.by}"] for match in found.matches)
    for item, reason in found.refused:
        context.terminal.remark(f"Not {item.repository} ({item.base.name}): {printable(reason)}")


def _verify(arguments: argparse.Namespace, context: Context) -> None:
    require(len(arguments.names) == 2, "Give a folder and a base: plait base verify DIR NS/NAME.")
    folder, address = context.path(arguments.names[0]), Address.parse(arguments.names[1])
    transport = context.open_transport(arguments.url)
    card = load_card(transport, address.repository, context.open_cache(), address.revision or HEAD)
    verify_base_folder(folder, card, str(address), context.terminal.progress)
    tell(
        arguments,
        context,
        f"{folder} is {address}: each of its {len(card.tensors)} tensors has the same bytes",
        verified=str(folder),
        base=str(address),
        fingerprint=card.fingerprint,
    )


def _show(arguments: argparse.Namespace, context: Context) -> None:
    require(len(arguments.names) == 1, "Name one base: plait base show NS/NAME[@REVISION].")
    address = Address.parse(arguments.names[0])
    transport = context.open_transport(arguments.url)
    revision = address.revision or HEAD
    card = load_card(transport, address.repository, context.open_cache(), revision)
    if arguments.json:
        context.terminal.json(card.to_json())
        return
    facts = _describe_card(card)
    context.terminal.table([name, _write_fact(value)] for name, value in facts.items())


def _list(arguments: argparse.Namespace, context: Context) -> None:
    require(not arguments.names, "Say which by --name and --fingerprint.")
    transport = context.open_transport(arguments.url)
    found = keep_newest(
        list_bases(transport, fingerprint=arguments.fingerprint, name=arguments.name)
    )
    if arguments.json:
        context.terminal.json({"bases": [_describe(item) for item in found]})
        return
    context.terminal.table(map(_row, found))


_RUNS = {"push": _push, "match": _match, "verify": _verify, "show": _show, "list": _list}


def _refuse(found: BaseMatches) -> InvalidInput:
    adapter, base = found.adapter, found.adapter.base
    wanted = f" with the fingerprint {base.fingerprint}" if base.fingerprint else ""
    others = "".join(
        f" {item.repository} is another: {reason}." for item, reason in found.refused[:3]
    )
    return InvalidInput(
        "base-unknown",
        f"No base of this registry that you may read is the one of {adapter.label}, "
        f"{_write_base(base) if base.name else 'which names none'}{wanted}.{others} Push it with "
        "`plait base push DIR NS/NAME`; with --manifest-only its weights stay where they are.",
        base=base.name,
        fingerprint=base.fingerprint,
    )


def _describe(item: ListedBase) -> dict[str, object]:
    return {
        "repository": str(item.repository),
        "commit": item.commit,
        "name": item.base.name,
        "revision": item.base.revision,
        "fingerprint": item.base.fingerprint,
    }


def _describe_card(card: BaseCard) -> dict[str, object]:
    quantization = card.quantization
    return {
        "name": card.name,
        "revision": card.revision,
        "fingerprint": card.fingerprint,
        "dtype": card.dtype,
        "quantization": None if quantization is None else str(quantization.get("quant_method", "")),
        "tensors": len(card.tensors),
        "bytes": card.size,
        "tied": dict(card.tied),
    }


def _write_fact(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} is {target}" for name, target in value.items())
    return "" if value is None else str(value)


def _row(item: ListedBase) -> list[str]:
    return [
        f"{item.repository}@{abbreviate(item.commit)}",
        _write_base(item.base),
        abbreviate(item.base.fingerprint or ""),
    ]


def _write_base(base: Base) -> str:
    return printable(f"{base.name}@{base.revision}" if base.revision else base.name)
