"""Compositions by real PEFT: `add_weighted_adapter` on models whose factors a test chose or loaded.

Factors come as plait knows them, (out, r) and (r, in), with the gamma that PEFT itself uses.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.algebra.delta import LowRank, ModuleKind, Placement

SIZES = {"linear": (16, 24), "embed": (16, 30), "conv": (16, 36)}
"""(out, in) of the small model's modules."""


def small_model(adapters: Mapping[str, dict[str, Any]]) -> Any:
    """Return a model with a linear module, an embedding and a convolution, and random adapters."""
    import torch
    from peft import LoraConfig, get_peft_model
    from torch import nn

    torch.manual_seed(7)
    base = nn.ModuleDict(
        {"linear": nn.Linear(24, 16), "embed": nn.Embedding(30, 16), "conv": nn.Conv2d(4, 16, 3)}
    )
    defaults: dict[str, Any] = {"r": 4, "lora_alpha": 6, "target_modules": list(SIZES)}
    configs = {name: LoraConfig(**{**defaults, **given}) for name, given in adapters.items()}
    first, *others = configs
    model = get_peft_model(base, configs[first], adapter_name=first)
    for name in others:
        model.add_adapter(name, configs[name])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_()
    return model


def trained_model(base: Path, adapters: Mapping[str, Path]) -> Any:
    """Return a saved model in float32 with saved adapters, by the names given to them."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    first, *others = adapters
    model = PeftModel.from_pretrained(model, str(adapters[first]), adapter_name=first)
    for name in others:
        model.load_adapter(str(adapters[name]), adapter_name=name)
    return model.float()


def adapted_modules(model: Any) -> dict[str, Any]:
    """Return PEFT's layers by module."""
    return {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if hasattr(module, "get_delta_weight")
    }


def factors_of(layer: Any, adapter: str) -> LowRank:
    """Return an adapter's factors of one module; of rank 0 where it does not adapt it."""
    kind = ModuleKind.LINEAR
    if adapter in layer.lora_embedding_A:
        down, up = layer.lora_embedding_A[adapter], layer.lora_embedding_B[adapter]
        kind = ModuleKind.EMBEDDING
    elif adapter in layer.lora_A:
        down, up = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    else:
        down, up = _no_factors(layer)
    return LowRank(
        B=up.detach().flatten(1).numpy(),
        A=down.detach().flatten(1).numpy(),
        gamma=float(layer.scaling.get(adapter, 1.0)),
        placement=Placement(kind),
    )


def delta_of(layer: Any, adapter: str) -> NDArray[np.float64]:
    """Return the delta that PEFT applies (out, in): with the scaling that it computed."""
    factors = factors_of(layer, adapter)
    return factors.gamma * (factors.B.astype(np.float64) @ factors.A.astype(np.float64))


def add_weighted(model: Any, kind: str, weights: Mapping[str, float], **options: Any) -> str:
    """Let PEFT compose the adapters by the names in `weights`; return the outcome's name."""
    model.add_weighted_adapter(
        list(weights), list(weights.values()), "outcome", combination_type=kind, **options
    )
    return "outcome"


def chosen_masks(
    uniforms: Callable[[int, int, int], NDArray[np.float64]], streams: Sequence[int]
) -> Callable[..., Any]:
    """Return what stands in for `torch.bernoulli`: its next call draws from the next stream."""
    import torch

    left = iter(streams)

    def bernoulli(probabilities: Any) -> Any:
        numbers = uniforms(next(left), 0, probabilities.numel())
        kept = numbers < probabilities.double().numpy().reshape(-1)
        return torch.from_numpy(kept).reshape(probabilities.shape).to(probabilities.dtype)

    return bernoulli


def _no_factors(layer: Any) -> tuple[Any, Any]:
    import torch

    weight = layer.get_base_layer().weight.flatten(1)
    rows, columns = weight.shape
    if layer.lora_embedding_A or type(layer).__name__ == "Embedding":
        rows, columns = columns, rows
    return torch.zeros(0, columns), torch.zeros(rows, 0)
