r"""LoRA and what PEFT builds on it: a low-rank delta, gamma B A.

"LoRA: Low-Rank Adaptation of Large Language Models", https://arxiv.org/abs/2106.09685.
gamma is alpha / r, or alpha / sqrt(r) with rsLoRA, https://arxiv.org/abs/2312.03732, by PEFT's
patterns (`plait.model.adapter_scale`).

    Linear, Conv1D   lora_A.weight (r, in)          lora_B.weight (out, r)
    Embedding        lora_embedding_A (r, vocab)    lora_embedding_B (dim, r)
    Conv             lora_A.weight (r, in, k...)    lora_B.weight (out, r, 1...)
    lora_bias        lora_B.bias (out): gamma b is added to the module's bias

- What starts otherwise and ends as a plain LoRA has nothing special here: EVA, gaussian, orthogonal
  and MiCA initialisations, VeLoRA and MonteCLoRA, which differ in training alone.
- DoRA, PiSSA and KaSA need the base: `dora`, `pissa`, `kasa`.
- What PEFT merges into no weight, or what belongs to a base that cannot be had again, is named with
  its reason; where the factors have a product all the same, it is kept for comparing versions.
"""

from __future__ import annotations

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import Delta, FunctionOfBase, LowRank, Matrix, ModuleKind, NoDelta
from plait.algebra.families import dora, kasa, pissa
from plait.algebra.families.factors import Pair, find_gamma, read_factors
from plait.algebra.families.form import Form, Parts
from plait.algebra.families.reading import read_double, shape_error
from plait.algebra.families.trainable_tokens import PART as TOKENS
from plait.algebra.families.trainable_tokens import REPLACES_ROWS
from plait.model.adapter import AdapterConfig
from plait.model.adapter_families import Effect

BIAS = "lora_B.bias"
_PAIRS = (
    Pair("lora_A.weight", "lora_B.weight", kasa.DIAGONAL),
    Pair("lora_embedding_A", "lora_embedding_B", kind=ModuleKind.EMBEDDING),
)
_OF_TRAINING = frozenset(
    {
        "lora_velora_embed",
        "lora_monteclora_sampler.expert_weights",
        "lora_monteclora_sampler.expert_weights_prior",
        "lora_monteclora_sampler.gaussian_var_prior",
        "lora_monteclora_sampler.std_prior",
    }
)
"""State that only training uses: PEFT's own forward pass in eval mode is plain LoRA."""
_BESIDE = frozenset({BIAS, dora.MAGNITUDE, *_OF_TRAINING})
_WITHOUT_PRODUCT = {
    "use_qalora": "QA-LoRA's factors work on pooled inputs",
    "use_bdlora": "BD-LoRA's factors are block-diagonal",
}
_WITHOUT_DELTA = {
    "alora_invocation_tokens": (
        Effect.FORWARD_ONLY,
        "an activated LoRA (aLoRA) works only on the tokens after its invocation",
    ),
    "arrow_config": (Effect.FORWARD_ONLY, "Arrow routes each token to experts of its own"),
    "layer_replication": (
        Effect.OPAQUE,
        "it belongs to a base whose layers were replicated, and counts them as that one does",
    ),
}


def find_delta(adapter: AdapterTensors, module: str, parts: Parts, _: Parts) -> Delta | None:
    """Return what a LoRA does to a module's weight.

    Raises:
        InvalidInput: as `read_factors` does.
    """
    config = adapter.config
    if TOKENS in parts:
        return NoDelta(Effect.REPLACEMENT, REPLACES_ROWS)
    reason = _find_reason_without_product(config, module)
    if reason is not None:
        return NoDelta(Effect.OPAQUE, reason)
    factors = read_factors(adapter, module, parts, _PAIRS)
    if isinstance(factors, NoDelta):
        return factors
    if config.use_dora and BIAS in parts:
        return NoDelta(Effect.OPAQUE, "it has a bias beside DoRA, which PEFT refuses", factors)
    for flag, (effect, reason) in _WITHOUT_DELTA.items():
        if flag in config.modifiers:
            return NoDelta(effect, reason, factors)
    return _relate_to_base(adapter, module, parts, factors)


def find_bias(adapter: AdapterTensors, module: str, parts: Parts, _: Parts) -> Matrix | None:
    """Return gamma b, (out,), where B has a bias b.

    Raises:
        InvalidInput: `shape-mismatch`, b does not fit B; or as `read_double` does.
    """
    if BIAS not in parts:
        return None
    bias = read_double(adapter, module, parts[BIAS])
    out = adapter.kinds[parts[_PAIRS[0].B]].shape[0]
    if bias.shape != (out,):
        raise shape_error(adapter, module, f"its bias of {bias.shape} has no {out} numbers")
    scaled: Matrix = find_gamma(adapter, module) * bias
    return scaled


def _relate_to_base(
    adapter: AdapterTensors, module: str, parts: Parts, factors: LowRank
) -> LowRank | FunctionOfBase | NoDelta:
    """Return what the factors do to the base as it was before any training."""
    config = adapter.config
    change: LowRank | FunctionOfBase | NoDelta = factors
    if kasa.DIAGONAL in parts:
        change = kasa.find_change(factors)
    elif _changed_base(config, factors.placement.kind):
        change = pissa.find_change(config.base_changing_init or "", factors)
    if config.use_dora and not isinstance(change, NoDelta):
        return dora.find_change(adapter, module, parts, factors, change)
    return change


def _changed_base(config: AdapterConfig, kind: ModuleKind) -> bool:
    """Tell whether the initialisation took something out of the weight of a module of `kind`.

    Only LoftQ's does so beyond linear modules: PEFT starts the others there as plain LoRAs.
    """
    init = config.base_changing_init
    return init is not None and (kind is ModuleKind.LINEAR or init == "loftq")


def _find_reason_without_product(config: AdapterConfig, module: str) -> str | None:
    if _is_of_parameters(config, module):
        return "its factors belong to parameters of experts, not to a matrix"
    return next(
        (reason for flag, reason in _WITHOUT_PRODUCT.items() if flag in config.modifiers), None
    )


def _is_of_parameters(config: AdapterConfig, module: str) -> bool:
    """Tell whether `target_parameters` names a parameter of the module or of what it wraps."""
    targets = config.values.get("target_parameters")
    if not isinstance(targets, list):
        return False
    owner = module
    while owner.endswith(".base_layer"):  # one for each parameter of the same module
        owner = owner.removesuffix(".base_layer")
    owners = {str(target).rpartition(".")[0] for target in targets}
    return any(not end or f".{owner}".endswith(f".{end}") for end in owners)


FORM = Form(
    parts=frozenset(
        {*_BESIDE, TOKENS, kasa.DIAGONAL, *(part for pair in _PAIRS for part in (pair.A, pair.B))}
    ),
    find_delta=find_delta,
    find_bias=find_bias,
    beside=_BESIDE,
)
