"""Compositions of small made adapters, and what they come to when everything is multiplied out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plait.algebra.adapter_tensors import AdapterTensors, BaseTensors, TensorKind
from plait.algebra.arrays import decode_for_people
from plait.algebra.compose_module import compose_module
from plait.algebra.composition import Composition, plan_composition
from plait.algebra.outcome import PEFT_PREFIX, ComposedModule, EncodedTensor
from plait.algebra.rounding import encode
from plait.model.adapter import parse_adapter_config
from plait.model.ids import CommitId, hash_bytes
from plait.model.recipe import FORMAT, Recipe
from plait.parallel import map_in_order

Array = NDArray[np.float64]
Factors = tuple[Array, Array]
"""B (out, r) and A (r, in)."""


def adapter(
    label: str, tensors: Mapping[str, ArrayLike], dtype: str = "F32", **config: Any
) -> AdapterTensors:
    """Return an adapter with these tensors, by names below PEFT's prefix, rounded to `dtype`."""
    stored = {
        f"{PEFT_PREFIX}{name}": _store(np.asarray(values, np.float64), dtype)
        for name, values in tensors.items()
    }
    return AdapterTensors(
        label=label,
        config=parse_adapter_config(json.dumps({"peft_type": "LORA", **config}).encode()),
        kinds={name: TensorKind(dtype, shape) for name, (shape, _) in stored.items()},
        read=lambda name: decode_for_people(stored[name][1], dtype, stored[name][0]),
        read_bytes=lambda name: stored[name][1],
    )


def lora(
    label: str, modules: Mapping[str, Factors], dtype: str = "F32", **config: Any
) -> AdapterTensors:
    """Return a LoRA of linear modules; by default alpha is twice the rank of the first."""
    tensors: dict[str, Array] = {}
    for module, (b, a) in modules.items():
        tensors |= {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}
    rank = next(iter(modules.values()))[1].shape[0]
    return adapter(label, tensors, dtype, **{"r": rank, "lora_alpha": 2 * rank, **config})


def factors(seed: int, out: int, rank: int, width: int) -> Factors:
    """Return random factors whose numbers every dtype holds exactly."""
    rng = np.random.default_rng(seed)
    b, a = rng.integers(-64, 65, (out, rank)), rng.integers(-64, 65, (rank, width))
    return b / 64, a / 64


def base_of(weights: Mapping[str, ArrayLike]) -> BaseTensors:
    """Return a base model with these tensors, in float64."""
    arrays = {name: np.asarray(values, np.float64) for name, values in weights.items()}
    kinds = {name: TensorKind("F64", array.shape) for name, array in arrays.items()}
    return BaseTensors(label="the base", kinds=kinds, read=arrays.__getitem__)


def recipe(
    method: str, inputs: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any], **fields: Any
) -> Recipe:
    """Return a pinned recipe; each input gives its weights, the rest is made up."""
    items = [{"adapter": f"team/number{n}", **item} for n, item in enumerate(inputs)]
    document = {"format": FORMAT, "method": method, "inputs": items, **fields}
    parsed = Recipe.from_json({**document, "parameters": dict(parameters)})
    return parsed.pin([CommitId(hash_bytes(b"%d" % n)) for n in range(len(items))])


def plan(
    method: str,
    inputs: Sequence[tuple[AdapterTensors, Any]],
    base: BaseTensors | None = None,
    fields: Mapping[str, Any] | None = None,
    **parameters: Any,
) -> Composition:
    """Return a composition of adapters, each with its weight or with the fields of its input."""
    items = [given if isinstance(given, dict) else {"weight": given} for _, given in inputs]
    wanted = recipe(method, items, parameters, **(fields or {}))
    return plan_composition(wanted, [item for item, _ in inputs], base)


def carry_out(composition: Composition, *, threads: int = 1) -> dict[str, ComposedModule]:
    """Return every module's outcome."""

    def work(outline: Any) -> ComposedModule:
        return compose_module(composition, outline)

    done = map_in_order(work, composition.modules, workers=threads)
    return {module.module: module for module in done}


def values(tensor: EncodedTensor) -> Array:
    """Return a tensor's numbers as they read back."""
    return decode_for_people(tensor.data, tensor.dtype, tensor.shape).astype(np.float64)


def find(module: ComposedModule, part: str) -> EncodedTensor:
    """Return the tensor of a part of a module."""
    (tensor,) = [one for one in module.tensors if one.name.endswith(f"{module.module}.{part}")]
    return tensor


def multiplied_out(module: ComposedModule) -> Array:
    """Return B A as PEFT applies it, (out, in), the factor being 1."""
    embedding = any("lora_embedding_A" in tensor.name for tensor in module.tensors)
    names = ("lora_embedding_{}" if embedding else "lora_{}.weight").format
    b, a = (values(find(module, names(one))) for one in "BA")
    product: Array = b.reshape(b.shape[0], -1) @ a.reshape(a.shape[0], -1)
    return product


def best_approximation(matrix: Array, rank: int) -> Array:
    """Return the nearest matrix of that rank, by LAPACK."""
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    nearest: Array = (u[:, :rank] * s[:rank]) @ v[:rank]
    return nearest


def _store(array: Array, dtype: str) -> tuple[tuple[int, ...], bytes]:
    data = array.tobytes() if dtype == "F64" else encode(array, dtype)
    return array.shape, data
