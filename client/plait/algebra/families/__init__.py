"""The families of adapters, one file each: what they store, and what it does to the base.

A family says of each module that it is a low-rank delta, a dense one, a function of the base's
weight, or none, with the reason (`plait.algebra.delta`). `read_changes` puts that together for one
adapter, so that every tensor of it is accounted for:

- whole tensors (`modules_to_save`, copies of the base's own beside an adapter, trained biases) are
  replacements, whatever the family;
- a tensor that the family does not know makes its module one without a delta;
- so does every module of a family that has no file here.

What needs the base is computed by `plait.algebra.families.resolve`, once the base is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import import_module

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.arrays import FloatArray
from plait.algebra.delta import Delta, Matrix, ModuleChange, NoDelta
from plait.algebra.families.form import Form, Parts
from plait.model.adapter import AdapterConfig
from plait.model.adapter_families import BOTTLENECK, Effect
from plait.model.adapter_keys import group_by_module

_FILES = {
    "LORA": "lora",
    "ADALORA": "adalora",
    "TRAINABLE_TOKENS": "trainable_tokens",
    "VERA": "vera",
    "LOHA": "loha",
    "LOKR": "lokr",
    "IA3": "ia3",
    "OFT": "oft",
    "BOFT": "boft",
    "HRA": "hra",
    "HIRA": "hira",
    "FOURIERFT": "fourierft",
    "VBLORA": "vblora",
    "MISS": "miss",
    "BONE": "miss",
    "C3A": "c3a",
    "SHIRA": "shira",
    "RANDLORA": "randlora",
    "DELORA": "delora",
    "GRALORA": "gralora",
    "LN_TUNING": "ln_tuning",
    "PROMPT_TUNING": "prompts",
    "MULTITASK_PROMPT_TUNING": "prompts",
    "P_TUNING": "prompts",
    "PREFIX_TUNING": "prompts",
    "CPT": "prompts",
    "CARTRIDGE": "prompts",
    "ADAPTION_PROMPT": "prompts",
    "XLORA": "activations",
    "POLY": "activations",
    "LILY": "activations",
    "SHADOW": "activations",
    BOTTLENECK: "bottleneck",
}
"""By PEFT's type, the file of this package that reads it."""
_WHOLE = frozenset({"weight", "bias"})
_COPY = "base_layer."


def read_changes(adapter: AdapterTensors) -> Mapping[str, ModuleChange]:
    """Return what an adapter does to each module, sorted by module.

    The mapping reads a module's tensors when it is asked for that module, and keeps none but those
    that all modules share; its keys come from the names alone. Asking raises InvalidInput where
    tensors are not finite, or do not fit together or to the configuration.

    Raises:
        InvalidInput: two names mean the same part of the same module.
    """
    return _Changes(adapter)


class _Changes(Mapping[str, ModuleChange]):
    """What `read_changes` returns."""

    def __init__(self, adapter: AdapterTensors) -> None:
        self._form = find_form(adapter.config)
        groups = group_by_module(adapter.kinds)
        own = groups.pop("", {})
        self._shared = {part: name for part, name in own.items() if part in self._form.shared}
        rest = {part: name for part, name in own.items() if part not in self._shared}
        self._groups = {"": rest, **groups} if rest else groups
        self._adapter = _keep_shared(adapter, frozenset(self._shared.values()))

    def __getitem__(self, module: str) -> ModuleChange:
        whole, parts = split_parts(self._adapter.config, module, self._groups[module])
        form = self._form
        replaced = {
            form.replaces[part]: name for part, name in parts.items() if part in form.replaces
        }
        parts = {part: name for part, name in parts.items() if part not in form.replaces}
        delta: Delta | None = None
        bias: Matrix | None = None
        if parts:
            arguments = (self._adapter, module, parts, self._shared)
            delta = form.find_delta(*arguments)
            unknown = frozenset() if form.parts is None else parts.keys() - form.parts
            if unknown and not isinstance(delta, NoDelta):
                delta = NoDelta(
                    Effect.OPAQUE, f"it has a tensor {min(unknown)!r:.80} that plait does not know"
                )
            if form.find_bias is not None and not isinstance(delta, NoDelta):
                bias = form.find_bias(*arguments)
        names = frozenset(parts.values())
        return ModuleChange(
            module=module,
            delta=delta,
            bias=bias,
            replacements={**whole, **replaced},
            names=names.union(self._shared.values()) if names else names,
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._groups)

    def __len__(self) -> int:
        return len(self._groups)

    def __contains__(self, module: object) -> bool:
        return module in self._groups


def find_form(config: AdapterConfig) -> Form:
    """Return how the family of an adapter stores what it does."""
    file = _FILES.get(config.peft_type)
    if file is None:
        return Form(find_delta=_find_no_delta)
    form: Form = import_module(f"{__name__}.{file}").FORM
    return form


def split_parts(config: AdapterConfig, module: str, parts: Parts) -> tuple[Parts, Parts]:
    """Return the parts of a module that are whole tensors of the base, and those of the adapter."""
    is_saved = any(f".{saved}." in f".{module}." for saved in config.modules_to_save)
    whole = {
        part: name
        for part, name in parts.items()
        if is_saved or part in _WHOLE or part.startswith(_COPY)
    }
    return whole, {part: name for part, name in parts.items() if part not in whole}


def _find_no_delta(adapter: AdapterTensors, _: str, __: Parts, ___: Parts) -> NoDelta:
    family = adapter.config.family
    return NoDelta(family.effect, f"plait does not compute what {family.name:.80} does to a weight")


def _keep_shared(adapter: AdapterTensors, names: frozenset[str]) -> AdapterTensors:
    """Return the adapter, so that each tensor of `names` is read at most about once."""
    if not names:
        return adapter
    kept: dict[str, FloatArray] = {}

    def read(name: str) -> FloatArray:
        if name not in names:
            return adapter.read(name)
        if name not in kept:
            kept[name] = adapter.read(name)
        return kept[name]

    return replace(adapter, read=read)
