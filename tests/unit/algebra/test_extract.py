"""A full fine-tune minus its base, on made-up models of a few tensors."""

import json
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from plait.algebra.adapter_tensors import BaseTensors, TensorKind
from plait.algebra.arrays import decode
from plait.algebra.extract import Extraction, ExtractOptions, Treatment, plan_extraction
from plait.algebra.extract_module import ExtractedModule, extract_module
from plait.algebra.extraction_report import ExtractedAdapter, assemble
from plait.algebra.families import read_changes
from plait.errors import InvalidInput
from plait.model.lora_config import write_lora_config
from reference.adapters import adapter_of

Array: TypeAlias = NDArray[np.floating]
Shapes: TypeAlias = dict[str, tuple[int, ...]]
PREFIX = "base_model.model."
SHAPES: Shapes = {
    "model.embed_tokens.weight": (20, 6),
    "model.layers.0.proj.weight": (8, 6),
    "model.layers.0.proj.bias": (8,),
    "model.layers.1.proj.weight": (8, 6),
    "model.layers.1.proj.bias": (8,),
    "model.layers.0.conv.weight": (5, 4, 3),
    "model.layers.0.norm.weight": (6,),
    "model.norm.weight": (6,),
}


def model(
    label: str, tensors: dict[str, Array], dtypes: dict[str, str] | None = None
) -> BaseTensors:
    kinds = {
        name: TensorKind((dtypes or {}).get(name, "F32"), values.shape)
        for name, values in tensors.items()
    }
    return BaseTensors(label=label, kinds=kinds, read=lambda name: tensors[name].copy())


def random_tensors(seed: int, shapes: Shapes | None = None) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    return {
        name: random.standard_normal(shape).astype(np.float32)
        for name, shape in (shapes or SHAPES).items()
    }


BASE = random_tensors(0)


def tuned_in(*names: str) -> dict[str, Array]:
    changes = random_tensors(1)
    return {
        name: values + changes[name] if name in names else values for name, values in BASE.items()
    }


def plan(tuned: dict[str, Array], **options: Any) -> Extraction:
    options = {"rank": 6, **options}
    return plan_extraction(model("base", BASE), model("tuned", tuned), ExtractOptions(**options))


def extract(extraction: Extraction) -> dict[str, ExtractedModule]:
    return {m.module: extract_module(extraction, m) for m in extraction.modules}


def adapter(extraction: Extraction) -> ExtractedAdapter:
    return assemble(extraction, list(extract(extraction).values()))


def tensors_of(outcome: ExtractedAdapter) -> dict[str, NDArray[np.float64]]:
    return {
        tensor.name: decode(tensor.data, tensor.dtype, tensor.shape, precision=np.float64)
        for module in outcome.outcomes
        for tensor in module.tensors
    }


