"""Families whose delta does not depend on the base's weight, and at most on its shape."""

from typing import Any

import numpy as np
import pytest

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import Delta, DeltaOfShape, Dense, LowRank, Matrix, ModuleKind, NoDelta
from plait.algebra.dense_delta import multiply_out
from plait.algebra.families import read_changes
from plait.algebra.torch_permutation import draw_permutation
from plait.errors import InvalidInput
from reference.adapters import adapter_of
from reference.families import circulant, kernel_of, waves

MODULE = "layers.0.q_proj"
RNG = np.random.default_rng(5)


def normal(*shape: int) -> Matrix:
    return RNG.standard_normal(shape)


def adapter(
    parts: dict[str, Any], shared: dict[str, Any] | None = None, **config: Any
) -> AdapterTensors:
    own = {f"base_model.model.{MODULE}.{part}": values for part, values in parts.items()}
    common = {f"base_model.{part}": values for part, values in (shared or {}).items()}
    return adapter_of({**own, **common}, **config)


def delta_of(source: AdapterTensors) -> Delta:
    changes = read_changes(source)
    assert list(changes) == [MODULE]
    delta = changes[MODULE].delta
    assert delta is not None
    return delta


def dense(delta: Delta, shape: tuple[int, int] | None = None) -> Matrix:
    if isinstance(delta, DeltaOfShape):
        assert shape is not None
        delta = delta.given(shape)
    assert isinstance(delta, LowRank | Dense)
    found = multiply_out(delta) if isinstance(delta, LowRank) else delta.compute()
    assert found.shape == delta.shape
    assert found.dtype == np.float64
    return found


VERA = {"vera_lambda_b": normal(5), "vera_lambda_d": normal(3)}
PROJECTIONS = {"vera_A": normal(3, 9), "vera_B": normal(8, 3)}


@pytest.mark.parametrize("columns", [9, 4])
def test_vera_takes_the_first_rows_and_columns_that_its_module_needs(columns: int) -> None:
    delta = delta_of(adapter(VERA, PROJECTIONS, peft_type="VERA"))
    expected = (
        np.diag(VERA["vera_lambda_b"])
        @ PROJECTIONS["vera_B"][:5]
        @ np.diag(VERA["vera_lambda_d"])
        @ PROJECTIONS["vera_A"][:, :columns]
    )
    np.testing.assert_allclose(dense(delta, (5, columns)), expected, rtol=1e-12)
    assert isinstance(delta, DeltaOfShape)
    assert delta.largest == (5, 9)


@pytest.mark.parametrize("shape", [(4, 9), (5, 10)])
def test_vera_refuses_weights_of_other_shapes(shape: tuple[int, int]) -> None:
    delta = delta_of(adapter(VERA, PROJECTIONS, peft_type="VERA"))
    with pytest.raises(InvalidInput, match=rf"q_proj.*\({shape[0]}, {shape[1]}\)"):
        dense(delta, shape)


def test_vera_without_its_projections_has_no_delta() -> None:
    delta = delta_of(adapter(VERA, peft_type="VERA", save_projection=False))
    assert isinstance(delta, NoDelta)
    assert "save_projection" in delta.reason


HADA = {"hada_w1_a": normal(5, 2), "hada_w1_b": normal(2, 7)}
HADA |= {"hada_w2_a": normal(5, 2), "hada_w2_b": normal(2, 7)}


def test_loha_multiplies_two_products_element_by_element() -> None:
    delta = delta_of(adapter(HADA, peft_type="LOHA", r=2, alpha=3))
    first, second = (HADA[f"hada_w{i}_a"] @ HADA[f"hada_w{i}_b"] for i in (1, 2))
    np.testing.assert_allclose(dense(delta), 1.5 * first * second, rtol=1e-12)


