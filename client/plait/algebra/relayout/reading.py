"""From the tensors of each layout to the LoRA of each module."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from plait.algebra.arrays import decode
from plait.algebra.outcome import EncodedTensor
from plait.algebra.relayout.lora_module import LoraModule, RelayoutOptions, refuse_two_names
from plait.algebra.relayout.stacked_factors import Pair, take_apart
from plait.errors import InvalidInput
from plait.model.adapter import AdapterConfig, parse_adapter_config
from plait.model.key_layouts import diffusers, kohya, peft
from plait.model.key_layouts.components import complete_path, find_components
from plait.model.key_layouts.forms import Component, LoraKey, Part
from plait.model.key_layouts.kohya import KohyaReader
from plait.model.key_layouts.peft import Scale

_Parts: TypeAlias = dict[Part, EncodedTensor]
_FACTORS_AND_ALPHA = frozenset({Part.A, Part.B, Part.ALPHA})


def read_kohya(
    tensors: Sequence[EncodedTensor], keys: Mapping[str, LoraKey], options: RelayoutOptions
) -> list[LoraModule]:
    """Return the modules of a file in kohya's layout; raises as `to_peft` does."""
    grouped: dict[str, _Parts] = {}
    for tensor in tensors:
        key = keys[tensor.name]
        grouped.setdefault(key.module, {})[key.part] = tensor
    architecture = options.architecture or kohya.find_architecture(grouped)
    reader = KohyaReader(architecture, options.modules)
    modules: dict[tuple[Component, str], LoraModule] = {}
    for name, parts in sorted(grouped.items()):
        found = reader.find(name)
        pair = _pair(name, parts)
        scale = Scale(pair.rank, _alpha(name, parts, pair.rank))
        apart = take_apart(pair, found.arrangement, parts=len(found.modules), name=name)
        for path, own in zip(found.modules, apart, strict=True):
            if (found.component, path) in modules:
                raise refuse_two_names(path, name)
            modules[found.component, path] = LoraModule(
                component=found.component, path=path, pair=own, scale=scale
            )
    return list(modules.values())


def read_diffusers(
    tensors: Sequence[EncodedTensor],
    keys: Mapping[str, LoraKey],
    metadata: Mapping[str, str],
    *,
    options: RelayoutOptions,
) -> tuple[list[LoraModule], bool]:
    """Return the modules of a file in any of diffusers' layouts, and whether gamma is rsLoRA's.

    Raises as `to_peft` does.
    """
    grouped: dict[tuple[Component | None, str], _Parts] = {}
    for tensor in tensors:
        key = keys[tensor.name]
        component = key.component or options.component
        parts = grouped.setdefault((component, key.module), {})
        if key.part in parts:
            raise refuse_two_names(key.module, tensor.name)
        parts[key.part] = tensor
    configs = _parse_metadata(metadata, {component for component, _ in grouped})
    modules = []
    for (component, path), parts in grouped.items():
        pair = _pair(path, parts)
        config = configs.get(component)
        if config is not None and Part.ALPHA in parts:
            raise InvalidInput(
                "invalid-safetensors",
                f"The file has the factor of {path} twice: as metadata and as the tensor "
                f"{parts[Part.ALPHA].name!r:.200}. Remove one of them.",
                module=path,
            )
        alpha = _alpha(path, parts, pair.rank) if config is None else config.alpha_of(path)
        if config is not None and config.rank_of(path) != pair.rank:
            raise _wrong_rank(path, pair.rank, config.rank_of(path))
        others: _Parts = {p: t for p, t in parts.items() if p not in _FACTORS_AND_ALPHA}
        modules.append(
            LoraModule(
                component=component,
                path=path,
                pair=pair,
                scale=Scale(pair.rank, alpha),
                others=others,
            )
        )
    flags = {component in configs and configs[component].use_rslora for component, _ in grouped}
    if len(flags) > 1:
        raise InvalidInput(
            "invalid-safetensors",
            "The components differ in use_rslora, which PEFT has once an adapter: convert them "
            "one by one (--component).",
        )
    return modules, flags == {True}