def test_matrix_at_full_rank_gives_back_the_tuned_weight() -> None:
    name = "model.layers.0.proj.weight"
    tuned = tuned_in(name)
    outcome = adapter(plan(tuned))
    tensors = tensors_of(outcome)
    stem = f"{PREFIX}model.layers.0.proj"
    assert set(tensors) == {f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"}
    delta = tensors[f"{stem}.lora_B.weight"] @ tensors[f"{stem}.lora_A.weight"]
    assert np.allclose(BASE[name] + delta, tuned[name], atol=1e-5)
    assert outcome.kept == pytest.approx(1.0)
    assert outcome.description.ranks == {"model.layers.0.proj": 6}


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_cut_matrix_is_the_best_of_its_rank(rank: int) -> None:
    name = "model.layers.0.proj.weight"
    tuned = tuned_in(name)
    extraction = plan(tuned, rank=rank)
    found = extract(extraction)["model.layers.0.proj"]
    change = tuned[name].astype(np.float64) - BASE[name]
    squares = np.linalg.svd(change, compute_uv=False) ** 2
    assert found.rank == rank
    assert found.energy == pytest.approx(np.sum(squares))
    assert found.kept_energy == pytest.approx(np.sum(squares[:rank]))
    tensors = list(tensors_of(assemble(extraction, [found])).values())
    error = np.sum((tensors[1] @ tensors[0] - change) ** 2)
    assert error == pytest.approx(np.sum(squares[rank:]), abs=1e-9)


def test_energy_chooses_each_modules_own_rank() -> None:
    names = ("model.layers.0.proj.weight", "model.layers.1.proj.weight")
    tuned = tuned_in(*names)
    tuned[names[1]] = BASE[names[1]] + np.outer(np.arange(8), np.ones(6)).astype(np.float32)
    outcome = adapter(plan(tuned, rank=None, energy=0.9))
    assert outcome.description.ranks["model.layers.1.proj"] == 1
    assert outcome.description.ranks["model.layers.0.proj"] > 1
    assert outcome.kept >= 0.9


def test_rank_above_a_matrix_is_cut_to_the_matrix() -> None:
    shapes: Shapes = {"a.weight": (2, 9), "b.weight": (9, 9)}
    base, tuned = random_tensors(0, shapes), random_tensors(1, shapes)
    extraction = plan_extraction(model("base", base), model("tuned", tuned), ExtractOptions(rank=5))
    outcome = adapter(extraction)
    assert outcome.description.ranks == {"a": 2, "b": 5}
    config = json.loads(write_lora_config(outcome.description))
    assert {config["r"], *config["rank_pattern"].values()} == {2, 5}


def test_embedding_becomes_the_factors_of_an_embedding() -> None:
    name = "model.embed_tokens.weight"
    tuned = tuned_in(name)
    tensors = tensors_of(adapter(plan(tuned)))
    stem = f"{PREFIX}model.embed_tokens"
    assert {n: t.shape for n, t in tensors.items()} == {
        f"{stem}.lora_embedding_A": (6, 20),
        f"{stem}.lora_embedding_B": (6, 6),
    }
    delta = (tensors[f"{stem}.lora_embedding_B"] @ tensors[f"{stem}.lora_embedding_A"]).T
    assert np.allclose(BASE[name] + delta, tuned[name], atol=1e-5)


def test_tied_head_gets_the_same_change_the_other_way_round() -> None:
    name = "model.embed_tokens.weight"
    tuned = tuned_in(name)
    outcome = adapter(plan(tuned, rank=2, tied_heads={"lm_head": "model.embed_tokens"}))
    tensors = tensors_of(outcome)
    head = tensors[f"{PREFIX}lm_head.lora_B.weight"] @ tensors[f"{PREFIX}lm_head.lora_A.weight"]
    stem = f"{PREFIX}model.embed_tokens.lora_embedding"
    embedding = tensors[f"{stem}_B"] @ tensors[f"{stem}_A"]
    assert np.allclose(head, embedding.T, rtol=0, atol=1e-12)
    assert outcome.description.target_modules == ("embed_tokens", "lm_head")
    change = tuned[name].astype(np.float64) - BASE[name]
    assert outcome.energy == pytest.approx(np.sum(change**2))  # counted once


def test_embedding_saved_whole_is_saved_for_its_head_as_well() -> None:
    names = ("model.embed_tokens.weight", "model.layers.0.proj.weight")
    options = {"saved": ("embed_tokens",), "tied_heads": {"lm_head": "model.embed_tokens"}}
    outcome = adapter(plan(tuned_in(*names), **options))
    tensors = tensors_of(outcome)
    assert outcome.description.modules_to_save == ("embed_tokens", "lm_head")
    assert np.array_equal(
        tensors[f"{PREFIX}lm_head.weight"], tensors[f"{PREFIX}model.embed_tokens.weight"]
    )


def test_transposed_matrix_is_adapted_in_the_adapters_orientation() -> None:
    name = "model.layers.0.proj.weight"
    tuned = tuned_in(name)
    extraction = plan_extraction(
        model("base", {name: BASE[name]}),
        model("tuned", {name: tuned[name]}),
        ExtractOptions(rank=6, transposed=("proj",)),
    )
    outcome = adapter(extraction)
    tensors = tensors_of(outcome)
    stem = f"{PREFIX}model.layers.0.proj"
    assert tensors[f"{stem}.lora_A.weight"].shape == (6, 8)
    delta = (tensors[f"{stem}.lora_B.weight"] @ tensors[f"{stem}.lora_A.weight"]).T
    assert np.allclose(BASE[name] + delta, tuned[name], atol=1e-5)
    assert outcome.description.fan_in_fan_out


def test_convolution_that_is_named_keeps_its_kernel_in_a() -> None:
    name = "model.layers.0.conv.weight"
    tuned = tuned_in(name)
    tensors = tensors_of(adapter(plan(tuned, rank=5, convolutions=("conv",))))
    stem = f"{PREFIX}model.layers.0.conv"
    A, B = tensors[f"{stem}.lora_A.weight"], tensors[f"{stem}.lora_B.weight"]  # noqa: N806
    assert (A.shape, B.shape) == ((5, 4, 3), (5, 5, 1))
    delta = np.einsum("orx,rik->oik", B, A)
    assert np.allclose(BASE[name] + delta, tuned[name], atol=1e-5)


def test_bias_beside_a_matrix_becomes_its_difference_and_others_zero() -> None:
    names = ("model.layers.0.proj.bias", "model.layers.1.proj.weight")
    tuned = tuned_in(*names)
    outcome = adapter(plan(tuned))
    tensors = tensors_of(outcome)
    bias = tensors[f"{PREFIX}model.layers.0.proj.lora_B.bias"]
    change = tuned[names[0]].astype(np.float64) - BASE[names[0]]
    assert np.array_equal(bias, change.astype(np.float32))
    # PEFT has no bias without factors, nor one module with and another without.
    assert not np.any(tensors[f"{PREFIX}model.layers.0.proj.lora_B.weight"])
    assert not np.any(tensors[f"{PREFIX}model.layers.1.proj.lora_B.bias"])
    assert outcome.description.has_bias
    assert outcome.kept == pytest.approx(1.0)


def test_biases_beside_an_adapted_embedding_are_refused() -> None:
    names = ("model.layers.0.proj.bias", "model.embed_tokens.weight")
    with pytest.raises(InvalidInput, match=r"embedding model\.embed_tokens"):
        adapter(plan(tuned_in(*names)))
    outcome = adapter(plan(tuned_in(*names), saved=("embed_tokens",)))
    assert outcome.description.modules_to_save == ("embed_tokens",)


def test_norms_are_saved_whole_in_their_own_dtype() -> None:
    names = ("model.norm.weight", "model.layers.0.proj.weight")
    tuned = tuned_in(*names)
    tuned[names[0]] = np.round(tuned[names[0]] * 4) / 4  # exact in BF16
    extraction = plan_extraction(
        model("base", BASE),
        model("tuned", tuned, {names[0]: "BF16"}),
        ExtractOptions(rank=2, dtype="F16"),
    )
    outcome = adapter(extraction)
    dtypes = {t.name: t.dtype for module in outcome.outcomes for t in module.tensors}
    assert dtypes[f"{PREFIX}model.norm.weight"] == "BF16"
    assert dtypes[f"{PREFIX}model.layers.0.proj.lora_A.weight"] == "F16"
    assert np.array_equal(tensors_of(outcome)[f"{PREFIX}model.norm.weight"], tuned[names[0]])
    # `norm` alone would also mean model.layers.0.norm, which did not change.
    assert outcome.description.modules_to_save == ("model.norm",)


def test_everything_that_is_left_out_is_in_the_report() -> None:
    tuned = tuned_in(*SHAPES)
    extraction = plan(tuned, is_rest_left_out=True, left_out=("embed_tokens", "layers.1.proj"))
    outcome = adapter(extraction)
    modules = {m["module"]: m for m in outcome.to_json()["modules"]}
    assert {name for name, m in modules.items() if m["treatment"] == "left-out"} == {
        "model.embed_tokens",
        "model.layers.0.conv",
        "model.layers.0.norm",
        "model.layers.1.proj",
        "model.norm",
    }
    assert all(modules[name]["kept"] == 0 for name in modules if name != "model.layers.0.proj")
    parts = outcome.to_json()["parts"]
    assert parts["left-out"] == pytest.approx(
        sum(m.energy for m in outcome.modules if m.treatment is Treatment.LEFT_OUT) / outcome.energy
    )
    assert sum(parts.values()) == pytest.approx(1.0)
    assert outcome.kept == pytest.approx(parts["lora"])


def test_unchanged_modules_are_skipped() -> None:
    found = extract(plan(tuned_in("model.layers.0.proj.weight")))
    assert {name for name, m in found.items() if m.treatment is Treatment.UNCHANGED} == (
        found.keys() - {"model.layers.0.proj"}
    )
    assert found["model.norm"].outcomes == ()


def test_targets_are_short_names_where_all_modules_of_the_name_are_adapted() -> None:
    both = ("model.layers.0.proj.weight", "model.layers.1.proj.weight")
    assert adapter(plan(tuned_in(*both))).description.target_modules == ("proj",)
    one = adapter(plan(tuned_in(both[0])))
    assert one.description.target_modules == ("model.layers.0.proj",)


def test_extracted_adapter_is_read_as_the_lora_that_it_is() -> None:
    tuned = tuned_in("model.embed_tokens.weight", "model.layers.0.proj.weight", "model.norm.weight")
    outcome = adapter(plan(tuned, rank=4))
    config = json.loads(write_lora_config(outcome.description))
    tensors = {name: values.astype(np.float32) for name, values in tensors_of(outcome).items()}
    changes = read_changes(adapter_of(dict(tensors), **config))
    assert set(changes) == {"model.embed_tokens", "model.layers.0.proj", "model.norm"}
    assert changes["model.norm"].replacements == {"weight": f"{PREFIX}model.norm.weight"}
    assert all(changes[m].delta is not None for m in ("model.embed_tokens", "model.layers.0.proj"))


def test_same_models_have_no_change_to_extract() -> None:
    with pytest.raises(InvalidInput, match="there is no change") as caught:
        adapter(plan(dict(BASE)))
    assert caught.value.kind == "delta-zero"


def test_change_without_a_matrix_is_nothing_for_a_lora() -> None:
    with pytest.raises(InvalidInput, match="changed no matrix") as caught:
        adapter(plan(tuned_in("model.norm.weight")))
    assert caught.value.kind == "delta-missing"


def test_missing_and_new_tensors_are_named() -> None:
    tuned = dict(BASE)
    del tuned["model.norm.weight"]
    tuned["model.extra.weight"] = np.zeros((2, 2), np.float32)
    with pytest.raises(
        InvalidInput, match=r"tuned lacks model\.norm\.weight, and base lacks model\.extra\.weight"
    ) as caught:
        plan(tuned)
    assert caught.value.kind == "base-mismatch"


def test_many_missing_tensors_are_counted() -> None:
    with pytest.raises(InvalidInput, match=r"and 12 more"):
        plan({**BASE, **random_tensors(0, {f"extra.{i}.weight": (1,) for i in range(20)})})


def test_reshaped_tensor_is_named_with_both_shapes() -> None:
    tuned = {**BASE, "model.embed_tokens.weight": np.zeros((22, 6), np.float32)}
    with pytest.raises(InvalidInput, match=r"\[20, 6\] in base and \[22, 6\] in tuned") as caught:
        plan(tuned)
    assert caught.value.kind == "shape-mismatch"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": None}, "Say to which size"),
        ({"rank": 0}, "from 1 to 6"),
        ({"rank": 7}, "from 1 to 6"),
        ({"energy": 0.0}, "over 0 and at most 1"),
        ({"energy": 1.5}, "over 0 and at most 1"),
        ({"energy": float("nan")}, "over 0 and at most 1"),
        ({"left_out": ("q_proj",)}, "'q_proj' of left_out fits no module"),
        ({"tied_heads": {"lm_head": "model.wte"}}, "no embedding of the models"),
        ({"tied_heads": {"model.norm": "model.embed_tokens"}}, "has tensors of its own"),
        ({"saved": ("proj", "embed_tokens")}, "no matrix that could become a LoRA"),
    ],
)
def test_options_that_fit_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        plan(tuned_in("model.norm.weight"), **options)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_value_that_is_not_finite_is_refused_by_name(value: float) -> None:
    tuned = tuned_in("model.layers.0.proj.weight")
    tuned["model.layers.0.proj.weight"][0, 0] = value
    with pytest.raises(InvalidInput, match=r"'model\.layers\.0\.proj\.weight' of tuned") as caught:
        adapter(plan(tuned))
    assert caught.value.kind == "tensor-not-finite"


