"""The configuration of a composed adapter, from what the modules came out as."""

from __future__ import annotations

from collections.abc import Sequence

from plait.algebra.composition import Composition
from plait.algebra.outcome import ComposedModule
from plait.model.lora_config import LoraDescription, write_lora_config

_CHOOSES_LAYERS = ("layers_to_transform", "layers_pattern", "exclude_modules")
"""Fields by which an input adapts fewer modules than its targets name."""


def configure(composition: Composition, modules: Sequence[ComposedModule]) -> bytes:
    """Return the bytes of `adapter_config.json`."""
    configs = [adapter.config for adapter in composition.inputs]
    tasks = {config.task_type for config in configs}
    placements = [module.placement for module in modules if module.placement is not None]
    return write_lora_config(
        LoraDescription(
            ranks={module.module: module.rank for module in modules if module.placement},
            target_modules=_find_targets(composition, modules),
            modules_to_save=_find_saved(composition),
            base_name=configs[0].base_name,
            base_revision=configs[0].base_revision,
            task_type=tasks.pop() if len(tasks) == 1 else None,
            fan_in_fan_out=any(placement.fan_in_fan_out for placement in placements),
            has_bias=composition.has_bias,
        )
    )


def _find_saved(composition: Composition) -> tuple[str, ...]:
    """Return the names of the modules that are held whole: the inputs' own, and what has none.

    A trained bias alone makes no such module: PEFT loads it into the base's own, and would look for
    the weight beside it.
    """
    names = {name for adapter in composition.inputs for name in adapter.config.modules_to_save}
    unnamed = {
        outline.module
        for outline in composition.modules
        if "weight" in outline.saved
        and not any(f".{name}." in f".{outline.module}." for name in names)
    }
    return tuple(sorted(names | unnamed))


def _find_targets(composition: Composition, modules: Sequence[ComposedModule]) -> tuple[str, ...]:
    """Return names that PEFT finds the adapted modules by, and as far as can be told no others.

    The inputs' own names where they are plain ones, since they are what people and serving engines
    know; else every module's whole path.
    """
    adapted = sorted(module.module for module in modules if module.placement is not None)
    others = [module.module for module in modules if module.placement is None]
    names: set[str] = set()
    for adapter in composition.inputs:
        values = adapter.config.values
        targets = values.get("target_modules")
        if not isinstance(targets, list) or any(values.get(field) for field in _CHOOSES_LAYERS):
            return tuple(adapted)
        names |= set(adapter.config.target_modules)
    # LN tuning's targets, say, are modules that the outcome holds whole.
    names = {name for name in names if any(_is_named(module, name) for module in adapted)}
    is_exact = all(any(_is_named(module, name) for name in names) for module in adapted) and (
        not any(_is_named(module, name) for module in others for name in names)
    )
    return tuple(sorted(names)) if is_exact else tuple(adapted)


def _is_named(module: str, name: str) -> bool:
    """Tell whether PEFT takes a name of `target_modules` for a module."""
    return module == name or module.endswith(f".{name}")