def test_loha_of_a_convolution_has_its_kernel() -> None:
    parts = {f"hada_w{i}_{side}": normal(2, n) for i in (1, 2) for side, n in (("a", 5), ("b", 4))}
    cores = {f"hada_t{i}": normal(2, 2, 3, 2) for i in (1, 2)}
    delta = delta_of(adapter({**parts, **cores}, peft_type="LOHA", r=2, alpha=2))
    first, second = (
        kernel_of(cores[f"hada_t{i}"], parts[f"hada_w{i}_a"], parts[f"hada_w{i}_b"]) for i in (1, 2)
    )
    np.testing.assert_allclose(dense(delta), (first * second).reshape(5, 24), rtol=1e-12)
    assert isinstance(delta, Dense)
    assert (delta.placement.kind, delta.placement.kernel) == (ModuleKind.CONV, (3, 2))


@pytest.mark.parametrize("left", [{"lokr_w1": (2, 3)}, {"lokr_w1_a": (2, 2), "lokr_w1_b": (2, 3)}])
@pytest.mark.parametrize(
    "right",
    [
        {"lokr_w2": (4, 5)},
        {"lokr_w2": (4, 5, 3, 2)},
        {"lokr_w2_a": (4, 2), "lokr_w2_b": (2, 5)},
        {"lokr_w2_a": (2, 4), "lokr_w2_b": (2, 5), "lokr_t2": (2, 2, 3, 2)},
    ],
)
def test_lokr_is_a_kronecker_product(
    left: dict[str, tuple[int, ...]], right: dict[str, tuple[int, ...]]
) -> None:
    parts = {part: normal(*shape) for part, shape in {**left, **right}.items()}
    delta = delta_of(adapter(parts, peft_type="LOKR", r=2, alpha=6))
    w1 = parts["lokr_w1"] if "lokr_w1" in parts else parts["lokr_w1_a"] @ parts["lokr_w1_b"]
    if "lokr_w2" in parts:
        w2 = parts["lokr_w2"]
    elif "lokr_t2" in parts:
        w2 = kernel_of(parts["lokr_t2"], parts["lokr_w2_a"], parts["lokr_w2_b"])
    else:
        w2 = parts["lokr_w2_a"] @ parts["lokr_w2_b"]
    expected = 3.0 * np.kron(w1.reshape(2, 3, *[1] * (w2.ndim - 2)), w2)
    np.testing.assert_allclose(dense(delta), expected.reshape(8, -1), rtol=1e-12)


@pytest.mark.parametrize("shape", [(5, 7), (7, 6), (6, 11)])
def test_fourierft_is_the_real_part_of_an_inverse_transform(shape: tuple[int, int]) -> None:
    spectrum = normal(12)
    source = adapter({"fourierft_spectrum": spectrum}, peft_type="FOURIERFT", scaling=30)
    places = draw_permutation(shape[0] * shape[1], seed=777, count=12)
    expected = waves(spectrum, places, shape, 30.0)
    np.testing.assert_allclose(dense(delta_of(source), shape), expected, atol=1e-13)


def test_fourierft_of_a_wide_weight_is_computed_some_columns_at_a_time() -> None:
    spectrum = normal(40)
    source = adapter({"fourierft_spectrum": spectrum}, peft_type="FOURIERFT", random_loc_seed=4)
    places = draw_permutation(64 * 97, seed=4, count=40)
    expected = waves(spectrum, places, (64, 97), 150.0)
    np.testing.assert_allclose(dense(delta_of(source), (64, 97)), expected, atol=1e-13)


def test_fourierft_refuses_a_weight_with_fewer_places_than_numbers() -> None:
    delta = delta_of(adapter({"fourierft_spectrum": normal(12)}, peft_type="FOURIERFT"))
    with pytest.raises(InvalidInput, match="no place for 12"):
        dense(delta, (3, 3))


def test_fourierft_needs_a_whole_number_as_seed() -> None:
    source = adapter(
        {"fourierft_spectrum": normal(2)}, peft_type="FOURIERFT", random_loc_seed="777"
    )
    with pytest.raises(InvalidInput, match="random_loc_seed"):
        delta_of(source)


