"""LoKr: D = gamma (W1 kron W2), gamma = alpha / r.

"Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to Model Evaluation",
https://arxiv.org/abs/2309.14859.

    lokr_w1 (a, c)   or lokr_w1_a (a, r) and lokr_w1_b (r, c)
    lokr_w2 (b, d)   or lokr_w2_a (b, r) and lokr_w2_b (r, d)                  D: (a b, c d)
    of a convolution:
    lokr_w2 (b, d, k, l)   or lokr_w2_a (b, r) and lokr_w2_b (r, d k l)
    or, with `use_effective_conv2d`, lokr_w2_a (r, b), lokr_w2_b (r, d), lokr_t2 (r, r, k, l)

A convolution of one dimension whose lokr_w2 (b, d, k) is whole is an oddity of PEFT's: it takes
the Kronecker product of (1, a, c) and (b, d, k), so (b, a d, c k), and reads that as (out, in, k)
in the order of its elements. Such adapters were trained so, and it is followed here.
"""

from __future__ import annotations

import math

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import Delta, Dense, Matrix, ModuleKind, Placement
from plait.algebra.families.form import Form, Parts
from plait.algebra.families.mode_products import expand_core
from plait.algebra.families.module_tensors import ModuleTensors
from plait.algebra.kernels.products import multiply


def find_delta(adapter: AdapterTensors, module: str, parts: Parts, _: Parts) -> Delta:
    """Return what the module's tensors do to its weight.

    Raises:
        InvalidInput: `shape-mismatch` or `tensor-not-finite`.
    """
    tensors = ModuleTensors(adapter, module, parts)
    w1, w2 = _read_first(tensors), _read_second(tensors)
    gamma = adapter.config.gamma_of(module)
    shape = (w1.shape[0] * w2.shape[0], w1.shape[1] * math.prod(w2.shape[1:]))

    def compute() -> Matrix:
        return (_multiply_out(w1, w2) * gamma).reshape(shape)

    return Dense(
        compute=compute,
        shape=shape,
        rank=adapter.config.rank_of(module),
        placement=Placement(ModuleKind.CONV, kernel=w2.shape[2:])
        if w2.ndim > 2
        else tensors.placement,
    )


def _read_first(tensors: ModuleTensors) -> Matrix:
    if "lokr_w1" in tensors.parts:
        return tensors.read("lokr_w1", ndim=2)
    a, b = tensors.read("lokr_w1_a", ndim=2), tensors.read("lokr_w1_b", ndim=2)
    _verify_ranks(tensors, a.shape[1], b.shape[0])
    return multiply(a, b)


def _read_second(tensors: ModuleTensors) -> Matrix:
    if "lokr_w2" in tensors.parts:
        return tensors.read("lokr_w2", ndim=2, most=4)
    a, b = tensors.read("lokr_w2_a", ndim=2), tensors.read("lokr_w2_b", ndim=2)
    if "lokr_t2" not in tensors.parts:
        _verify_ranks(tensors, a.shape[1], b.shape[0])
        return multiply(a, b)
    core = tensors.read("lokr_t2", ndim=4)
    _verify_ranks(tensors, a.shape[0], b.shape[0], *core.shape[:2])
    return expand_core(core, a, b)


def _verify_ranks(tensors: ModuleTensors, *ranks: int) -> None:
    rank = tensors.adapter.config.rank_of(tensors.module)
    if set(ranks) != {rank}:
        raise tensors.error(
            f"its factors have the ranks {ranks}, and the configuration says {rank}"
        )


def _multiply_out(w1: Matrix, w2: Matrix) -> Matrix:
    """Return the Kronecker product as an array whose elements are in D's order."""
    (a, c), (b, d), kernel = w1.shape, w2.shape[:2], w2.shape[2:]
    if len(kernel) == 1:  # (b, a, d, c, k), see above
        return w1[None, :, None, :, None] * w2[:, None, :, None, :]
    product: Matrix = w1[:, None, :, None, None] * w2.reshape(1, b, 1, d, -1)  # (a, b, c, d, k * l)
    return product.reshape(a * b, c * d, *kernel)


FORM = Form(
    find_delta=find_delta,
    parts=frozenset(
        {
            "lokr_w1",
            "lokr_w1_a",
            "lokr_w1_b",
            "lokr_w2",
            "lokr_w2_a",
            "lokr_w2_b",
            "lokr_t2",
        }
    ),
)
