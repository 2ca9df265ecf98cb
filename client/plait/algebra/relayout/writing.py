"""From the LoRA of each module to the tensors of a layout."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from plait.algebra.outcome import EncodedTensor
from plait.algebra.relayout.lora_module import (
    LoraModule,
    Relayout,
    RelayoutOptions,
    sort_tensors,
)
from plait.algebra.relayout.stacked_factors import Pair, put_together
from plait.algebra.rounding import encode
from plait.errors import Internal, InvalidInput
from plait.model.key_layouts import diffusers, kohya, peft
from plait.model.key_layouts.detect import find_architecture
from plait.model.key_layouts.forms import Component, Layout, Part
from plait.model.key_layouts.kohya import KohyaModule
from plait.model.key_layouts.peft import Scale


def write_kohya(
    modules: Sequence[LoraModule], options: RelayoutOptions, *, use_rslora: bool
) -> Relayout:
    """Return the modules in kohya's layout.

    Raises:
        InvalidInput: the architecture is not to be told, or a module has no form there.
    """
    by_path = {(_component(module), module.path): module for module in modules}
    architecture = options.architecture or find_architecture(by_path)
    tensors: list[EncodedTensor] = []
    rounded: dict[str, float] = {}
    for target in kohya.write_modules(by_path, architecture):
        own = [by_path.get((target.component, path)) for path in target.modules]
        for module in own:
            if module is not None and module.others:
                raise InvalidInput(
                    "delta-missing",
                    f"{module.path} has a part ({', '.join(sorted(module.others))}) that kohya's "
                    "layout cannot hold: convert the adapter first, or write diffusers' layout.",
                    module=module.path,
                )
        pair, alpha = _join(target, own, use_rslora=use_rslora)
        error = abs(float(np.float32(alpha)) - alpha) / abs(alpha)
        if error > 0:
            rounded[target.name] = error
        scalar = EncodedTensor("", "F32", (), encode(np.array(alpha), "F32"))
        for part, tensor in ((Part.A, pair.A), (Part.B, pair.B), (Part.ALPHA, scalar)):
            tensors.append(replace(tensor, name=f"{target.name}.{kohya.SUFFIXES[part]}"))
    return Relayout(tensors=sort_tensors(tensors), rounded=rounded)


def _join(
    target: KohyaModule, own: Sequence[LoraModule | None], *, use_rslora: bool
) -> tuple[Pair, float]:
    """Return the factors of one of kohya's modules, and its alpha."""
    present = [module for module in own if module is not None]
    first = present[0].scale
    if any(not _same_gamma(first, module.scale, use_rslora=use_rslora) for module in present):
        paths = ", ".join(module.path for module in present)
        raise InvalidInput(
            "delta-missing",
            f"{paths} are one matrix in kohya's layout, with one factor, and have different ones "
            "(alpha / r): bring them to one first (plait resize NS/NAME --rank N).",
            module=target.name,
        )
    if first.alpha == 0:
        raise InvalidInput(
            "delta-zero",
            f"The alpha of {present[0].path} is zero, which kohya's tools take for the rank.",
            module=present[0].path,
        )
    pair = put_together(
        [None if module is None else module.pair for module in own],
        target.arrangement,
        name=target.name,
    )
    # gamma = alpha / r = alpha' / r', and both ranks are small: exact where alpha r' fits 53 bits.
    alpha = first.alpha if pair.rank == first.rank else first.alpha * pair.rank / first.rank
    return pair, alpha * math.sqrt(first.rank) if use_rslora else alpha


def _same_gamma(one: Scale, other: Scale, *, use_rslora: bool) -> bool:
    if use_rslora:
        return one == other or one.alpha**2 * other.rank == other.alpha**2 * one.rank
    return one.alpha * other.rank == other.alpha * one.rank


def write_diffusers(modules: Sequence[LoraModule], layout: Layout, *, use_rslora: bool) -> Relayout:
    """Return the modules in one of diffusers' layouts; raises where it cannot hold a part."""
    tensors = [
        replace(tensor, name=diffusers.write_name(_component(module), module.path, part, layout))
        for module in modules
        for part, tensor in module.tensors.items()
    ]
    fields: dict[str, Any] = {}
    for component in sorted({_component(module) for module in modules}):
        own = [module for module in modules if module.component is component]
        config = peft.write_config(
            {module.path: module.scale for module in own},
            use_rslora=use_rslora,
            use_dora=any(Part.MAGNITUDE in module.others for module in own),
            lora_bias=any(Part.BIAS in module.others for module in own),
        )
        del config["base_model_name_or_path"], config["inference_mode"], config["peft_type"]
        fields.update({f"{component}.{key}": value for key, value in config.items()})
    text = json.dumps(fields, indent=2, sort_keys=True)
    return Relayout(
        tensors=sort_tensors(tensors), metadata={"format": "pt", diffusers.METADATA_KEY: text}
    )


def _component(module: LoraModule) -> Component:
    if module.component is None:
        raise Internal("internal", f"{module.path} was read without its component.")
    return module.component
