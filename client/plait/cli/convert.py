"""`plait convert`: any adapter as a plain LoRA, and other tools' layouts both ways."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from plait.cli.composing import (
    MOST_SHOWN,
    add_arithmetic,
    add_outcome,
    add_parameters,
    read_options,
    run_recipe,
)
from plait.cli.context import Context
from plait.cli.terminal import format_size, plural, printable
from plait.errors import InvalidInput
from plait.model.address import Address
from plait.model.ids import abbreviate
from plait.model.key_layouts.forms import Architecture, Component, Layout
from plait.model.recipe_shorthand import recipe_from_options
from plait.model.refs import DEFAULT_BRANCH, HEAD, parse_ref_name

if TYPE_CHECKING:
    from plait.convert import Converted, ConvertWish

USAGE = """\
plait convert NS/A[@REV] [--rank N | --energy PART] [--base-dir DIR] -o NS/NAME[@BRANCH]
plait convert NS/A[@REV] [--rank N | --energy PART] [--base-dir DIR] --to DIR
plait convert NS/A[@REV] --layout LAYOUT --to DIR
plait convert FILE [--layout LAYOUT] --to DIR
plait convert FILE [--base NAME] -o NS/NAME[@BRANCH]"""
EXAMPLES = """\
  plait convert team/dora@v2 --base-dir models/llama --rank 32 -o team/dora-as-lora
  plait convert team/loha --energy 0.99 --to out/loha
  plait convert loras/pixel-art.safetensors --to out/pixel-art
  plait convert loras/pixel-art.safetensors --base stabilityai/sdxl -o art/pixel --create
  plait convert art/pixel --layout kohya --to out
  plait convert out/peft-folder --layout diffusers --to out/diffusers

FILE is a safetensors file, or a folder that holds one; its names tell the layout. An argument that
is there on this machine is taken for one, and anything else for an address. The bytes of the
factors stay; what another layout cannot hold is named.
"""
_OF_FILES = ("layout", "modules", "architecture", "component", "base")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("source", metavar="SOURCE", help="an adapter's address, or a FILE")
    layouts = parser.add_argument_group("layouts")
    layouts.add_argument(
        "--layout",
        choices=[layout.value for layout in Layout],
        help="the names that the outcome shall have (peft)",
    )
    layouts.add_argument(
        "--modules",
        metavar="FILE",
        help="the model's module paths, one a line, where names alone do not tell them",
    )
    layouts.add_argument(
        "--architecture",
        choices=[architecture.value for architecture in Architecture],
        help="the pipeline, where names alone do not tell it",
    )
    layouts.add_argument(
        "--component",
        choices=[component.value for component in Component],
        help="the model of the pipeline: what the names are of, or which one to take",
    )
    layouts.add_argument(
        "--base", metavar="NAME[@REVISION]", help="the base model, for PEFT's configuration"
    )
    add_parameters(parser, methods=("convert",))
    add_outcome(parser)
    add_arithmetic(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Convert."""
    path = context.path(arguments.source)
    if path.exists():
        _run_file(path, arguments, context)
        return
    address = _parse_address(arguments.source)
    if arguments.layout is not None:
        _export(address, arguments, context)
        return
    given = [name for name in _OF_FILES if getattr(arguments, name) is not None]
    if given:
        raise InvalidInput(
            "usage", f"--{given[0]} is for files and for --layout: a version is PEFT's already."
        )
    recipe = recipe_from_options("convert", [arguments.source], read_options(arguments))
    run_recipe(recipe, arguments, context)


def _parse_address(source: str) -> Address:
    try:
        return Address.parse(source)
    except InvalidInput as error:
        raise InvalidInput(
            "invalid-input",
            f"{source!r:.200} is neither a file on this machine nor the address of an adapter "
            "(NS/NAME[@REV]).",
        ) from error


def _run_file(source: Path, arguments: argparse.Namespace, context: Context) -> None:
    _verify_no_arithmetic(arguments)
    if (arguments.output is None) == (arguments.to is None):
        raise InvalidInput(
            "usage", "Say where the outcome goes: --to DIR, or -o NS/NAME[@BRANCH] to push it."
        )
    wish = _make_wish(source, arguments, context)
    if arguments.to is not None:
        _write(wish, arguments, context)
        return
    if wish.layout not in {None, Layout.PEFT}:
        raise InvalidInput(
            "usage", "The registry holds adapters in PEFT's layout: leave --layout out with -o."
        )
    _push(wish, arguments, context)


