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
    adapted = [module for module in modules if module.placement is not None]
    saved = sorted(
        {name for config in configs for name in config.modules_to_save}
        | {
            module.module
            for module in modules
            if module.placement is None
            and module.tensors == ()
            and not any(
                module.module.endswith(f".{n}") or module.module == n
                for config in configs
                for n in config.modules_to_save
            )
        }
    )
    tasks = {config.task_type for config in configs}
    placements = [module.placement for module in adapted if module.placement is not None]
    return write_lora_config(
        LoraDescription(
            ranks={module.module: module.rank for module in adapted},
            target_modules=_find_targets(composition, [module.module for module in adapted]),
            modules_to_save=tuple(saved),
            base_name=configs[0].base_name,
            base_revision=configs[0].base_revision,
            task_type=tasks.pop() if len(tasks) == 1 else None,
            fan_in_fan_out=any(placement.fan_in_fan_out for placement in placements),
            has_bias=composition.has_bias,
        )
    )


def _find_targets(composition: Composition, adapted: Sequence[str]) -> tuple[str, ...]:
    """Return names that PEFT finds the adapted modules by, and as far as can be told no others.

    The inputs' own names where they are plain ones, since they are what people and serving engines
    know; else every module's whole path.
    """
    names: set[str] = set()
    for adapter in composition.inputs:
        values = adapter.config.values
        targets = values.get("target_modules")
        if not isinstance(targets, list) or any(values.get(field) for field in _CHOOSES_LAYERS):
            return tuple(sorted(adapted))
        names |= set(adapter.config.target_modules)
    is_covered = all(
        any(module == name or module.endswith(f".{name}") for name in names) for module in adapted
    )
    return tuple(sorted(names)) if is_covered else tuple(sorted(adapted))