def mixtures(logits: Matrix, bank: Matrix, top: int) -> Matrix:
    mixed = np.zeros((*logits.shape[:2], bank.shape[1]))
    for place in np.ndindex(*logits.shape[:2]):
        best = np.argsort(-logits[place], kind="stable")[:top]
        weights = np.exp(logits[place][best])
        mixed[place] = (weights / weights.sum()) @ bank[best]
    return mixed


@pytest.mark.parametrize("top", [1, 2, 4])
def test_vblora_mixes_the_vectors_with_the_highest_logits(top: int) -> None:
    bank = normal(4, 5)
    parts = {"vblora_logits_A": normal(3, 2, 4), "vblora_logits_B": normal(4, 3, 4)}
    source = adapter(parts, {"vblora_vector_bank": bank}, peft_type="VBLORA", topk=top)
    down = mixtures(parts["vblora_logits_A"], bank, top).reshape(3, 10)
    up = mixtures(parts["vblora_logits_B"], bank, top).transpose(0, 2, 1).reshape(20, 3)
    np.testing.assert_allclose(dense(delta_of(source)), up @ down, rtol=1e-12)


def test_vblora_takes_the_first_of_equal_logits() -> None:
    bank = normal(5, 2)
    parts = {"vblora_logits_A": np.zeros((1, 1, 5)), "vblora_logits_B": np.zeros((1, 1, 5))}
    source = adapter(parts, {"vblora_vector_bank": bank}, peft_type="VBLORA", topk=2)
    mean = (0.5 * bank[0] + 0.5 * bank[1])[None]
    np.testing.assert_array_equal(dense(delta_of(source)), mean.T * mean)


@pytest.mark.parametrize("weights", [[], [0.25], [0.5, 0.125]])
def test_vblora_of_saved_weights_restores_the_last_one(weights: list[float]) -> None:
    bank = normal(6, 2)
    every = [*weights, 1.0 - sum(weights)]
    parts = {}
    for side in "AB":
        parts[f"vblora_logits_{side}_topk_indices"] = np.arange(len(every))[None, None] + 1.0
        parts[f"vblora_logits_{side}_topk_weights"] = np.reshape(weights, (1, 1, -1))
    source = adapter(parts, {"vblora_vector_bank": bank}, peft_type="VBLORA")
    vector = np.asarray(every) @ bank[1 : 1 + len(every)]
    np.testing.assert_allclose(dense(delta_of(source)), np.outer(vector, vector), rtol=1e-12)


@pytest.mark.parametrize("index", [-1.0, 0.5, 6.0])
def test_vblora_refuses_indices_outside_the_bank(index: float) -> None:
    parts = {
        f"vblora_logits_{side}_topk_{what}": np.full((1, 1, n), value)
        for side in "AB"
        for what, n, value in (("indices", 2, index), ("weights", 1, 0.5))
    }
    with pytest.raises(InvalidInput, match="whole numbers below 6"):
        delta_of(adapter(parts, {"vblora_vector_bank": normal(6, 2)}, peft_type="VBLORA"))


@pytest.mark.parametrize("shape", [(5, 6), (5, 8), (5, 3)])
def test_miss_repeats_its_block_along_the_inputs(shape: tuple[int, int]) -> None:
    block = normal(3, 5)
    expected = np.tile(block, (3, 1))[: shape[1]].T
    for part, peft_type in (("miss_block", "MISS"), ("bone_block", "BONE")):
        delta = delta_of(adapter({part: block}, peft_type=peft_type, r=3, init_weights=True))
        np.testing.assert_array_equal(dense(delta, shape), expected)


def test_miss_repeats_a_small_block_along_the_outputs_too() -> None:
    block = normal(3, 2)
    delta = delta_of(adapter({"miss_block": block}, peft_type="MISS", r=3, init_weights="mini"))
    np.testing.assert_array_equal(dense(delta, (6, 4)), np.tile(block, (2, 3))[:4].T)
    with pytest.raises(InvalidInput, match=r"\(5, 4\)"):
        dense(delta, (5, 4))