def test_parameter_of_a_module_with_modules_inside_cannot_be_saved() -> None:
    shapes: Shapes = {"layers.0.scale": (4,), "layers.0.proj.weight": (4, 4), "top": (3,)}
    base = random_tensors(0, shapes)
    for changed, place in (("layers.0.scale", r"layers\.0,"), ("top", "the model itself")):
        tuned = {**base, changed: base[changed] + 1}
        extraction = plan_extraction(
            model("base", base), model("tuned", tuned), ExtractOptions(rank=1)
        )
        with pytest.raises(InvalidInput, match=place):
            adapter(extraction)


def test_tensor_of_a_dtype_that_is_not_written_is_refused_once_it_changed() -> None:
    shapes: Shapes = {"proj.weight": (4, 4), "norm.weight": (4,)}
    base, tuned = random_tensors(0, shapes), random_tensors(1, shapes)
    options = ExtractOptions(rank=1)
    dtypes = {"norm.weight": "F64"}
    extraction = plan_extraction(model("base", base), model("tuned", tuned, dtypes), options)
    with pytest.raises(InvalidInput, match=r"norm\.weight of tuned changed and is F64"):
        adapter(extraction)
    tuned["norm.weight"] = base["norm.weight"]
    extraction = plan_extraction(model("base", base), model("tuned", tuned, dtypes), options)
    assert adapter(extraction).description.ranks == {"proj": 1}


def test_factors_beyond_the_dtype_are_refused() -> None:
    name = "model.layers.0.proj.weight"
    tuned = {**BASE, name: BASE[name] + np.float32(1e20)}
    with pytest.raises(InvalidInput) as caught:
        adapter(plan(tuned, dtype="F16"))
    assert caught.value.kind == "tensor-not-finite"


def test_order_of_the_modules_changes_no_bytes() -> None:
    tuned = tuned_in(*SHAPES)
    once = plan(tuned, rank=3, saved=("embed_tokens",))
    backwards = [extract_module(once, outline) for outline in reversed(once.modules)]
    assert assemble(once, backwards[::-1]).outcomes == adapter(once).outcomes
