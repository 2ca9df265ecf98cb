"""Families that turn the base's weight into another one."""

from typing import Any

import numpy as np
import pytest

from plait.algebra.delta import FunctionOfBase, LowRank, Matrix, NoDelta
from plait.algebra.dense_delta import multiply_out
from plait.algebra.families import read_changes
from plait.algebra.families.resolve import resolve
from plait.algebra.families.rotations import map_by_cayley, sum_neumann_terms
from plait.errors import InvalidInput
from plait.model.adapter_families import Effect
from reference.adapters import adapter_of
from reference.families import block_diagonal, butterfly, cayley

MODULE = "layers.0.q_proj"
RNG = np.random.default_rng(7)
OFT = {"peft_type": "OFT", "oft_block_size": 4, "peft_version": "0.21.2"}


def normal(*shape: int) -> Matrix:
    return RNG.standard_normal(shape)


W = normal(5, 12)


def change_of(parts: dict[str, Any], **config: Any) -> FunctionOfBase | NoDelta:
    own = {f"base_model.model.{MODULE}.{part}": values for part, values in parts.items()}
    delta = read_changes(adapter_of(own, **config))[MODULE].delta
    assert isinstance(delta, FunctionOfBase | NoDelta)
    return delta


def function_of(parts: dict[str, Any], **config: Any) -> FunctionOfBase:
    delta = change_of(parts, **config)
    assert isinstance(delta, FunctionOfBase)
    return delta


def skew(size: int, count: int, scale: float = 0.2) -> Matrix:
    blocks = np.triu(scale * normal(count, size, size), 1)
    return blocks - blocks.transpose(0, 2, 1)


def triangles(blocks: Matrix) -> Matrix:
    return blocks[:, *np.triu_indices(blocks.shape[1], 1)]


@pytest.mark.parametrize("scale", [1e-9, 0.3, 5.0, 1e4])
def test_cayleys_map_gives_rotations(scale: float) -> None:
    blocks = skew(7, 3, scale)
    for rotation, block in zip(map_by_cayley(blocks), blocks, strict=True):
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(7), atol=1e-11)
        np.testing.assert_allclose(rotation, cayley(block), atol=1e-9)


def test_cayleys_map_of_a_block_of_one_is_the_identity() -> None:
    assert map_by_cayley(np.zeros((2, 1, 1))).tolist() == [[[1.0]], [[1.0]]]


@pytest.mark.parametrize(
    ("terms", "factors"),
    [
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 2, 2, 1]),
        (4, [1, 2, 2, 1]),
        (5, [1, 2, 2, 2, 1]),
        (7, [1, 2, 2, 2, 2, 2, 1]),
    ],
)
def test_the_series_has_the_terms_that_peft_sums(terms: int, factors: list[int]) -> None:
    block = skew(4, 1)
    expected = sum(f * np.linalg.matrix_power(block[0], k) for k, f in enumerate(factors))
    np.testing.assert_allclose(sum_neumann_terms(block, terms)[0], expected, rtol=1e-12)


def test_a_long_series_comes_to_cayleys_map_of_the_negative() -> None:
    block = skew(4, 1, 0.05)
    np.testing.assert_allclose(sum_neumann_terms(block, 30), map_by_cayley(-block), atol=1e-14)


def test_oft_rotates_the_inputs_block_by_block() -> None:
    blocks = skew(4, 3)
    delta = function_of({"oft_R.weight": triangles(blocks)}, **OFT, use_cayley_neumann=False)
    rotation = block_diagonal(np.stack([cayley(block) for block in blocks]))
    np.testing.assert_allclose(delta.apply(W), W @ rotation.T, rtol=1e-12)
    assert delta.shape == (None, 12)


def test_oft_with_one_block_for_all_knows_no_side_of_the_weight() -> None:
    block = skew(4, 1)
    delta = function_of({"oft_R.weight": triangles(block)}, **OFT, block_share=True)
    rotation = block_diagonal(np.repeat([cayley(block[0])], 3, axis=0))
    np.testing.assert_allclose(delta.apply(W), W @ rotation.T, rtol=1e-12)
    assert delta.shape == (None, None)
    with pytest.raises(InvalidInput, match=r"\(5, 10\)"):
        delta.apply(W[:, :10])


