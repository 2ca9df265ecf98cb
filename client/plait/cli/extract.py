"""`plait extract`: a full fine-tune minus its base, as a LoRA."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from plait.cli.composing import MOST_SHOWN, NEARLY_ALL, add_outcome, add_threads, count_threads
from plait.cli.context import Context
from plait.cli.terminal import format_size, plural, printable
from plait.errors import InvalidInput
from plait.model.address import Address
from plait.model.ids import abbreviate
from plait.model.refs import DEFAULT_BRANCH, parse_ref_name

if TYPE_CHECKING:
    from plait.algebra.extract import ExtractOptions
    from plait.algebra.extraction_report import ExtractedAdapter
    from plait.extract import ExtractTarget, ExtractWish

USAGE = """\
plait extract TUNED_DIR --base-dir DIR (--rank N | --energy PART) -o NS/NAME[@BRANCH]
plait extract TUNED_DIR --base-dir DIR (--rank N | --energy PART) --to DIR"""
EXAMPLES = """\
  plait extract runs/cpp --base-dir models/llama --rank 32 -o team/cpp --create
  plait extract runs/cpp --base-dir models/llama --energy 0.95 --rank 128 --to out/cpp
  plait extract runs/cpp --base-dir models/llama --rank 32 --leave-out embed_tokens --to out/cpp

Each matrix keeps the best approximation of its change at that rank; what is no matrix and changed,
as a norm, is saved whole. plait reproduce repeats it from the same two models.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("tuned", metavar="TUNED_DIR", help="the full fine-tune's folder")
    parser.add_argument(
        "--base-dir", metavar="DIR", required=True, help="the folder of the base that was tuned"
    )
    parser.add_argument(
        "--base", metavar="NAME[@REVISION]", help="the base's name, where its config does not say"
    )
    size = parser.add_argument_group("the size")
    size.add_argument("--rank", metavar="N", type=int, help="the rank of every module")
    size.add_argument(
        "--energy",
        metavar="PART",
        type=float,
        help="the least rank that keeps this part of a module's change; with --rank at most that",
    )
    size.add_argument(
        "--dtype",
        choices=["F32", "F16", "BF16"],
        default="F32",
        help="of the factors (F32); whole tensors keep theirs",
    )
    _add_modules(parser)
    add_threads(parser)
    add_outcome(parser)


