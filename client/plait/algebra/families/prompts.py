"""Prompts: trained vectors that stand beside the input's, and change no weight.

PROMPT_TUNING             prompt_embeddings (n, d), put before the embedded input;
                          https://arxiv.org/abs/2104.08691
P_TUNING                  the same: PEFT saves what the encoder made, not the encoder;
                          https://arxiv.org/abs/2103.10385
MULTITASK_PROMPT_TUNING   prompt_embeddings, prefix_task_cols (T, n, r), prefix_task_rows
                          (T, r, d); https://arxiv.org/abs/2303.02861
CPT                       prompt_embeddings with a bound around those of real tokens;
                          https://arxiv.org/abs/2410.17222
PREFIX_TUNING, CARTRIDGE  prompt_embeddings (n, 2 * layers * d), keys and values that each
                          layer's attention sees first; https://arxiv.org/abs/2101.00190
ADAPTION_PROMPT           prompts with a gate in the upper layers' attention;
                          https://arxiv.org/abs/2303.16199
"""

from __future__ import annotations

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import NoDelta
from plait.algebra.families.form import Form, Parts
from plait.model.adapter_families import Effect

_KEYS = "puts trained keys and values before those of every layer's attention"
_WHAT_IT_DOES = {
    "PREFIX_TUNING": _KEYS,
    "CARTRIDGE": _KEYS,
    "ADAPTION_PROMPT": "lets the upper layers' attention see trained prompts, through a gate",
}
_TOKENS = "puts virtual tokens before the input"


def find_delta(adapter: AdapterTensors, _: str, __: Parts, ___: Parts) -> NoDelta:
    """Return why a prompt has no delta."""
    family = adapter.config.family
    what = _WHAT_IT_DOES.get(family.peft_type, _TOKENS)
    return NoDelta(Effect.FORWARD_ONLY, f"{family.name} {what}")


FORM = Form(find_delta=find_delta)
