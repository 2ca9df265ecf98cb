"""What `plait compose --dry-run` prints."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from plait.cli.composing import count_threads
from plait.cli.context import Context
from plait.cli.terminal import plural, printable
from plait.model.recipe import Recipe

if TYPE_CHECKING:
    from plait.algebra.interference import Interference, ModuleInterference
    from plait.preview import Preview

MOST_SHOWN = 8
"""Modules that conflict most, which are shown."""


def preview(recipe: Recipe, arguments: argparse.Namespace, context: Context) -> None:
    """Say what is known about a composition, without making it."""
    from plait.preview import PreviewWish, preview_composition

    found = preview_composition(
        context.open_transport(arguments.url),
        context.open_cache(),
        PreviewWish(
            recipe=recipe,
            base_folder=None if arguments.base_dir is None else context.path(arguments.base_dir),
            threads=count_threads(arguments),
        ),
        context.terminal.progress,
    )
    if arguments.json:
        context.terminal.json(found.to_json())
        return
    context.terminal.print(f"Nothing was made: {printable(found.recipe.summary())}")
    if found.interference is not None:
        _show(context, found, found.interference)
    for remark in found.remarks:
        context.terminal.print(f"Note: {printable(remark)}")


def _show(context: Context, found: Preview, interference: Interference) -> None:
    total = interference.total
    rows = [["input", "norm"]]
    rows += [
        [f"  {printable(label)}", f"{norm:.4g}"]
        for label, norm in zip(found.labels, total.norms, strict=True)
    ]
    context.terminal.table(rows, right=(1,))
    if len(found.labels) > 1:
        header = ["pair", "cosine", "overlap written", "overlap read"]
        context.terminal.table([header, *_list_pairs(found, total)], right=(1, 2, 3))
        conflict = "none" if total.sign_conflict is None else f"{total.sign_conflict:.1%}"
        sampled = " (a sample of the rows)" if total.is_sampled else ""
        context.terminal.print(f"Signs differ at {conflict} of the shared elements{sampled}")
    ranks = sorted({module.rank for module in interference.modules})
    span = f"{ranks[0]}" if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
    context.terminal.print(
        f"{plural(len(interference.modules), 'module')}, rank {span} in {found.dtype}: keeps "
        f"{total.kept:.2%} of the weighted sum's squared norm"
    )
    worst = sorted(interference.modules, key=lambda module: module.kept)[:MOST_SHOWN]
    context.terminal.table(
        [["least kept in", "kept", "signs differ"], *(_row(module) for module in worst)],
        right=(1, 2),
    )


def _list_pairs(found: Preview, total: ModuleInterference) -> Iterator[list[str]]:
    for i, one in enumerate(found.labels):
        for j in range(i + 1, len(found.labels)):
            figures = (total.cosines[i][j], total.written[i][j], total.read[i][j])
            yield [
                f"  {printable(one)} and {printable(found.labels[j])}",
                *("" if figure is None else f"{figure:.4f}" for figure in figures),
            ]


def _row(module: ModuleInterference) -> list[str]:
    conflict = "" if module.sign_conflict is None else f"{module.sign_conflict:.1%}"
    return [f"  {printable(module.module)}", f"{module.kept:.2%}", conflict]