def test_oft_of_an_embedding_turns_it_the_other_way() -> None:
    blocks = skew(4, 3)
    delta = function_of({"oft_embedding_R.weight": triangles(blocks)}, **OFT)
    rotation = block_diagonal(np.stack([cayley(block) for block in blocks]))
    np.testing.assert_allclose(delta.apply(W.T), (W @ rotation).T, rtol=1e-12)
    assert delta.placement.is_transposed


@pytest.mark.parametrize("eps", [0.001, 0.6])
def test_coft_shortens_what_is_too_long_and_leaves_the_rest(eps: float) -> None:
    blocks = np.concatenate([skew(4, 2, 0.001), skew(4, 1, 1.0)])
    lengths = np.linalg.norm(blocks.reshape(3, -1), axis=1)
    longest = eps / np.sqrt(3)
    assert (lengths > longest).tolist() == [eps < 0.01, eps < 0.01, True]
    factors = np.minimum(1.0, longest / lengths)[:, None, None]
    delta = function_of({"oft_R.weight": triangles(blocks)}, **OFT, coft=True, eps=eps)
    plain = function_of({"oft_R.weight": triangles(factors * blocks)}, **OFT)
    np.testing.assert_allclose(delta.apply(W), plain.apply(W), rtol=1e-12)


@pytest.mark.parametrize(
    ("config", "part", "words"),
    [
        ({"peft_type": "OFT", "r": 4}, "oft_R.weight", "older PEFT"),
        (OFT, "oft_r", "older PEFT"),
        ({**OFT, "peft_version": "0.17.1", "use_cayley_neumann": True}, "oft_R.weight", "0.18"),
        ({**OFT, "peft_version": None, "use_cayley_neumann": True}, "oft_R.weight", "0.18"),
    ],
)
def test_oft_of_another_formula_is_not_taken_for_todays(
    config: dict[str, Any], part: str, words: str
) -> None:
    delta = change_of({part: triangles(skew(4, 3))}, **config)
    assert isinstance(delta, NoDelta)
    assert words in delta.reason


@pytest.mark.parametrize("version", ["0.18.0", "0.21.1.dev0@abc", "1.0"])
def test_the_series_of_today_is_known_by_its_version(version: str) -> None:
    config = {**OFT, "peft_version": version, "use_cayley_neumann": True}
    blocks = skew(4, 3)
    delta = function_of({"oft_R.weight": triangles(blocks)}, **config)
    rotation = block_diagonal(sum_neumann_terms(blocks, 5))
    np.testing.assert_allclose(delta.apply(W), W @ rotation.T, rtol=1e-12)


@pytest.mark.parametrize(
    ("factors", "blocks", "size"), [(1, 4, 3), (2, 6, 2), (3, 4, 4), (2, 2, 6)]
)
def test_boft_rotates_by_a_butterfly_and_scales_the_outputs(
    factors: int, blocks: int, size: int
) -> None:
    stored, scale = 0.3 * normal(factors, blocks, size, size), normal(5, 1)
    weight = normal(5, blocks * size)
    delta = function_of({"boft_R": stored, "boft_s": scale}, peft_type="BOFT")
    expected = scale * (weight @ butterfly(stored).T)
    np.testing.assert_allclose(delta.apply(weight), expected, rtol=1e-11, atol=1e-13)
    assert delta.shape == weight.shape


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 4, 3, 3), (1, 4, 3, 2)])
def test_boft_refuses_rotations_that_are_none(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="q_proj"):
        change_of({"boft_R": normal(*shape), "boft_s": normal(5, 1)}, peft_type="BOFT")


def reflections(directions: Matrix) -> Matrix:
    product = np.eye(len(directions))
    for unit in (directions / np.linalg.norm(directions, axis=0)).T:
        product = product @ (np.eye(len(unit)) - 2 * np.outer(unit, unit))
    return product