def _add_modules(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "modules", "MODULE is a module's path or the end of one, as in PEFT's rank_pattern"
    )
    for option, what in (
        ("--save", "save it whole although it has a matrix"),
        ("--leave-out", "give its change up"),
        ("--embedding", "it is an embedding, beside those of usual names"),
        ("--transposed", "the model stores its matrix as (in, out)"),
        ("--convolution", "it is a convolution without groups"),
    ):
        group.add_argument(
            option, metavar="MODULE", action="append", default=[], help=f"{what}; repeatable"
        )
    group.add_argument(
        "--leave-rest-out", action="store_true", help="give up what is no matrix, as norms"
    )
    group.add_argument(
        "--tied",
        metavar="HEAD=EMBEDDING",
        action="append",
        default=[],
        help="the head shares this embedding's weight, where the config does not say; repeatable",
    )


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Extract."""
    if (arguments.output is None) == (arguments.to is None):
        raise InvalidInput(
            "usage", "Say where the outcome goes: -o NS/NAME[@BRANCH], or --to DIR for a folder."
        )
    wish = _make_wish(arguments, context)
    if arguments.to is not None:
        _run_to_folder(wish, arguments, context)
        return
    from plait.extract import extract, summarise

    target = _make_target(arguments, context)
    made = extract(context.open_transport(arguments.url), wish, target, context.terminal.progress)
    if arguments.json:
        pushed = made.pushed
        context.terminal.json(
            {
                "commit": pushed.commit,
                "manifest": pushed.manifest,
                "branch": pushed.branch,
                "new": pushed.is_new,
                "facts": dict(made.facts),
                "report": summarise(made.adapter),
            }
        )
        return
    at = abbreviate(made.pushed.commit)
    where = f"{target.repository}@{target.branch}"
    if not made.pushed.is_new:
        context.terminal.print(f"{where} has this outcome already, at {at}: nothing was sent")
        return
    sent = context.terminal.progress.moved("Uploading")
    context.terminal.print(f"Extracted {at} to {where} ({format_size(sent)} sent)")
    _show(context, made.adapter)
    context.terminal.print(
        f"Whoever has both models can repeat it: plait reproduce {target.repository}@{at} "
        "--base-dir DIR --tuned-dir DIR"
    )


def _run_to_folder(wish: ExtractWish, arguments: argparse.Namespace, context: Context) -> None:
    from plait.extract import extract_to_folder, summarise

    if arguments.message is not None or arguments.create:
        raise InvalidInput("usage", "-m and --create are for -o: a folder has no commits.")
    destination = context.path(arguments.to)
    made = extract_to_folder(
        wish, destination, force=arguments.force, progress=context.terminal.progress
    )
    if arguments.json:
        context.terminal.json(
            {
                "manifest": made.manifest,
                "path": str(destination),
                "facts": dict(made.facts),
                "report": summarise(made.adapter),
            }
        )
        return
    context.terminal.print(f"Extracted into {printable(str(destination))}")
    _show(context, made.adapter)


def _make_wish(arguments: argparse.Namespace, context: Context) -> ExtractWish:
    from plait.extract import ExtractWish
    from plait.extract_folder import ModelPair

    return ExtractWish(
        pair=ModelPair(context.path(arguments.base_dir), context.path(arguments.tuned)),
        options=_read_options(arguments),
        base=context.base(arguments.base, None),
        threads=count_threads(arguments),
    )


def _make_target(arguments: argparse.Namespace, context: Context) -> ExtractTarget:
    from plait.extract import ExtractTarget

    address = Address.parse(arguments.output)
    return ExtractTarget(
        repository=address.repository,
        branch=parse_ref_name(address.revision or DEFAULT_BRANCH),
        author=context.author(arguments.author),
        time=context.now(),
        message=arguments.message,
        create=arguments.create,
    )


def _read_options(arguments: argparse.Namespace) -> ExtractOptions:
    from plait.algebra.extract import ExtractOptions
    from plait.model.base_layout import EMBEDDINGS

    return ExtractOptions(
        rank=arguments.rank,
        energy=arguments.energy,
        dtype=arguments.dtype,
        embeddings=tuple(sorted({*EMBEDDINGS, *arguments.embedding})),
        transposed=tuple(sorted(set(arguments.transposed))),
        convolutions=tuple(sorted(set(arguments.convolution))),
        saved=tuple(sorted(set(arguments.save))),
        left_out=tuple(sorted(set(arguments.leave_out))),
        is_rest_left_out=arguments.leave_rest_out,
        tied_heads=_read_tied(arguments.tied),
    )


def _read_tied(pairs: list[str]) -> Mapping[str, str]:
    heads = {}
    for pair in pairs:
        head, equals, embedding = pair.partition("=")
        if not (head and equals and embedding):
            raise InvalidInput("usage", f"{pair!r:.200} is no pair: expected HEAD=EMBEDDING.")
        heads[head] = embedding
    return heads


def _show(context: Context, adapter: ExtractedAdapter) -> None:
    """Say what was kept of the change, and where least."""
    document: dict[str, Any] = adapter.to_json()
    modules = document["modules"]
    by_treatment = {
        name: [module["module"] for module in modules if module["treatment"] == name]
        for name in document["parts"]
    }
    context.terminal.print(f"{adapter.kept:.2%} of the squared norm of the change is kept:")
    titles = {"lora": "as factors", "saved": "saved whole", "left-out": "left out"}
    context.terminal.table(
        [f"  {titles[name]}", plural(len(names), "module"), f"{document['parts'][name]:.2%} of it"]
        for name, names in by_treatment.items()
        if names
    )
    lost = [m for m in modules if m["treatment"] == "lora" and m["kept"] < NEARLY_ALL]
    lost.sort(key=lambda module: (module["kept"], module["module"]))
    if lost:
        context.terminal.print("Of their own change, the ranks keep least in")
    context.terminal.table(
        [f"  {printable(m['module'])}", f"{m['kept']:.2%}", f"rank {m['rank']}"]
        for m in lost[:MOST_SHOWN]
    )
    tied = [module["module"] for module in modules if module["is_tied"]]
    if tied:
        context.terminal.remark(
            f"In {plural(len(tied), 'module')}, as {printable(tied[0])}, two singular values at "
            "the cut are equal: which direction is kept is arbitrary, and always the same."
        )
