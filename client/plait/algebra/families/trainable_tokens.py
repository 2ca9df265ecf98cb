"""Trainable tokens: rows of the embedding, whole.

    trainable_tokens_delta (tokens, dim), below `token_adapter.` beside a LoRA

PEFT copies the rows over the embedding's at the indices that the configuration lists, whatever the
name says of a delta (peft/tuners/trainable_tokens/layer.py).
"""

from __future__ import annotations

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import NoDelta
from plait.algebra.families.form import Form, Parts
from plait.model.adapter_families import Effect

PART = "token_adapter.trainable_tokens_delta"
"""As LoRA adapters save it (`trainable_token_indices`)."""
REPLACES_ROWS = "its trainable tokens stand in for rows of the embedding, and add nothing to them"


def find_delta(_: AdapterTensors, __: str, ___: Parts, ____: Parts) -> NoDelta:
    """Return why there is no delta."""
    return NoDelta(Effect.REPLACEMENT, REPLACES_ROWS)


FORM = Form(parts=frozenset({"trainable_tokens_delta"}), find_delta=find_delta)
