"""What a full fine-tune changed in one module, as factors or whole tensors.

    D = W_tuned - W_base      in float64: exact, unless two values of F32 are 2^29 apart in scale,
                              or two of BF16 2^45; rounded once there
    B A ~ D                   the best of its rank, see `plait.algebra.dense_svd`; gamma is 1

The bytes depend on the two models and the options alone. Norms are for people.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from plait.algebra.adapter_tensors import BaseTensors
from plait.algebra.delta import Matrix, Placement
from plait.algebra.dense_svd import recompress_dense
from plait.algebra.extract import Extraction, ExtractOutline, Treatment, shape_of
from plait.algebra.outcome import PEFT_PREFIX, ComposedModule, EncodedTensor, encode_factors
from plait.algebra.rounding import DTYPES, encode
from plait.errors import InvalidInput

BIAS = "lora_B.bias"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractedModule:
    """The outcome for one module, and what it keeps of the change."""

    outline: ExtractOutline
    treatment: Treatment
    outcomes: tuple[ComposedModule, ...]
    """Of the module, then of its tied heads; empty where nothing is written."""
    energy: float
    """The squared norm of the change."""
    kept_energy: float
    """The part of it that the outcome has, before it is rounded to its dtype."""
    rank: int = 0
    is_tied: bool = False
    """The singular values on both sides of the cut are equal: which are kept is arbitrary."""


def extract_module(extraction: Extraction, outline: ExtractOutline) -> ExtractedModule:
    """Return what became of one module; reads its tensors in both models, and no others.

    Raises:
        InvalidInput: `tensor-not-finite`, a value is not finite, or beyond the dtype of the
            factors; `delta-missing`, a change that no LoRA can hold. The message names the tensor.
    """
    changes = {part: _subtract(extraction, outline, part) for part in outline.parts}
    energies = {part: float(np.vdot(change, change)) for part, change in changes.items()}
    energy = math.fsum(energies.values())
    treatment = outline.treatment
    if not any(np.any(change) for change in changes.values()):
        return _without(outline, Treatment.UNCHANGED, 0.0)
    if treatment is Treatment.LEFT_OUT:
        return _without(outline, treatment, energy)
    if treatment is Treatment.SAVED or outline.placement is None:
        return ExtractedModule(
            outline=outline,
            treatment=Treatment.SAVED,
            outcomes=_save(extraction, outline),
            energy=energy,
            kept_energy=energy,
        )
    return _factorise(extraction, outline, outline.placement, changes)


def _without(outline: ExtractOutline, treatment: Treatment, energy: float) -> ExtractedModule:
    return ExtractedModule(
        outline=outline, treatment=treatment, outcomes=(), energy=energy, kept_energy=0.0
    )


def _factorise(
    extraction: Extraction,
    outline: ExtractOutline,
    placement: Placement,
    changes: dict[str, Matrix],
) -> ExtractedModule:
    options, shape = extraction.options, shape_of(outline)
    stored = changes["weight"].reshape(changes["weight"].shape[0], -1)
    delta = np.ascontiguousarray(stored.T if placement.is_transposed else stored)  # (out, in)
    rank = None if options.rank is None else min(options.rank, *shape)
    # Where the bias alone changed: PEFT has none without factors beside it.
    best = recompress_dense(delta, rank=rank, energy=options.energy) if np.any(delta) else None
    B = np.zeros((shape[0], 1)) if best is None else best.B
    A = np.zeros((1, shape[1])) if best is None else best.A
    kept = 0.0 if best is None else best.kept_energy
    tensors = list(encode_factors(outline.module, (B, A), placement, options.dtype))
    bias = changes.get("bias")
    if bias is not None and np.any(bias):
        name = f"{PEFT_PREFIX}{outline.module}.{BIAS}"
        data = encode(bias, options.dtype, name=name)
        tensors.append(EncodedTensor(name, options.dtype, bias.shape, data))
        kept += float(np.vdot(bias, bias))
    outcomes = [_outcome(outline.module, tensors, placement, A.shape[0])]
    for head in outline.heads:
        # The embedding's delta is (B A)^T as the base stores it, and so is the head's.
        factors = np.ascontiguousarray(A.T), np.ascontiguousarray(B.T)
        turned = encode_factors(head, factors, Placement(), options.dtype)
        outcomes.append(_outcome(head, list(turned), Placement(), A.shape[0]))
    return ExtractedModule(
        outline=outline,
        treatment=Treatment.LORA,
        outcomes=tuple(outcomes),
        energy=math.fsum(float(np.vdot(change, change)) for change in changes.values()),
        kept_energy=kept,
        rank=A.shape[0],
        is_tied=best is not None and best.is_tied,
    )


def _outcome(
    module: str, tensors: list[EncodedTensor], placement: Placement, rank: int
) -> ComposedModule:
    ordered = tuple(sorted(tensors, key=lambda tensor: tensor.name))
    return ComposedModule(module=module, tensors=ordered, placement=placement, rank=rank)


def _save(extraction: Extraction, outline: ExtractOutline) -> tuple[ComposedModule, ...]:
    """Return a module's tensors whole, as the tuned model has them, and its tied heads' copies."""
    if outline.is_container or not outline.module:
        raise InvalidInput(
            "delta-missing",
            f"{extraction.tuned.label} changes {', '.join(outline.parts)} of "
            f"{outline.module or 'the model itself'}, which has modules inside, so that PEFT "
            "cannot save it whole: leave it out.",
            module=outline.module,
        )
    tensors = []
    for part, kind in outline.parts.items():
        source = f"{outline.module}.{part}"
        if kind.dtype not in DTYPES:
            raise InvalidInput(
                "delta-missing",
                f"{source} of {extraction.tuned.label} changed and is {kind.dtype}, in which no "
                f"tensor is saved ({', '.join(DTYPES)} are): leave {outline.module} out.",
                tensor=source,
            )
        data = encode(extraction.tuned.read(source), kind.dtype, name=source)
        tensors.append((part, kind, data))
    return tuple(
        ComposedModule(
            module=module,
            tensors=tuple(
                EncodedTensor(f"{PEFT_PREFIX}{module}.{part}", kind.dtype, kind.shape, data)
                for part, kind, data in tensors
            ),
        )
        for module in (outline.module, *outline.heads)
    )


def _subtract(extraction: Extraction, outline: ExtractOutline, part: str) -> Matrix:
    name = f"{outline.module}.{part}".removeprefix(".")
    tuned = _read(extraction.tuned, name)
    tuned -= _read(extraction.base, name)
    return tuned


def _read(model: BaseTensors, name: str) -> Matrix:
    values = np.array(model.read(name), np.float64)
    if not np.isfinite(values).all():
        raise InvalidInput(
            "tensor-not-finite",
            f"The tensor {name!r:.200} of {model.label} holds a NaN or an infinity: did the "
            "training diverge?",
            tensor=name,
        )
    return values