def _export(address: Address, arguments: argparse.Namespace, context: Context) -> None:
    """Write a version of the registry in another tool's layout."""
    from plait.pull import PullRequest, pull

    _verify_no_arithmetic(arguments)
    if arguments.to is None or arguments.output is not None:
        raise InvalidInput(
            "usage", "A version in another layout is written into a folder: say which (--to DIR)."
        )
    pulled = pull(
        context.open_transport(arguments.url),
        address.repository,
        context.open_cache(),
        PullRequest(address.revision or HEAD),
        context.terminal.progress,
    )
    wish = _make_wish(pulled.path, arguments, context, name=str(address.repository.name))
    _write(wish, arguments, context)


def _make_wish(
    source: Path, arguments: argparse.Namespace, context: Context, *, name: str | None = None
) -> ConvertWish:
    from plait.convert import ConvertWish
    from plait.module_list import list_modules, read_module_list

    modules: frozenset[str] = frozenset()
    if arguments.modules is not None:
        modules |= read_module_list(context.path(arguments.modules))
    if arguments.base_dir is not None:
        modules |= list_modules(context.path(arguments.base_dir))
    architecture, component = arguments.architecture, arguments.component
    return ConvertWish(
        source=source,
        layout=None if arguments.layout is None else Layout(arguments.layout),
        name=name,
        modules=modules,
        architecture=None if architecture is None else Architecture(architecture),
        component=None if component is None else Component(component),
        base=context.base(arguments.base, None),
    )


def _verify_no_arithmetic(arguments: argparse.Namespace) -> None:
    given = read_options(arguments)
    if given:
        name = next(iter(given)).replace("_", "-")
        raise InvalidInput(
            "usage",
            f"--{name} is for versions of the registry: a file's layout is converted without "
            "arithmetic. Push it first (-o), then convert the version.",
        )


def _write(wish: ConvertWish, arguments: argparse.Namespace, context: Context) -> None:
    from plait.convert import convert_to_folder

    if arguments.message is not None or arguments.create:
        raise InvalidInput("usage", "-m and --create are for -o: a folder has no commits.")
    destination = context.path(arguments.to)
    converted = convert_to_folder(wish, destination, force=arguments.force)
    if arguments.json:
        context.terminal.json({"path": str(destination), **converted.to_json()})
        return
    path = destination / converted.file
    context.terminal.print(
        f"Converted {plural(converted.tensors, 'tensor')} from {converted.source_layout} to "
        f"{converted.layout}: {printable(str(path))}"
    )
    _show_losses(context, converted)


def _push(wish: ConvertWish, arguments: argparse.Namespace, context: Context) -> None:
    from plait.convert import convert_file
    from plait.push_folder import FolderPush, push_folder

    address = Address.parse(arguments.output)
    with tempfile.TemporaryDirectory(prefix="plait-convert-") as name:
        converted = convert_file(wish, Path(name), context.terminal.progress)
        push = FolderPush(
            folder=Path(name),
            message=arguments.message
            or f"Import {wish.source.name} from {converted.source_layout}'s layout",
            author=context.author(arguments.author),
            time=context.now(),
            branch=parse_ref_name(address.revision or DEFAULT_BRANCH),
            base=wish.base,
            origin=converted.origin,
            create=arguments.create,
        )
        pushed = push_folder(
            context.open_transport(arguments.url),
            address.repository,
            push,
            context.terminal.progress,
        )
    if arguments.json:
        context.terminal.json(
            {
                "commit": pushed.commit,
                "manifest": pushed.manifest,
                "branch": pushed.branch,
                "new": pushed.is_new,
                **converted.to_json(),
            }
        )
        return
    at = abbreviate(pushed.commit)
    where = f"{address.repository}@{pushed.branch}"
    if not pushed.is_new:
        context.terminal.print(f"{where} has this adapter already, at {at}: nothing was sent")
        return
    sent = context.terminal.progress.moved("Uploading")
    context.terminal.print(
        f"Imported {plural(converted.tensors, 'tensor')} from {converted.source_layout} as {at} "
        f"to {where} ({format_size(sent)} sent)"
    )
    _show_losses(context, converted)


def _show_losses(context: Context, converted: Converted) -> None:
    """Name what was rounded, and what the other layout has no place for."""
    if converted.rounded:
        worst = max(converted.rounded, key=lambda name: (converted.rounded[name], name))
        context.terminal.remark(
            f"The factor of scale was rounded to F32 in {plural(len(converted.rounded), 'module')}"
            f", most in {printable(worst)} (by {converted.rounded[worst]:.1e} of it)."
        )
    if converted.lost:
        more = len(converted.lost) - MOST_SHOWN
        shown = ", ".join(converted.lost[:MOST_SHOWN])
        context.terminal.remark(
            f"{converted.layout} has no place for {printable(shown)}"
            f"{f' and {more} more' if more > 0 else ''}; no weight depends on them."
        )
