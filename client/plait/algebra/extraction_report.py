"""All extracted modules as one adapter: tensors, what the configuration says, the report."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from plait.algebra.delta import ModuleKind
from plait.algebra.extract import Extraction, Treatment
from plait.algebra.extract_module import BIAS, ExtractedModule
from plait.algebra.outcome import PEFT_PREFIX, ComposedModule, EncodedTensor
from plait.algebra.rounding import encode
from plait.errors import InvalidInput
from plait.model.lora_config import LoraDescription


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractedAdapter:
    """A full fine-tune as an adapter."""

    outcomes: tuple[ComposedModule, ...]
    """Sorted by module."""
    description: LoraDescription
    """For the configuration; the base's name is for who knows it."""
    modules: tuple[ExtractedModule, ...]
    """Every module of the models, sorted."""

    @property
    def energy(self) -> float:
        """The squared norm of all that the tuning changed."""
        return math.fsum(module.energy for module in self.modules)

    @property
    def kept(self) -> float:
        """The part of it that the adapter has."""
        return math.fsum(module.kept_energy for module in self.modules) / self.energy

    def energy_of(self, treatment: Treatment) -> float:
        """Return the squared norm of the change in the modules that were treated so."""
        return math.fsum(m.energy for m in self.modules if m.treatment is treatment)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: totals, then every module that changed."""
        return {
            "norm": math.sqrt(self.energy),
            "kept": self.kept,
            "parts": {
                treatment.value: self.energy_of(treatment) / self.energy
                for treatment in Treatment
                if treatment is not Treatment.UNCHANGED
            },
            "modules": [
                _module_to_json(module)
                for module in self.modules
                if module.treatment is not Treatment.UNCHANGED
            ],
        }


def assemble(extraction: Extraction, modules: Sequence[ExtractedModule]) -> ExtractedAdapter:
    """Return the adapter that the extracted modules make up.

    Raises:
        InvalidInput: `delta-zero`, the two models are the same; `delta-missing`, no matrix changed,
            or biases and embeddings both did, which one LoRA in PEFT cannot adapt.
    """
    tuned = extraction.tuned.label
    if all(module.treatment is Treatment.UNCHANGED for module in modules):
        raise InvalidInput(
            "delta-zero", f"{tuned} is the same as {extraction.base.label}: there is no change."
        )
    outcomes = sorted(
        (outcome for module in modules for outcome in module.outcomes),
        key=lambda outcome: outcome.module,
    )
    adapted = [outcome for outcome in outcomes if outcome.placement is not None]
    if not adapted:
        raise InvalidInput(
            "delta-missing",
            f"{tuned} changed no matrix, or all that changed is left out or saved whole: there is "
            "nothing for a LoRA to hold.",
        )
    has_bias = any(_has_bias(outcome) for outcome in adapted)
    if has_bias:
        _verify_no_embedding(tuned, adapted)
        outcomes = [_with_bias(outcome, extraction.options.dtype) for outcome in outcomes]
    every = [outline.module for outline in extraction.modules]
    every += [head for outline in extraction.modules for head in outline.heads]
    saved = [outcome.module for outcome in outcomes if outcome.placement is None]
    description = LoraDescription(
        ranks={outcome.module: outcome.rank for outcome in adapted},
        target_modules=_shorten([outcome.module for outcome in adapted], every, separator="."),
        # PEFT takes whatever ends so for a module to save, also in the middle of a name.
        modules_to_save=_shorten(saved, every, separator=""),
        fan_in_fan_out=any(o.placement is not None and o.placement.fan_in_fan_out for o in adapted),
        has_bias=has_bias,
    )
    return ExtractedAdapter(
        outcomes=tuple(outcomes), description=description, modules=tuple(modules)
    )


def _shorten(modules: Sequence[str], every: Collection[str], *, separator: str) -> tuple[str, ...]:
    """Return names that stand for exactly these modules: last components, or else whole paths."""
    chosen = set(modules)
    names = set()
    for module in modules:
        last = module.rpartition(".")[2]
        meant = {other for other in every if f".{other}".endswith(f"{separator}{last}")}
        names.add(last if meant <= chosen else module)
    return tuple(sorted(names))


def _has_bias(outcome: ComposedModule) -> bool:
    return any(tensor.name.endswith(BIAS) for tensor in outcome.tensors)


def _with_bias(outcome: ComposedModule, dtype: str) -> ComposedModule:
    """Return a linear module with a bias of zero where it has none: PEFT wants one in each."""
    if outcome.placement is None or _has_bias(outcome):
        return outcome
    rows = next(t.shape[0] for t in outcome.tensors if t.name.endswith("lora_B.weight"))
    name = f"{PEFT_PREFIX}{outcome.module}.{BIAS}"
    bias = EncodedTensor(name, dtype, (rows,), encode(np.zeros(rows), dtype))
    tensors = sorted((*outcome.tensors, bias), key=lambda tensor: tensor.name)
    return replace(outcome, tensors=tuple(tensors))


def _verify_no_embedding(tuned: str, adapted: Sequence[ComposedModule]) -> None:
    for outcome in adapted:
        if outcome.placement is not None and outcome.placement.kind is ModuleKind.EMBEDDING:
            raise InvalidInput(
                "delta-missing",
                f"{tuned} changed biases and the embedding {outcome.module}, and PEFT's LoRA has "
                "no biases beside adapted embeddings: save the embedding whole, or leave it out.",
                module=outcome.module,
            )


def _module_to_json(module: ExtractedModule) -> Mapping[str, Any]:
    return {
        "module": module.outline.module,
        "treatment": module.treatment.value,
        "norm": math.sqrt(module.energy),
        "kept": module.kept_energy / module.energy if module.energy > 0.0 else 1.0,
        "rank": module.rank,
        "is_tied": module.is_tied,
    }