def test_hra_reflects_the_inputs_one_direction_after_another() -> None:
    directions = normal(12, 4)
    delta = function_of({"hra_u": directions}, peft_type="HRA", r=4)
    expected = W @ reflections(directions)
    np.testing.assert_allclose(delta.apply(W), expected, rtol=1e-11, atol=1e-13)


def test_hra_with_gram_schmidt_reflects_on_all_directions_at_once() -> None:
    directions = normal(12, 4)
    delta = function_of({"hra_u": directions}, peft_type="HRA", r=4, apply_GS=True)
    basis = np.linalg.qr(directions)[0]
    expected = W @ (np.eye(12) - 2 * basis @ basis.T)
    np.testing.assert_allclose(delta.apply(W), expected, rtol=1e-11, atol=1e-13)


def test_pairs_of_equal_directions_as_hra_begins_with_change_nothing() -> None:
    directions = np.repeat(normal(12, 2), 2, axis=1)
    delta = function_of({"hra_u": directions}, peft_type="HRA", r=4)
    np.testing.assert_allclose(delta.apply(W), W, atol=1e-13)


@pytest.mark.parametrize("apply_gs", [True, False])
def test_hra_is_a_delta_of_as_many_ranks_as_reflections(*, apply_gs: bool) -> None:
    own = {f"base_model.model.{MODULE}.hra_u": normal(12, 3)}
    change = read_changes(adapter_of(own, peft_type="HRA", r=3, apply_GS=apply_gs))[MODULE]
    factors = resolve("team/adapter", change, lambda: W)
    assert isinstance(factors, LowRank)
    assert factors.rank == 3
    assert isinstance(change.delta, FunctionOfBase)
    np.testing.assert_allclose(W + multiply_out(factors), change.delta.apply(W), atol=1e-13)


def test_hra_of_a_convolution_has_its_kernel() -> None:
    own = {f"base_model.model.{MODULE}.hra_u": normal(12, 3)}
    change = read_changes(adapter_of(own, peft_type="HRA", r=3))[MODULE]
    factors = resolve("team/adapter", change, lambda: W.reshape(5, 3, 2, 2))
    assert factors.placement.kernel == (2, 2)
    assert factors.shape == (5, 12)


def test_hra_refuses_a_direction_without_a_length() -> None:
    directions = normal(12, 3)
    directions[:, 1] = 0.0
    with pytest.raises(InvalidInput, match="column 1 of 'hra_u' has no direction"):
        change_of({"hra_u": directions}, peft_type="HRA", r=3)


def test_hira_scales_every_number_of_the_weight_by_its_own_factor() -> None:
    down, up = normal(2, 12), normal(5, 2)
    delta = function_of({"hira_A": down, "hira_B": up}, peft_type="HIRA", r=2)
    np.testing.assert_allclose(delta.apply(W), W * (1 + up @ down), rtol=1e-12)


def test_hira_of_a_convolution_and_of_an_embedding_fit_their_weights() -> None:
    down, up = normal(2, 3, 2, 2), normal(5, 2, 1, 1)
    conv = function_of({"hira_A": down, "hira_B": up}, peft_type="HIRA", r=2)
    scales = 1 + up.reshape(5, 2) @ down.reshape(2, 12)
    expected = (W * scales).reshape(5, 3, 2, 2)
    np.testing.assert_allclose(conv.apply(W.reshape(5, 3, 2, 2)), expected, rtol=1e-12)
    assert conv.placement.kernel == (2, 2)
    parts = {"hira_embedding_A": down.reshape(2, 12), "hira_embedding_B": up.reshape(5, 2)}
    embedding = function_of(parts, peft_type="HIRA", r=2)
    np.testing.assert_allclose(embedding.apply(W), W * scales, rtol=1e-12)
    assert embedding.placement.is_transposed


def test_ia3_scales_outputs_and_with_them_the_bias() -> None:
    scale, bias = normal(5, 1), normal(5)
    delta = function_of({"ia3_l": scale}, peft_type="IA3", feedforward_modules=[])
    np.testing.assert_array_equal(delta.apply(W), W * scale)
    assert delta.shape == (5, None)
    assert delta.apply_to_bias is not None
    np.testing.assert_array_equal(delta.apply_to_bias(bias), bias * scale[:, 0])
    with pytest.raises(InvalidInput, match=r"scales 5 outputs, and the bias is \(4,\)"):
        delta.apply_to_bias(bias[:4])


