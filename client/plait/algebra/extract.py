"""A full fine-tune minus its base, as a LoRA: which of its changes become what.

| tensors of a module | become |
|---|---|
| a matrix `weight` | a LoRA's factors; of an embedding, `lora_embedding_A` and `_B` |
| a convolution, where `convolutions` names it | factors with its kernel in A |
| a `bias` beside either | the bias of `lora_B`: the difference, whole |
| anything else (norms, stacked experts) | whole tensors (`modules_to_save`), or left out |
| ones that did not change | nothing |

A head that shares its weight with the embedding (`tied_heads`) gets the embedding's factors as
well, the other way round: in the file there is one tensor, in the model two modules. PEFT applies
that rightly, but its own merge would add both to the one tensor.

Nothing is dropped in silence: what is left out stands in the report, with its share of the change.
Nothing is computed here, see `plait.algebra.extract_module`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from plait.algebra.adapter_tensors import BaseTensors, TensorKind
from plait.algebra.delta import ModuleKind, Placement
from plait.errors import InvalidInput
from plait.model.base_layout import EMBEDDINGS
from plait.model.module_pattern import matches_module

MOST_SHOWN = 8


class Treatment(StrEnum):
    """What becomes of a module."""

    LORA = "lora"  # factors
    SAVED = "saved"  # whole tensors
    LEFT_OUT = "left-out"  # by wish
    UNCHANGED = "unchanged"  # the tuning did not touch it


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractOptions:
    """How to extract. Names are patterns as in PEFT's `rank_pattern`: a name or the end of one."""

    rank: int | None = None
    """The rank of every module, or less where the matrix has none so high."""
    energy: float | None = None
    """The least rank that keeps this part of a module's change; with `rank`, at most that."""
    dtype: str = "F32"
    """Of the factors: F32, F16 or BF16. Whole tensors keep theirs."""
    embeddings: tuple[str, ...] = EMBEDDINGS
    transposed: tuple[str, ...] = ()
    """Matrices that the model stores as (in, out): GPT-2's Conv1D."""
    convolutions: tuple[str, ...] = ()
    """Modules whose weight of three dimensions or more is a convolution without groups."""
    saved: tuple[str, ...] = ()
    """Modules that are saved whole although they have a matrix."""
    left_out: tuple[str, ...] = ()
    """Modules whose change is given up."""
    is_rest_left_out: bool = False
    """Give up what is no matrix, instead of saving it whole."""
    tied_heads: Mapping[str, str] = field(default_factory=dict)
    """By a head's path, the embedding whose weight it shares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractOutline:
    """A module as the two models have it."""

    module: str
    parts: Mapping[str, TensorKind]
    """Its tensors by the last component of their names, sorted, as the tuned model has them."""
    placement: Placement | None
    """None where no part of it can become factors."""
    treatment: Treatment
    """LORA, SAVED or LEFT_OUT; UNCHANGED is found when it is read."""
    heads: tuple[str, ...] = ()
    """Modules that share its weight."""
    is_container: bool = False
    """There are modules inside it, so that PEFT cannot save it alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """Two models that belong together, and what is to become of their difference."""

    base: BaseTensors
    tuned: BaseTensors
    options: ExtractOptions
    modules: tuple[ExtractOutline, ...]
    """Sorted by module."""


def plan_extraction(
    base: BaseTensors, tuned: BaseTensors, options: ExtractOptions | None = None
) -> Extraction:
    """Return what is to be extracted, once the two models are known to have the same tensors.

    Raises:
        InvalidInput: `base-mismatch`, a tensor is missing or new; `shape-mismatch`, one has another
            shape; `rank-invalid`, a rank or an energy that no module can have; `invalid-input`, a
            tied head or a pattern that fits nothing.
    """
    options = options or ExtractOptions()
    _verify_same_tensors(base, tuned)
    grouped: dict[str, dict[str, TensorKind]] = {}
    for name, kind in sorted(tuned.kinds.items()):
        module, _, part = name.rpartition(".")
        grouped.setdefault(module, {})[part] = kind
    _verify_patterns(options, grouped)
    heads = _find_heads(options, grouped)
    containers = {parent for module in grouped for parent in _parents(module)}
    modules = []
    for module, parts in sorted(grouped.items()):
        placement = _place(module, parts, options)
        modules.append(
            ExtractOutline(
                module=module,
                parts=parts,
                placement=placement,
                treatment=_treat(module, placement, options),
                heads=heads.get(module, ()),
                is_container=module in containers,
            )
        )
    extraction = Extraction(base=base, tuned=tuned, options=options, modules=tuple(modules))
    _verify_size(extraction)
    return extraction


def shape_of(outline: ExtractOutline) -> tuple[int, int]:
    """Return the shape (out, in) of a module's delta in the adapter's orientation."""
    shape = outline.parts["weight"].shape
    rows, columns = shape[0], 1
    for length in shape[1:]:
        columns *= length
    is_transposed = outline.placement is not None and outline.placement.is_transposed
    return (columns, rows) if is_transposed else (rows, columns)


