"""Layouts, the components of a pipeline, and the parts of an adapted module."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Layout(StrEnum):
    """Whose names a file has."""

    PEFT = "peft"  # below `base_model.model.`
    KOHYA = "kohya"  # sd-scripts; most interfaces for Stable Diffusion read it
    DIFFUSERS = "diffusers"  # `unet.` and the like, then as PEFT
    DIFFUSERS_LAYERS = "diffusers-layers"  # `.lora.down.weight`, `.lora_linear_layer.down.weight`
    DIFFUSERS_PROCESSORS = "diffusers-processors"  # `.processor.to_q_lora.down.weight`

    @property
    def is_diffusers(self) -> bool:
        """Whether it is one of diffusers' three."""
        return self not in {Layout.PEFT, Layout.KOHYA}


class Component(StrEnum):
    """A model of a pipeline, by the name that diffusers gives it."""

    UNET = "unet"
    TRANSFORMER = "transformer"
    TEXT_ENCODER = "text_encoder"
    TEXT_ENCODER_2 = "text_encoder_2"
    TEXT_ENCODER_3 = "text_encoder_3"

    @property
    def is_text_encoder(self) -> bool:
        """Whether it reads text."""
        return self.value.startswith(Component.TEXT_ENCODER.value)


class Architecture(StrEnum):
    """A pipeline whose modules kohya's tools name in their own way."""

    SD = "sd"  # SD 1 and 2: diffusers' names, flattened
    SDXL = "sdxl"  # the names of its first publication, flattened
    FLUX = "flux"  # the same; q, k, v (and the MLP) are one matrix
    SD3 = "sd3"  # the same


class Part(StrEnum):
    """What a tensor is to its module."""

    A = "A"  # (r, in)
    B = "B"  # (out, r)
    ALPHA = "alpha"  # a number
    BIAS = "bias"  # (out,), of lora_B
    MAGNITUDE = "magnitude"  # (out,), DoRA's


class Arrangement(StrEnum):
    """How the rows of one matrix in kohya's file are those of diffusers' modules."""

    PLAIN = "plain"  # the same matrix
    STACKED = "stacked"  # q, k, v of `in` rows each, below one another
    STACKED_WITH_MLP = "stacked-with-mlp"  # the same, and the MLP's rows below
    SWAPPED = "swapped"  # two halves, shift and scale, in the other order
    MODULATION = (
        "modulation"  # swapped if there are two times `in` rows (the last block's), or plain
    )


@dataclass(frozen=True, slots=True)
class LoraKey:
    """A tensor's name, taken apart."""

    component: Component | None
    """None where the name does not say it."""
    module: str
    """As the layout writes it: a path, or kohya's flat name."""
    part: Part