def test_ia3_before_a_module_scales_its_inputs_and_leaves_the_bias() -> None:
    scale = normal(1, 12)
    delta = function_of({"ia3_l": scale}, peft_type="IA3", feedforward_modules=["q_proj"])
    np.testing.assert_array_equal(delta.apply(W), W * scale)
    assert delta.shape == (None, 12)
    assert delta.apply_to_bias is None


@pytest.mark.parametrize(
    ("feedforward", "is_input"),
    [(["q_proj"], True), (["v_proj"], False), ("layers.*q_proj", True), ("q_proj", False)],
)
def test_ia3_of_a_convolution_reads_the_side_from_the_configuration(
    feedforward: Any, *, is_input: bool
) -> None:
    scale = normal(1, 4, 1, 1)
    delta = function_of({"ia3_l": scale}, peft_type="IA3", feedforward_modules=feedforward)
    weight = normal(4, 4, 3, 2)
    expected = weight * (scale if is_input else scale.reshape(4, 1, 1, 1))
    np.testing.assert_array_equal(delta.apply(weight), expected)
    assert (delta.apply_to_bias is None) == is_input


def test_ia3_before_a_convolution_in_groups_scales_each_groups_inputs() -> None:
    scale = normal(1, 8, 1, 1)
    delta = function_of({"ia3_l": scale}, peft_type="IA3", feedforward_modules=["q_proj"])
    weight = normal(6, 4, 3, 3)  # two groups
    expected = weight.copy()
    expected[:3] *= scale[:, :4]
    expected[3:] *= scale[:, 4:]
    np.testing.assert_array_equal(delta.apply(weight), expected)


def test_miss_with_bat_multiplies_blocks_of_the_weight() -> None:
    blocks, weight = normal(2, 3, 3), normal(6, 9)
    delta = function_of({"miss_block": blocks}, peft_type="MISS", r=3, init_weights="bat")
    expected = weight.copy()
    for row in range(2):
        for column in range(3):
            place = np.s_[3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
            expected[place] += weight[place] @ blocks[row] + blocks[row]
    np.testing.assert_allclose(delta.apply(weight), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("config", "parts", "weight"),
    [
        ({"peft_type": "IA3"}, {"ia3_l": (4, 1)}, (5, 12)),
        ({"peft_type": "IA3"}, {"ia3_l": (1, 11)}, (5, 12)),
        (OFT, {"oft_R.weight": (3, 6)}, (5, 16)),
        ({"peft_type": "BOFT"}, {"boft_R": (1, 3, 4, 4), "boft_s": (6, 1)}, (5, 12)),
        ({"peft_type": "HRA"}, {"hra_u": (11, 2)}, (5, 12)),
        ({"peft_type": "HIRA"}, {"hira_A": (2, 12), "hira_B": (4, 2)}, (5, 12)),
        ({"peft_type": "MISS", "init_weights": "bat"}, {"miss_block": (2, 3, 3)}, (6, 10)),
    ],
)
def test_a_weight_of_another_shape_is_refused_by_module(
    config: dict[str, Any], parts: dict[str, tuple[int, ...]], weight: tuple[int, int]
) -> None:
    delta = function_of({part: normal(*shape) for part, shape in parts.items()}, **config)
    with pytest.raises(InvalidInput, match=r"team/adapter@\w+, module layers\.0\.q_proj") as caught:
        delta.apply(normal(*weight))
    assert caught.value.kind == "shape-mismatch"


def test_every_one_of_them_is_a_function_of_the_base_and_keeps_its_input() -> None:
    parts = {"oft_R.weight": triangles(skew(4, 3))}
    delta = function_of(parts, **OFT)
    weight = W.copy()
    delta.apply(weight)
    np.testing.assert_array_equal(weight, W)
    assert Effect.FUNCTION_OF_BASE.value == "function-of-base"
