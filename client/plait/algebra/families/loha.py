"""LoHa: D = gamma (W1a W1b) * (W2a W2b), element by element, gamma = alpha / r.

"FedPara: Low-Rank Hadamard Product", https://arxiv.org/abs/2108.06098; the layout
is LyCORIS's, https://arxiv.org/abs/2309.14859.

    hada_w1_a (out, r)   hada_w1_b (r, in)   hada_w2_a, hada_w2_b the same
    with `use_effective_conv2d`:
    hada_w1_a (r, out)   hada_w1_b (r, in)   hada_t1 (r, r, k, l)   hada_w2_a, ..., hada_t2

D has a rank of up to r^2. Without cores, the factors of a convolution span (in * k * l) columns
and do not tell its kernel.
"""

from __future__ import annotations

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
    first, second = _read_factors(tensors, 1), _read_factors(tensors, 2)
    shape = _shape_of(first)
    if _shape_of(second) != shape or len(first) != len(second):
        raise tensors.error(f"one product is {shape} and the other {_shape_of(second)}")
    gamma = adapter.config.gamma_of(module)

    def compute() -> Matrix:
        delta: Matrix = (_expand(first) * _expand(second)) * gamma
        return delta.reshape(shape)

    return Dense(
        compute=compute,
        shape=shape,
        rank=adapter.config.rank_of(module),
        placement=Placement(ModuleKind.CONV, kernel=first[2].shape[2:])
        if len(first) > 2
        else tensors.placement,
    )


def _read_factors(tensors: ModuleTensors, number: int) -> tuple[Matrix, ...]:
    """Return the factors of one product, and its core where it has one."""
    a = tensors.read(f"hada_w{number}_a", ndim=2)
    b = tensors.read(f"hada_w{number}_b", ndim=2)
    core = f"hada_t{number}"
    t = tensors.read(core, ndim=4) if core in tensors.parts else None
    ranks = (a.shape[1], b.shape[0]) if t is None else (a.shape[0], b.shape[0], *t.shape[:2])
    rank = tensors.adapter.config.rank_of(tensors.module)
    if set(ranks) != {rank}:
        raise tensors.error(
            f"its factors have the ranks {ranks}, and the configuration says {rank}"
        )
    return (a, b) if t is None else (a, b, t)


def _shape_of(factors: tuple[Matrix, ...]) -> tuple[int, int]:
    a, b, *core = factors
    if not core:
        return a.shape[0], b.shape[1]
    return a.shape[1], b.shape[1] * core[0].shape[2] * core[0].shape[3]


def _expand(factors: tuple[Matrix, ...]) -> Matrix:
    a, b, *core = factors
    return expand_core(core[0], a, b) if core else multiply(a, b)


FORM = Form(
    find_delta=find_delta,
    parts=frozenset(
        {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"},
    ),
)
