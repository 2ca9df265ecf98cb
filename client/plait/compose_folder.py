"""Carrying out a pinned recipe on folders: the files of the outcome, the same bytes anywhere.

(1) what needs no arithmetic is copied: references of a stack, the identity, the config of a cast;
(2) plan: everything that cannot be done is found before anything is written;
(3) compute module by module, in several threads, and append to the weights in the modules' order;
(4) write the configuration from what came out.

Nothing that varies goes into the files: no time, no path, no version of plait.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from plait.adapter_folder import open_adapter, open_base
from plait.errors import InvalidInput
from plait.kernel_cache import verify_installed
from plait.model.adapter import FILE_NAME
from plait.model.manifest import Manifest
from plait.model.recipe import Dtype, Recipe
from plait.model.recipe_methods import MethodKind
from plait.model.stack import FILE_NAME as STACK_FILE
from plait.model.stack import Stack, StackedAdapter, is_stack
from plait.parallel import map_in_order
from plait.partial_file import disk_errors
from plait.progress import NO_PROGRESS, Progress
from plait.safetensors_spool import SafetensorsSpool
from plait.tokenizer_files import copy_tokenizer

if TYPE_CHECKING:
    from plait.algebra.composition import Composition, ModuleOutline
    from plait.algebra.module_report import ModuleReport
    from plait.algebra.outcome import ComposedModule

WEIGHTS_FILE = "adapter_model.safetensors"
_UNCHANGED_BY_ONE = frozenset({"concat", "sum", "average", "convert"})
"""Methods whose outcome on one adapter of weight 1 is that adapter, bit for bit."""


@dataclass(frozen=True, slots=True)
class ComposedInput:
    """One input of a recipe on this machine."""

    label: str
    folder: Path
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where and how to work."""

    into: Path
    """An empty folder for the outcome."""
    base: Path | None = None
    threads: int = 1


def compose_folder(
    recipe: Recipe,
    inputs: Sequence[ComposedInput],
    place: Workplace,
    progress: Progress = NO_PROGRESS,
) -> list[ModuleReport]:
    """Write the outcome of a pinned recipe and return figures for each module.

    Raises:
        InvalidInput: what the recipe asks for cannot be done with these inputs.
        Unavailable: `extra-missing`, numba is not installed; `disk-full`; or this machine's
            arithmetic is not what the definition needs.
    """
    verify_adapters(inputs)
    kind = recipe.definition.kind
    if kind is MethodKind.STACK:
        _write_stack(recipe, inputs, place.into)
        return []
    copy_tokenizer(inputs, place.into, allow=recipe.allow)
    if is_identity(recipe, inputs):
        _copy_adapter(inputs[0], place.into)
        return []
    verify_installed()
    if kind is MethodKind.CAST:
        return _cast(recipe, inputs[0], place.into)
    composition = open_composition(recipe, inputs, place.base)
    return _compute(composition, place, progress)


def is_identity(recipe: Recipe, inputs: Sequence[ComposedInput]) -> bool:
    """Tell whether the outcome is the one input, so that its very bytes are kept."""
    if len(inputs) != 1 or recipe.method not in _UNCHANGED_BY_ONE:
        return False
    if recipe.dtype is not Dtype.AUTO or {"rank", "energy"} & recipe.parameters.keys():
        return False
    only = recipe.inputs[0]
    is_plain = not only.modules and not only.layers and only.weight == 1.0
    if recipe.method == "convert":
        return is_plain and _is_plain_lora(inputs[0])
    return is_plain


def _is_plain_lora(item: ComposedInput) -> bool:
    config = open_adapter(item.label, item.folder).config
    return config.peft_type == "LORA" and not (set(config.modifiers) - {"fan_in_fan_out"})


def open_composition(
    recipe: Recipe, inputs: Sequence[ComposedInput], base: Path | None
) -> Composition:
    """Return the recipe with its inputs, once all of it is known to be possible.

    Raises:
        InvalidInput: as `plan_composition`.
    """
    from plait.algebra.composition import plan_composition

    adapters = [open_adapter(item.label, item.folder, item.manifest) for item in inputs]
    return plan_composition(recipe, adapters, None if base is None else open_base(base))


def verify_adapters(inputs: Sequence[ComposedInput]) -> None:
    """Check that no input is a stack, which has no deltas and which no server applies.

    Raises:
        InvalidInput: `invalid-stack`.
    """
    for item in inputs:
        if is_stack(item.manifest):
            raise InvalidInput(
                "invalid-stack",
                f"{item.label} is a stack and no adapter: name the adapters that it stacks in its "
                f"place (plait show {item.label} lists them).",
                input=item.label,
            )


def _compute(composition: Composition, place: Workplace, progress: Progress) -> list[ModuleReport]:
    from plait.algebra.compose_module import compose_module
    from plait.algebra.outcome_config import configure

    # (3) compute.
    arithmetic = Arithmetic()

    def work(outline: ModuleOutline) -> ComposedModule:
        arithmetic.verify()
        return compose_module(composition, outline)

    done: list[ComposedModule] = []
    progress.total(len(composition.modules), what="Composing")
    try:
        with SafetensorsSpool(place.into / WEIGHTS_FILE) as spool:
            for module in map_in_order(work, composition.modules, workers=place.threads):
                for tensor in module.tensors:
                    spool.append(tensor)
                done.append(replace(module, tensors=()))
                progress.advance(1)
            spool.finish()
    finally:
        progress.finish()
    # (4) configure.
    _write(place.into / FILE_NAME, configure(composition, done))
    return [module.report for module in done if module.report is not None]


class Arithmetic:
    """Checks once in each thread that its arithmetic is what the definition needs."""

    def __init__(self) -> None:
        self._checked = threading.local()

    def verify(self) -> None:
        """Raise `Unavailable` where, say, a library has switched denormals off."""
        if getattr(self._checked, "is_done", False):
            return
        from plait.algebra.kernels.self_test import verify_arithmetic

        verify_arithmetic()
        self._checked.is_done = True


def _cast(recipe: Recipe, item: ComposedInput, into: Path) -> list[ModuleReport]:
    from plait.algebra.cast import cast_tensor

    dtype = recipe.dtype.value
    adapter = open_adapter(item.label, item.folder, item.manifest)
    reports = []
    with SafetensorsSpool(into / WEIGHTS_FILE) as spool:
        for name in sorted(adapter.kinds):
            tensor, report = cast_tensor(adapter, name, dtype)
            spool.append(tensor)
            reports += [] if report is None else [report]
        spool.finish()
    shutil.copyfile(item.folder / FILE_NAME, into / FILE_NAME)
    return reports


def _copy_adapter(item: ComposedInput, into: Path) -> None:
    """Copy what makes the adapter: its config and the tensors beside it."""
    for file in item.manifest.files:
        if file.path == FILE_NAME or (file.tensors is not None and "/" not in file.path):
            with disk_errors(into):
                shutil.copyfile(item.folder / file.path, into / file.path)


def _write_stack(recipe: Recipe, inputs: Sequence[ComposedInput], into: Path) -> None:
    members = []
    for wanted, item in zip(recipe.inputs, inputs, strict=True):
        if wanted.commit is None:
            raise AssertionError("a recipe that is carried out is pinned")
        members.append(
            StackedAdapter(
                adapter=wanted.adapter,
                commit=wanted.commit,
                manifest=item.manifest.id,
                weight=wanted.weight,
            )
        )
    _write(into / STACK_FILE, Stack(tuple(members)).to_bytes())


def _write(path: Path, data: bytes) -> None:
    with disk_errors(path):
        path.write_bytes(data)
