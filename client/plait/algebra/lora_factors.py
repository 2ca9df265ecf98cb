r"""The two thin factors of a module's delta, D = B A with gamma inside B, and norms by them.

From an adapter's tensors (peft 0.21):

    Linear      lora_A.weight (r, in)          lora_B.weight (out, r)
    Embedding   lora_embedding_A (r, vocab)    lora_embedding_B (dim, r); PEFT adds the transpose
    Conv        lora_A.weight (r, in, k...)    lora_B.weight (out, r, 1...)
    AdaLoRA     lora_A (r, in), lora_B (out, r), lora_E (r, 1):   D = gamma B (A * E)
    KaSA        as Linear, with lora_diag (r):                    D = gamma B diag(d) A

Norms do not ask whether a delta is transposed. What has no such form (grouped convolutions,
block-diagonal and pooled variants, parameters of experts) is named with a reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plait.algebra.arrays import FloatArray
from plait.errors import InvalidInput
from plait.model.adapter import AdapterConfig

Matrix = NDArray[np.float64]

_PAIRS = (
    ("lora_A.weight", "lora_B.weight"),
    ("lora_embedding_A", "lora_embedding_B"),
    ("lora_A", "lora_B"),
)
_DIAGONALS = ("lora_E", "lora_diag")
_OF_ANOTHER_FORM = {
    "use_qalora": "QA-LoRA's factors work on pooled inputs",
    "use_bdlora": "BD-LoRA's factors are block-diagonal",
}


@dataclass(frozen=True, slots=True)
class Factors:
    """A delta B A, never multiplied out."""

    B: Matrix
    """(out, r), with gamma inside."""
    A: Matrix
    """(r, in)"""
    names: frozenset[str]
    """The tensors that it was made of."""

    @property
    def shape(self) -> tuple[int, int]:
        """Of the delta."""
        return self.B.shape[0], self.A.shape[1]


def is_adapted(parts: Iterable[str]) -> bool:
    """Tell whether any part of a module is an adapter's, rather than a whole tensor."""
    return any(
        part not in {"weight", "bias"} and not part.startswith("base_layer.") for part in parts
    )


def find_factors(
    config: AdapterConfig,
    module: str,
    *,
    parts: Mapping[str, str],
    read: Callable[[str], FloatArray],
) -> Factors | str:
    """Return the factors of a module's delta, or the reason why it has none."""
    reason = _reason_against(config, module, parts)
    if reason is not None:
        return reason
    pair = next((pair for pair in _PAIRS if all(part in parts for part in pair)), None)
    if pair is None:
        return "it has no pair of A and B factors"
    names = [parts[part] for part in (*pair, *_DIAGONALS) if part in parts]
    try:
        gamma, rank = config.gamma_of(module), config.rank_of(module)
        A, B, *diagonals = (np.asarray(read(name), np.float64) for name in names)
    except InvalidInput as error:
        return error.message
    if A.ndim < 2 or B.ndim < 2 or A.shape[0] != math.prod(B.shape[1:]):
        return f"its factors of shapes {B.shape} and {A.shape} have no product"
    if A.shape[0] != rank:
        return f"its factors have rank {A.shape[0]}, and the configuration says {rank}"
    if any(diagonal.size != rank for diagonal in diagonals):
        return f"its diagonal does not have {rank} numbers"
    scale = np.ones((rank, 1))
    for diagonal in diagonals:
        scale = scale * diagonal.reshape(rank, 1)
    factors = Factors(
        B=gamma * B.reshape(B.shape[0], rank),  # (out, r)
        A=scale * A.reshape(rank, math.prod(A.shape[1:])),  # (r, in)
        names=frozenset(names),
    )
    if not (np.isfinite(factors.A).all() and np.isfinite(factors.B).all()):
        return "its factors hold a NaN or an infinity, or numbers that are too large"
    return factors


def _reason_against(config: AdapterConfig, module: str, parts: Iterable[str]) -> str | None:
    if not is_adapted(parts):
        return "it is saved whole in one of the versions"
    if config.peft_type not in {"LORA", "ADALORA"}:
        return f"{config.family.name} has no pair of factors whose product is the delta"
    if _is_of_parameters(config, module):
        return "its factors belong to parameters of experts, not to a matrix"
    return next(
        (reason for flag, reason in _OF_ANOTHER_FORM.items() if flag in config.modifiers), None
    )


def norm(factors: Factors) -> float:
    """Return ||B A||_F."""
    return _norm_of_product(factors.B, factors.A)


def inner_product(first: Factors, second: Factors) -> float:
    """Return <B1 A1, B2 A2>_F = sum((B2^T B1) * (A2 A1^T))."""
    return float(np.sum((second.B.T @ first.B) * (second.A @ first.A.T)))  # of (r2, r1)


def norm_of_difference(first: Factors, second: Factors) -> float:
    """Return ||B1 A1 - B2 A2||_F without the cancellation that inner products would bring.

    The difference is a product of stacked factors. Where the ranks agree, the factors are
    subtracted first: (B1 - B2) A1 + B2 (A1 - A2); equal factors then give exactly zero.
    """
    if first.B.shape[1] == second.B.shape[1]:
        return _norm_of_product(
            np.hstack([first.B - second.B, second.B]),  # (out, 2r)
            np.vstack([first.A, first.A - second.A]),  # (2r, in)
        )
    return _norm_of_product(
        np.hstack([first.B, -second.B]),  # (out, r1 + r2)
        np.vstack([first.A, second.A]),  # (r1 + r2, in)
    )


def _norm_of_product(B: Matrix, A: Matrix) -> float:
    # With B = Qb Rb and A^T = Qa Ra, B A = Qb (Rb Ra^T) Qa^T, and rotations keep the norm.
    if 0 in B.shape or 0 in A.shape:
        return 0.0
    return float(np.linalg.norm(_triangular(B) @ _triangular(A.T).T))


def _triangular(matrix: Matrix) -> Matrix:
    return np.asarray(np.linalg.qr(matrix, mode="r"))


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
