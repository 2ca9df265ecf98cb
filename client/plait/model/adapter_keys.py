"""Names of an adapter's tensors, taken apart into the module they belong to and their part.

    base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight
                     ----------------------------- module
                                                   ------------- part

- PEFT prefixes `base_model.model.`; what it shares between all modules lies at `base_model.`.
- The part begins at the first component that some family of adapters uses as a name.
- A plain `weight` or `bias` is a whole tensor of the base model (`modules_to_save`), and
  `base_layer.weight` a copy of the base's own.
- Prompts have bare names; kohya's names flatten the module with underscores, so that the module
  stays as kohya writes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from plait.errors import InvalidInput

_PEFT_PREFIX = "base_model.model."
_SHARED_PREFIX = "base_model."
_KOHYA = re.compile(r"(lora_(?:unet|te\d*|prior|transformer)_[^.]+)\.(.+)")
_BASE_LAYER = "base_layer"
_PARTS = (
    "adamss_",
    "adaption_",
    "beft_",
    "boft_",
    "bone_",
    "c3a_",
    "deft_",
    "delora_",
    "fourierft_",
    "frod_",
    "glora_",
    "gralora_",
    "hada_",  # LoHa
    "hira_",
    "hra_",
    "ia3_",
    "internal_xlora_",
    "lily_",
    "ln_tuning_",
    "lokr_",
    "lora_",
    "miss_",
    "oft_",
    "osf_",
    "peanut_",
    "poly_",
    "psoft_",
    "pvera_",
    "randlora_",
    "road_",
    "shadow_",
    "shira_",
    "supertuning_",
    "tinylora_",
    "token_adapter",
    "trainable_tokens_",
    "unilora_",
    "vblora_",
    "vera_",
    "waveft_",
)
"""How the names of adapters' parameters begin (`adapter_layer_names` in peft/tuners)."""


class KeyForm(StrEnum):
    """Whose convention a name follows."""

    PEFT = "peft"  # below `base_model.model.`
    SHARED = "shared"  # below `base_model.`: one tensor for all modules
    BARE = "bare"  # no prefix: prompts, and tools that write the module's name alone
    KOHYA = "kohya"  # `lora_unet_down_blocks_0_...lora_down.weight`


@dataclass(frozen=True, slots=True)
class TensorKey:
    """A tensor's name, taken apart."""

    module: str
    """Path in the base model; empty for what belongs to the model as a whole."""
    part: str
    """What the tensor is to the adapter, as `lora_A.weight`."""
    form: KeyForm


def split_tensor_name(name: str) -> TensorKey:
    """Return the module and the part that a tensor's name is made of."""
    if name.startswith(_PEFT_PREFIX):
        return TensorKey(*_split_path(name.removeprefix(_PEFT_PREFIX)), KeyForm.PEFT)
    if name.startswith(_SHARED_PREFIX):
        return TensorKey("", name.removeprefix(_SHARED_PREFIX), KeyForm.SHARED)
    kohya = _KOHYA.fullmatch(name)
    if kohya is not None:
        return TensorKey(kohya[1], kohya[2], KeyForm.KOHYA)
    return TensorKey(*_split_path(name), KeyForm.BARE)


def group_by_module(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return, for each module, its parts and the full names of their tensors, all sorted.

    Raises:
        InvalidInput: two names mean the same part of the same module.
    """
    modules: dict[str, dict[str, str]] = {}
    for name in sorted(names):
        key = split_tensor_name(name)
        parts = modules.setdefault(key.module, {})
        other = parts.setdefault(key.part, name)
        if other != name:
            raise InvalidInput(
                "invalid-safetensors",
                f"The tensors {other!r:.200} and {name!r:.200} are the same part of one module: "
                "keep one naming convention in a file.",
            )
    return {module: dict(sorted(parts.items())) for module, parts in sorted(modules.items())}


def _split_path(path: str) -> tuple[str, str]:
    components = path.split(".")
    cut = next(
        (index for index, component in enumerate(components) if component.startswith(_PARTS)), None
    )
    if cut is None:
        is_copy = _BASE_LAYER in components
        cut = components.index(_BASE_LAYER) if is_copy else len(components) - 1
    return ".".join(components[:cut]), ".".join(components[cut:])
