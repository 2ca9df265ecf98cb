"""diffusers' names: a component of the pipeline, a module's path, and a part.

    unet.mid_block.attentions.0.proj_in.lora_A.weight                          since PEFT is used
    unet.mid_block.attentions.0.proj_in.lora.down.weight                       layers of its own
    unet....transformer_blocks.0.attn1.processor.to_q_lora.down.weight         attention processors
    text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_linear_layer.down.weight
    text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.down.weight   is q_proj

Files of attention processors alone may lack `unet.`; then the module's path tells. Factors of scale
are metadata (`lora_adapter_metadata`) where they are not alpha = r, and `.alpha` tensors in files
that other tools converted.
"""

from __future__ import annotations

import re

from plait.errors import InvalidInput
from plait.model.key_layouts.components import find_components
from plait.model.key_layouts.forms import Component, Layout, LoraKey, Part

METADATA_KEY = "lora_adapter_metadata"
"""Of the file's metadata: JSON with the fields of each component's PEFT configuration."""

_COMPONENT = re.compile(rf"({'|'.join(sorted(Component, key=len, reverse=True))})\.(.+)")
_SUFFIXES = {
    ".lora_A.weight": Part.A,
    ".lora_B.weight": Part.B,
    ".lora_B.bias": Part.BIAS,
    ".lora_magnitude_vector": Part.MAGNITUDE,
    ".lora_magnitude_vector.weight": Part.MAGNITUDE,
    ".alpha": Part.ALPHA,
    ".lora.down.weight": Part.A,
    ".lora.up.weight": Part.B,
    ".lora_linear_layer.down.weight": Part.A,
    ".lora_linear_layer.up.weight": Part.B,
}
_OLD = re.compile(r"(.+)\.(to_q|to_k|to_v|to_out)_lora\.(down|up)\.weight")
_IN_UNET = {"to_out": "to_out.0"}
_IN_TEXT_ENCODER = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
_PROCESSOR = ".processor"
_ATTENTION = re.compile(r"(.+\.attn\d?)\.(to_q|to_k|to_v|to_out\.0)")
_SELF_ATTENTION = re.compile(r"(.+\.self_attn)\.([qkv]|out)_proj")
_SIDES = {Part.A: "down", Part.B: "up"}
_AS_PEFT = {Part.A: ".lora_A.weight", Part.B: ".lora_B.weight", Part.BIAS: ".lora_B.bias"}


def split_name(name: str) -> LoraKey | None:
    """Return a tensor's component, module and part, or None where the name is not diffusers'."""
    match = _COMPONENT.fullmatch(name)
    component, path = (Component(match[1]), match[2]) if match else (None, name)
    old = _OLD.fullmatch(path)
    if old is not None:
        stem, part = old[1].removesuffix(_PROCESSOR), Part.A if old[3] == "down" else Part.B
        is_text = ".self_attn" in f".{stem}"
        inner = (_IN_TEXT_ENCODER if is_text else _IN_UNET).get(old[2], old[2])
        return _placed(component, f"{stem}.{inner}", part)
    # The longest suffix: `.lora.down.weight` must not be looked for inside another one.
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if path.endswith(suffix):
            module = path.removesuffix(suffix).replace(f"{_PROCESSOR}.", ".")
            return _placed(component, module, _SUFFIXES[suffix])
    return None


def write_name(component: Component, module: str, part: Part, layout: Layout) -> str:
    """Return a tensor's name in one of diffusers' layouts.

    Raises:
        InvalidInput: an older layout has no such part.
    """
    if layout is Layout.DIFFUSERS:
        suffix = ".lora_magnitude_vector" if part is Part.MAGNITUDE else _AS_PEFT[part]
        return f"{component}.{module}{suffix}"
    side = _SIDES.get(part)
    if side is None:
        raise InvalidInput(
            "delta-missing",
            f"{component}.{module} has a part ({part}) that the layout {layout} cannot hold: "
            "write diffusers' present one (--layout diffusers).",
            module=module,
        )
    old = _old_stem(component, module) if layout is Layout.DIFFUSERS_PROCESSORS else None
    if old is not None:
        return f"{component}.{old}_lora.{side}.weight"
    kind = "lora_linear_layer" if component.is_text_encoder else "lora"
    return f"{component}.{module}.{kind}.{side}.weight"


def _old_stem(component: Component, module: str) -> str | None:
    """Return what stood before `_lora` for the projections of an attention; None for the others."""
    if component.is_text_encoder:
        match = _SELF_ATTENTION.fullmatch(module)
        return None if match is None else f"{match[1]}.to_{match[2]}"
    match = _ATTENTION.fullmatch(module)
    return None if match is None else f"{match[1]}{_PROCESSOR}.{match[2].removesuffix('.0')}"


def _placed(component: Component | None, module: str, part: Part) -> LoraKey:
    if component is None:
        found = find_components(module)
        component = found[0] if len(found) == 1 else None
    return LoraKey(component, module, part)
