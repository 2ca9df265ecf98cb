"""Families that change activations in a way that no weight expresses, beside prompts.

XLORA    mixes experts by a classifier that reads the input; https://arxiv.org/abs/2402.07148
POLY     picks skills by the task that comes with the input; https://arxiv.org/abs/2202.13914
LILY     mixes shared factors by a router that reads the input; https://arxiv.org/abs/2407.09946
SHADOW   runs a small network beside the base
"""

from __future__ import annotations

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import NoDelta
from plait.algebra.families.form import Form, Parts
from plait.model.adapter_families import Effect

_WHAT_IT_DOES = {
    "XLORA": "mixes its experts anew for every input",
    "POLY": "picks its skills by the task of the input",
    "LILY": "mixes its factors anew for every input",
    "SHADOW": "runs a network of its own beside the base",
}


def find_delta(adapter: AdapterTensors, _: str, __: Parts, ___: Parts) -> NoDelta:
    """Return why the adapter has no delta."""
    family = adapter.config.family
    what = _WHAT_IT_DOES.get(family.peft_type, "acts on activations")
    return NoDelta(Effect.FORWARD_ONLY, f"{family.name} {what}")


FORM = Form(find_delta=find_delta)
