"""LN tuning: weights and biases of normalisation layers, trained and saved whole.

"Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM Finetuning",
https://arxiv.org/abs/2312.11420.

    ln_tuning_layers.weight (d,)   ln_tuning_layers.bias (d,), where the layer has one

They stand in for the base's own: there is no delta without the base, and with it the difference
has no factors that a LoRA could hold.
"""

from __future__ import annotations

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import NoDelta
from plait.algebra.families.form import Form, Parts
from plait.model.adapter_families import Effect


def find_delta(_: AdapterTensors, __: str, parts: Parts, ___: Parts) -> NoDelta:
    """Return why tensors other than a layer's weight and bias have no delta."""
    return NoDelta(
        Effect.OPAQUE, f"it has a tensor {min(parts)!r:.80} that is no normalisation layer's"
    )


FORM = Form(
    find_delta=find_delta,
    replaces={"ln_tuning_layers.weight": "weight", "ln_tuning_layers.bias": "bias"},
)
