"""HiRA: W' = W + W * (B A), element by element.

"HiRA: Parameter-Efficient Hadamard High-Rank Adaptation for Large Language Models",
https://openreview.net/forum?id=TwJrTz9cRS.

    hira_A (r, in)   hira_B (out, r);   (r, in, k...) and (out, r, 1...) of a convolution
    hira_embedding_A (r, vocab)   hira_embedding_B (dim, r)   of an embedding, which it transposes
"""

from __future__ import annotations

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import Delta, FunctionOfBase, Matrix, ModuleKind, Placement
from plait.algebra.families.form import Form, Parts
from plait.algebra.families.module_tensors import ModuleTensors, is_embedding
from plait.algebra.kernels.products import multiply

_PARTS = frozenset({"hira_A", "hira_B", "hira_embedding_A", "hira_embedding_B"})


def find_delta(adapter: AdapterTensors, module: str, parts: Parts, _: Parts) -> Delta:
    """Return what the module's tensors do to its weight.

    Raises:
        InvalidInput: `shape-mismatch` or `tensor-not-finite`.
    """
    tensors = ModuleTensors(adapter, module, parts)
    embeds = is_embedding(parts, "hira")
    stem = "hira_embedding" if embeds else "hira"
    first = tensors.read(f"{stem}_A", ndim=2, most=5)
    second = tensors.read(f"{stem}_B", ndim=2, most=5)
    rank, out, kernel = first.shape[0], second.shape[0], first.shape[2:]
    if second.size != out * rank:
        raise tensors.error(f"its factors of {second.shape} and {first.shape} have no product")
    A, B = first.reshape(rank, -1), second.reshape(out, rank)
    shape = (out, A.shape[1])

    def apply(weight: Matrix) -> Matrix:
        flat = weight.reshape(weight.shape[0], -1)
        if flat.shape != shape:
            raise tensors.error(f"it scales a weight of {shape}, and the base's is {weight.shape}")
        changed: Matrix = flat + flat * multiply(B, A)
        return changed.reshape(weight.shape)

    placement = Placement(ModuleKind.CONV, kernel=kernel) if kernel else tensors.placement
    return FunctionOfBase(
        apply=apply,
        shape=shape,
        rank=rank,
        placement=Placement(ModuleKind.EMBEDDING) if embeds else placement,
    )


FORM = Form(find_delta=find_delta, parts=_PARTS)
