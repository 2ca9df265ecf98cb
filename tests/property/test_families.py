"""What is true of every adapter of a family, whatever its numbers."""

import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plait.algebra.delta import FunctionOfBase, LowRank, Matrix
from plait.algebra.families import read_changes
from plait.algebra.families.resolve import resolve
from plait.algebra.families.rotations import map_by_cayley
from plait.algebra.roots_of_unity import find_roots_of_unity
from plait.algebra.torch_permutation import draw_permutation
from reference.adapters import LABEL, adapter_of

SEEDS = st.integers(0, 2**32 - 1)
SIDES = st.integers(1, 12)


def normal(seed: int, *shape: int) -> Matrix:
    return np.random.default_rng(seed).standard_normal(shape)


def delta_of(weight: Matrix, parts: dict[str, Matrix], **config: Any) -> Matrix:
    own = {f"base_model.model.q_proj.{part}": values for part, values in parts.items()}
    change = read_changes(adapter_of(own, **config))["q_proj"]
    delta = resolve(LABEL, change, lambda: weight)
    dense: NDArray[np.floating] = (
        delta.gamma * (delta.B @ delta.A) if isinstance(delta, LowRank) else delta.compute()
    )
    return np.asarray(dense, np.float64)


@given(SEEDS, st.integers(1, 4), st.integers(1, 9), st.floats(1e-3, 1e3))
def test_cayleys_map_always_gives_a_rotation(
    seed: int, count: int, size: int, scale: float
) -> None:
    blocks = scale * normal(seed, count, size, size)
    rotations = map_by_cayley(blocks - blocks.transpose(0, 2, 1))
    for rotation in rotations:
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(size), atol=1e-9)
        assert math.isclose(np.linalg.det(rotation), 1.0, rel_tol=1e-6)


@given(SEEDS, SIDES, st.integers(1, 4), st.integers(1, 5))
def test_oft_and_hra_keep_the_length_of_every_row(
    seed: int, out: int, blocks: int, size: int
) -> None:
    weight = normal(seed, out, blocks * size)
    lengths = np.linalg.norm(weight, axis=1)
    rows = normal(seed + 1, blocks, size * (size - 1) // 2)
    if size > 1:
        oft = {"peft_type": "OFT", "oft_block_size": size}
        turned = weight + delta_of(weight, {"oft_R.weight": rows}, **oft)
        np.testing.assert_allclose(np.linalg.norm(turned, axis=1), lengths, rtol=1e-9)
    directions = normal(seed + 2, blocks * size, 2)
    reflected = weight + delta_of(weight, {"hra_u": directions}, peft_type="HRA")
    np.testing.assert_allclose(np.linalg.norm(reflected, axis=1), lengths, rtol=1e-9)


@given(SEEDS, SIDES, SIDES, st.sampled_from([[], ["q_proj"]]))
def test_ia3_of_ones_and_hira_of_zeros_change_nothing(
    seed: int, out: int, columns: int, feedforward: list[str]
) -> None:
    weight = normal(seed, out, columns)
    ones = {"ia3_l": np.ones((1, columns) if feedforward else (out, 1))}
    assert not delta_of(weight, ones, peft_type="IA3", feedforward_modules=feedforward).any()
    hira = {"hira_A": normal(seed, 2, columns), "hira_B": np.zeros((out, 2))}
    assert not delta_of(weight, hira, peft_type="HIRA").any()


@given(SEEDS, SIDES, SIDES, st.integers(1, 10), st.floats(-100, 100))
def test_a_fourier_delta_is_linear_in_its_spectrum_and_scaling(
    seed: int, out: int, columns: int, count: int, scaling: float
) -> None:
    count = min(count, out * columns)
    weight = np.zeros((out, columns))
    first, second = normal(seed, 2, count)

    def waves(spectrum: Matrix, scale: float = 1.0) -> Matrix:
        return delta_of(
            weight, {"fourierft_spectrum": spectrum}, peft_type="FOURIERFT", scaling=scale
        )

    np.testing.assert_allclose(waves(first + second), waves(first) + waves(second), atol=1e-12)
    np.testing.assert_allclose(waves(first, scaling), scaling * waves(first), atol=1e-10)


@given(SEEDS, SIDES, SIDES)
def test_a_full_spectrum_is_the_inverse_transform_of_the_library(
    seed: int, out: int, columns: int
) -> None:
    spectrum = normal(seed, out * columns)
    places = draw_permutation(out * columns, seed=777, count=out * columns)
    dense = np.zeros(out * columns)
    dense[places] = spectrum
    expected = np.fft.ifft2(dense.reshape(out, columns)).real
    found = delta_of(
        np.zeros((out, columns)), {"fourierft_spectrum": spectrum}, peft_type="FOURIERFT", scaling=1
    )
    np.testing.assert_allclose(found, expected, atol=1e-13)


@given(st.integers(1, 400))
def test_roots_of_unity_lie_on_the_circle(n: int) -> None:
    cosines, sines = find_roots_of_unity(n)
    np.testing.assert_allclose(cosines * cosines + sines * sines, 1.0, rtol=4e-16)
    assert (cosines[0], sines[0]) == (1.0, 0.0)


@given(st.integers(1, 300), st.integers(-(2**63), 2**64 - 1), st.data())
def test_a_permutation_holds_every_number_once(n: int, seed: int, data: st.DataObject) -> None:
    everything = draw_permutation(n, seed=seed, count=n).tolist()
    assert sorted(everything) == list(range(n))
    count = data.draw(st.integers(0, n))
    assert draw_permutation(n, seed=seed, count=count).tolist() == everything[:count]


@given(SEEDS, st.integers(1, 3), st.integers(1, 3), st.integers(1, 5))
def test_c3a_adds_a_circular_convolution(seed: int, rows: int, columns: int, size: int) -> None:
    kernel, x = normal(seed, rows, columns, size), normal(seed + 1, columns * size)
    weight = np.zeros((rows * size, columns * size))
    found = delta_of(weight, {"c3a_kernel": kernel}, peft_type="C3A") @ x
    spectra = np.fft.ifft(x.reshape(columns, size)) * np.fft.fft(kernel)  # (rows, columns, size)
    expected = np.fft.fft(spectra.sum(axis=1)).real.reshape(-1) / x.size
    np.testing.assert_allclose(found, expected, atol=1e-12)


@given(SEEDS, SIDES, st.integers(1, 12), st.integers(1, 4))
def test_hra_has_no_more_ranks_than_directions(
    seed: int, out: int, columns: int, rank: int
) -> None:
    own = {"base_model.model.q_proj.hra_u": normal(seed, columns, rank)}
    change = read_changes(adapter_of(own, peft_type="HRA"))["q_proj"]
    weight = normal(seed + 1, out, columns)
    factors = resolve(LABEL, change, lambda: weight)
    assert isinstance(factors, LowRank)
    assert factors.rank == rank
    assert isinstance(change.delta, FunctionOfBase)
    np.testing.assert_allclose(
        weight + factors.B @ factors.A, change.delta.apply(weight), atol=1e-11
    )