def _place(
    module: str, parts: Mapping[str, TensorKind], options: ExtractOptions
) -> Placement | None:
    """Return how a module's weight is adapted; None where it cannot be."""
    weight = parts.get("weight")
    if weight is None or not module or not parts.keys() <= {"weight", "bias"} or 0 in weight.shape:
        return None
    if len(weight.shape) > 2 and _is_any(options.convolutions, module):
        return Placement(kind=ModuleKind.CONV, kernel=weight.shape[2:])
    if len(weight.shape) != 2:
        return None
    if _is_any(options.embeddings, module):
        return Placement(kind=ModuleKind.EMBEDDING) if "bias" not in parts else None
    return Placement(fan_in_fan_out=_is_any(options.transposed, module))


def _treat(module: str, placement: Placement | None, options: ExtractOptions) -> Treatment:
    if _is_any(options.left_out, module) or (placement is None and options.is_rest_left_out):
        return Treatment.LEFT_OUT
    if placement is None or _is_any(options.saved, module):
        return Treatment.SAVED
    return Treatment.LORA


def _find_heads(options: ExtractOptions, modules: Collection[str]) -> dict[str, tuple[str, ...]]:
    heads: dict[str, tuple[str, ...]] = {}
    for head, embedding in sorted(options.tied_heads.items()):
        if embedding not in modules or not _is_any(options.embeddings, embedding):
            raise InvalidInput(
                "invalid-input",
                f"{embedding}, which {head} is said to share its weight with, is no embedding of "
                "the models: name it as the files do.",
                module=embedding,
            )
        if head in modules:
            raise InvalidInput(
                "invalid-input",
                f"{head} has tensors of its own in the models, so that it is not tied to "
                f"{embedding}: leave it out of the tied heads.",
                module=head,
            )
        heads[embedding] = (*heads.get(embedding, ()), head)
    return heads


def _parents(module: str) -> Iterable[str]:
    """Yield every module that holds this one."""
    while module:
        module = module.rpartition(".")[0]
        yield module


def _is_any(patterns: Iterable[str], module: str) -> bool:
    return any(matches_module(pattern, module) for pattern in patterns)


def _verify_patterns(options: ExtractOptions, modules: Collection[str]) -> None:
    given = {
        "transposed": options.transposed,
        "convolutions": options.convolutions,
        "saved": options.saved,
        "left_out": options.left_out,
    }
    for name, patterns in given.items():
        for pattern in patterns:
            if not any(matches_module(pattern, module) for module in modules):
                raise InvalidInput(
                    "invalid-input",
                    f"The pattern {pattern!r:.200} of {name} fits no module of the models.",
                    pattern=pattern,
                )


def _verify_same_tensors(base: BaseTensors, tuned: BaseTensors) -> None:
    missing = sorted(base.kinds.keys() - tuned.kinds.keys())
    new = sorted(tuned.kinds.keys() - base.kinds.keys())
    if missing or new:
        which = [f"{tuned.label} lacks {_listed(missing)}"] if missing else []
        which += [f"{base.label} lacks {_listed(new)}"] if new else []
        raise InvalidInput(
            "base-mismatch",
            f"The two models do not have the same tensors: {', and '.join(which)}. Is this the "
            "base that was tuned?",
            missing=missing[:MOST_SHOWN],
            new=new[:MOST_SHOWN],
        )
    for name, kind in tuned.kinds.items():
        shape = base.kinds[name].shape
        if shape != kind.shape:
            raise InvalidInput(
                "shape-mismatch",
                f"The tensor {name} is {list(shape)} in {base.label} and {list(kind.shape)} in "
                f"{tuned.label}: a vocabulary that grew, say, has no difference to its base.",
                tensor=name,
            )


def _verify_size(extraction: Extraction) -> None:
    rank, energy = extraction.options.rank, extraction.options.energy
    if rank is None and energy is None:
        raise InvalidInput(
            "rank-invalid", "Say to which size: a rank (--rank N) or an energy (--energy 0.99)."
        )
    if energy is not None and not 0.0 < energy <= 1.0:
        raise InvalidInput(
            "rank-invalid", f"The energy to keep must be over 0 and at most 1, not {energy}."
        )
    matrices = [m for m in extraction.modules if m.treatment is Treatment.LORA]
    if not matrices:
        raise InvalidInput(
            "delta-missing",
            f"{extraction.tuned.label} has no matrix that could become a LoRA: are all of them "
            "left out or saved whole?",
        )
    widest = max(matrices, key=lambda outline: min(shape_of(outline)))
    most = min(shape_of(widest))
    if rank is not None and not 1 <= rank <= most:
        raise InvalidInput(
            "rank-invalid",
            f"The rank must be from 1 to {most}, the most that any matrix has ({widest.module}), "
            f"and not {rank}.",
            rank=rank,
            most=most,
            module=widest.module,
        )


def _listed(names: list[str]) -> str:
    more = len(names) - MOST_SHOWN
    shown = ", ".join(name[:200] for name in names[:MOST_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown
