"""The families of adapters that plait knows by name, and what each does to its base model.

One row for each PEFT type (peft 0.21), plus BONE, which PEFT has since renamed to MISS, and the
bottleneck adapters of AdapterHub. An unknown type is no error: it is stored and versioned like
any other, but plait does not claim to know its effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Effect(StrEnum):
    """What an adapter does to the weights of its base, which decides how it can be composed."""

    LOW_RANK_DELTA = "low-rank-delta"  # adds a product of two thin factors to a weight
    DENSE_DELTA = "dense-delta"  # adds something that does not depend on the base weight
    FUNCTION_OF_BASE = "function-of-base"  # scales, rotates or decomposes the base weight
    REPLACEMENT = "replacement"  # stands in for weights of the base
    FORWARD_ONLY = "forward-only"  # acts on activations or prompts: no weight expresses it
    OPAQUE = "opaque"  # not known


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of adapter."""

    peft_type: str
    """As `adapter_config.json` writes it."""
    name: str
    """As people write it."""
    effect: Effect
    """Of the family's ordinary form: options such as DoRA can change it."""


BOTTLENECK = "BOTTLENECK"
"""plait's own word: the configs of AdapterHub name no type."""

_LOW_RANK = (
    ("LORA", "LoRA"),
    ("ADALORA", "AdaLoRA"),
    ("VERA", "VeRA"),
    ("PVERA", "PVeRA"),
    ("VBLORA", "VB-LoRA"),
    ("UNILORA", "Uni-LoRA"),
    ("TINYLORA", "TinyLoRA"),
    ("DELORA", "DeLoRA"),
    ("MISS", "MiSS"),
    ("BONE", "Bone"),
)
_DENSE = (
    ("LOHA", "LoHa"),
    ("LOKR", "LoKr"),
    ("RANDLORA", "RandLoRA"),
    ("C3A", "C3A"),
    ("FOURIERFT", "FourierFT"),
    ("WAVEFT", "WaveFT"),
    ("SHIRA", "SHiRA"),
    ("GRALORA", "GraLoRA"),
    ("ADAMSS", "AdaMSS"),
    ("SUPERTUNING", "Supertuning"),
    ("BEFT", "BEFT"),  # a delta of biases
)
_FUNCTION_OF_BASE = (
    ("IA3", "IA3"),
    ("OFT", "OFT"),
    ("BOFT", "BOFT"),
    ("HRA", "HRA"),
    ("HIRA", "HiRA"),
    ("ROAD", "RoAd"),
    ("OSF", "OSF"),
    ("GLORA", "GLoRA"),
    ("PSOFT", "PSOFT"),
    ("DEFT", "DEFT"),
    ("FROD", "FRoD"),
    ("PEANUT", "PEANuT"),  # a small network of the weight
)
_REPLACEMENT = (
    ("LN_TUNING", "LayerNorm tuning"),
    ("TRAINABLE_TOKENS", "trainable tokens"),  # rows, despite a name that ends in `_delta`
)
_FORWARD_ONLY = (
    ("PROMPT_TUNING", "prompt tuning"),
    ("MULTITASK_PROMPT_TUNING", "multitask prompt tuning"),
    ("P_TUNING", "P-tuning"),
    ("PREFIX_TUNING", "prefix tuning"),
    ("CPT", "CPT"),
    ("CARTRIDGE", "cartridge"),
    ("ADAPTION_PROMPT", "adaption prompt"),
    ("XLORA", "X-LoRA"),
    ("POLY", "Poly"),
    ("LILY", "Lily"),
    ("SHADOW", "Shadow"),
    (BOTTLENECK, "bottleneck adapter"),
)

FAMILIES: dict[str, Family] = {
    peft_type: Family(peft_type, name, effect)
    for effect, rows in (
        (Effect.LOW_RANK_DELTA, _LOW_RANK),
        (Effect.DENSE_DELTA, _DENSE),
        (Effect.FUNCTION_OF_BASE, _FUNCTION_OF_BASE),
        (Effect.REPLACEMENT, _REPLACEMENT),
        (Effect.FORWARD_ONLY, _FORWARD_ONLY),
    )
    for peft_type, name in rows
}