def test_c3a_is_made_of_circulant_blocks() -> None:
    kernel = normal(2, 3, 4)
    expected = np.block([[circulant(block) for block in row] for row in kernel]) / 12
    delta = delta_of(adapter({"c3a_kernel": kernel}, peft_type="C3A"))
    np.testing.assert_array_equal(dense(delta), expected)


def test_shira_has_numbers_at_its_places_alone() -> None:
    parts = {"shira_weight": np.array([1.0, 2.0, 3.0]), "shira_indices": [[0, 2, 1], [3, 0, 1]]}
    delta = delta_of(adapter(parts, peft_type="SHIRA", r=1))
    expected = [[0, 0, 0, 1], [0, 3, 0, 0], [2, 0, 0, 0]]
    assert dense(delta, (3, 4)).tolist() == expected
    with pytest.raises(InvalidInput, match="outside a weight"):
        dense(delta, (2, 4))


@pytest.mark.parametrize("shape", [(5, 4), (4, 5), (4, 4)])
def test_randlora_multiplies_shared_bases_with_scales(shape: tuple[int, int]) -> None:
    scales, rest = normal(3, 2), normal(2, 4)
    shared = {"randlora_A": normal(3, 1, 6), "randlora_B": normal(7, 2, 3)}
    source = adapter(
        {"randlora_lambda": scales, "randlora_gamma": rest},
        shared,
        peft_type="RANDLORA",
        r=3,
        randlora_alpha=6,
    )
    rows = np.stack(
        [
            scales[k, j] * shared["randlora_A"][k, 0, :4] * rest[j]
            for k in range(3)
            for j in range(2)
        ]
    )
    product = 2.0 * shared["randlora_B"][: max(shape)].reshape(-1, 6) @ rows
    expected = product.T if shape[0] < shape[1] else product
    np.testing.assert_allclose(dense(delta_of(source), shape), expected, rtol=1e-12)


def test_randlora_without_its_projections_has_no_delta() -> None:
    parts = {"randlora_lambda": normal(3, 2), "randlora_gamma": normal(2, 4)}
    assert isinstance(delta_of(adapter(parts, peft_type="RANDLORA", r=3)), NoDelta)


def test_delora_gives_every_term_the_same_length() -> None:
    down, up, widths = normal(3, 6), normal(5, 3), np.abs(normal(6))
    down[1] = 0.0
    parts = {"delora_A": down, "delora_B": up, "delora_lambda": [12.0], "delora_w_norm": widths}
    lengths = np.maximum(np.linalg.norm(down, axis=1), 1e-4) * np.linalg.norm(up, axis=0)
    expected = up @ np.diag(4.0 / lengths) @ down * widths
    delta = delta_of(adapter(parts, peft_type="DELORA", r=3))
    np.testing.assert_allclose(dense(delta), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("hybrid", [0, 2])
def test_gralora_gives_every_block_a_product_of_its_own(hybrid: int) -> None:
    down, up = normal(2, 3, 4), normal(2, 4, 5)
    parts = {"gralora_A": down, "gralora_B": up}
    expected = np.block(
        [
            [up[m, 2 * n : 2 * n + 2].T @ down[n, :, 2 * m : 2 * m + 2].T for n in range(2)]
            for m in range(2)
        ]
    )
    if hybrid:
        general = {"A": normal(hybrid, 6), "B": normal(10, hybrid)}
        parts |= {f"gralora_{side}_general.weight": general[side] for side in "AB"}
        expected += general["B"] @ general["A"]
    delta = delta_of(adapter(parts, peft_type="GRALORA", r=4, alpha=12, hybrid_r=hybrid))
    np.testing.assert_allclose(dense(delta), expected * 12 / (4 + hybrid), rtol=1e-12)
