"""AdaLoRA: a low-rank delta whose ranks have weights, gamma B diag(E) A.

"Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning", https://arxiv.org/abs/2303.10512.

    lora_A (r, in)    lora_B (out, r)    lora_E (r, 1)        gamma = alpha / (init_r + 1e-5)

- After training, r is what was kept of a module's ranks (`rank_pattern`), and may be zero.
- PEFT divides in float32, so its gamma differs from this one in the eighth digit.
- Its factors for convolutions are flattened, and look like those of a linear module.
"""

from __future__ import annotations

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import LowRank, NoDelta
from plait.algebra.families.factors import Pair, read_factors
from plait.algebra.families.form import Form, Parts

_PAIR = Pair("lora_A", "lora_B", "lora_E")


def find_delta(adapter: AdapterTensors, module: str, parts: Parts, _: Parts) -> LowRank | NoDelta:
    """Return the delta of a module; raises as `read_factors` does."""
    return read_factors(adapter, module, parts, (_PAIR,))


FORM = Form(parts=frozenset({"lora_A", "lora_B", "lora_E"}), find_delta=find_delta)