def read_peft(
    config: AdapterConfig, tensors: Sequence[EncodedTensor], options: RelayoutOptions
) -> list[LoraModule]:
    """Return the modules of a LoRA as PEFT saves it; raises as `from_peft` does."""
    grouped: dict[tuple[Component | None, str], _Parts] = {}
    for tensor in tensors:
        key = peft.split_name(tensor.name)
        if key is None:
            raise InvalidInput(
                "delta-missing",
                f"The tensor {tensor.name!r:.200} is no factor of a LoRA in a linear module or a "
                "convolution, and this layout cannot hold it: leave it out first.",
                tensor=tensor.name,
            )
        grouped.setdefault((key.component, key.module), {})[key.part] = tensor
    modules = []
    for (named, path), parts in grouped.items():
        whole = f"{named}.{path}" if named else path
        pair = _pair(whole, parts)
        if config.rank_of(whole) != pair.rank:
            raise _wrong_rank(whole, pair.rank, config.rank_of(whole))
        modules.append(
            LoraModule(
                component=named or options.component or _find_component(path),
                path=complete_path(path),
                pair=pair,
                scale=Scale(pair.rank, config.alpha_of(whole)),
                others={p: t for p, t in parts.items() if p not in _FACTORS_AND_ALPHA},
            )
        )
    return modules


def _parse_metadata(
    metadata: Mapping[str, str], components: Collection[Component | None]
) -> dict[Component | None, AdapterConfig]:
    text = metadata.get(diffusers.METADATA_KEY)
    if text is None:
        return {}
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise InvalidInput(
            "invalid-safetensors", f"The metadata {diffusers.METADATA_KEY} is not JSON."
        ) from error
    configs = {}
    for component in components:
        prefix = f"{component}."
        own = {
            key.removeprefix(prefix): value
            for key, value in (fields.items() if isinstance(fields, dict) else ())
            if key.startswith(prefix)
        }
        if own:
            document = {**own, "peft_type": "LORA"}
            configs[component] = parse_adapter_config(json.dumps(document).encode())
    return configs


def _pair(name: str, parts: Mapping[Part, EncodedTensor]) -> Pair:
    if Part.A not in parts or Part.B not in parts:
        raise InvalidInput(
            "invalid-safetensors",
            f"The module {name!r:.200} has no pair of factors, only {', '.join(sorted(parts))}.",
            module=name,
        )
    pair = Pair(parts[Part.A], parts[Part.B])
    if len(pair.B.shape) < 2 or len(pair.A.shape) < 2 or pair.B.shape[1] != pair.rank:
        raise InvalidInput(
            "shape-mismatch",
            f"The factors of {name!r:.200}, {list(pair.A.shape)} and {list(pair.B.shape)}, have no "
            "product.",
            module=name,
        )
    return pair


def _alpha(name: str, parts: Mapping[Part, EncodedTensor], rank: int) -> float:
    """Return the number in a module's alpha, which is the rank where there is none."""
    tensor = parts.get(Part.ALPHA)
    if tensor is None:
        return float(rank)
    values = decode(tensor.data, tensor.dtype, tensor.shape, precision=np.float64)
    if values.size != 1 or not math.isfinite(values.item()) or values.item() == 0:
        raise InvalidInput(
            "invalid-safetensors",
            f"The alpha of {name!r:.200} is not one number other than zero, for which some tools "
            "take the rank and others nothing.",
            module=name,
        )
    return float(values.item())


def _wrong_rank(path: str, found: int, said: int) -> InvalidInput:
    return InvalidInput(
        "rank-invalid",
        f"The factors of {path} have rank {found}, and the configuration says {said}.",
        module=path,
    )


def _find_component(path: str) -> Component:
    found = find_components(path)
    if len(found) != 1:
        raise InvalidInput(
            "invalid-input",
            f"The name {path!r:.200} does not tell what model of a pipeline the LoRA is for: say "
            f"which (--component {' or '.join(found or Component)}).",
            module=path,
        )
    return found[0]
