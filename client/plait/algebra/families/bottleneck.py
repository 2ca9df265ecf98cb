"""Bottleneck adapters of AdapterHub: x + up(f(down(x))), with a non-linear f.

"Parameter-Efficient Transfer Learning for NLP", https://arxiv.org/abs/1902.00751.

    ...adapter_down.0.weight (d / c, d) and bias   ...adapter_up.weight (d, d / c) and bias

What a layer adds depends on its input in a non-linear way, so that no weight expresses it. Keys are
AdapterHub's own, so that modules may be cut at another place than PEFT's.
"""

from __future__ import annotations

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import NoDelta
from plait.algebra.families.form import Form, Parts
from plait.model.adapter_families import Effect


def find_delta(_: AdapterTensors, __: str, ___: Parts, ____: Parts) -> NoDelta:
    """Return why a bottleneck adapter has no delta."""
    return NoDelta(
        Effect.FORWARD_ONLY, "a bottleneck adapter adds a layer with a non-linear function"
    )


FORM = Form(find_delta=find_delta)
