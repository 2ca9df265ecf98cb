"""The report on how far inputs agree, against plain arithmetic on whole matrices."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from plait.algebra import sign_conflicts, subspaces
from plait.algebra.delta import Dense, LowRank, Matrix, Placement
from plait.algebra.interference import ModuleInterference, report_module, summarise
from reference import interference as reference

OUT, IN = 14, 11
MODULE = "model.layers.0.mlp.up_proj"


def low_rank(seed: int, *, rank: int = 3, gamma: float = 0.5) -> LowRank:
    random = np.random.default_rng(seed)
    return LowRank(
        B=random.standard_normal((OUT, rank)).astype(np.float32),
        A=random.standard_normal((rank, IN)).astype(np.float32),
        gamma=gamma,
        placement=Placement(),
    )


def dense(matrix: Matrix, *, rank: int = 3) -> Dense:
    return Dense(compute=matrix.copy, shape=(OUT, IN), rank=rank, placement=Placement())


def matrix_of(delta: LowRank) -> Matrix:
    return delta.gamma * (delta.B.astype(np.float64) @ delta.A.astype(np.float64))


def as_dense(delta: LowRank) -> Dense:
    return dense(matrix_of(delta), rank=delta.rank)


def assert_is_reference(report: ModuleInterference, deltas: Sequence[Matrix], *, rank: int) -> None:
    for i, one in enumerate(deltas):
        assert report.norms[i] == pytest.approx(np.linalg.norm(one))
        for j, other in enumerate(deltas):
            assert report.cosines[i][j] == pytest.approx(reference.cosine(one, other))
            assert report.written[i][j] == pytest.approx(reference.overlap(one, other))
            assert report.read[i][j] == pytest.approx(reference.overlap(one.T, other.T))
    assert report.sign_conflict == pytest.approx(reference.conflict(list(deltas)))
    total = np.sum(deltas, axis=0)
    assert report.energy == pytest.approx(np.sum(total * total))
    assert report.kept == pytest.approx(reference.kept(total, rank))


@pytest.mark.parametrize("is_dense", [(False, False), (True, False), (False, True), (True, True)])
def test_report_is_what_whole_matrices_say(is_dense: tuple[bool, bool]) -> None:
    factors = low_rank(1), low_rank(2, rank=2, gamma=-0.25)
    deltas = [as_dense(d) if flag else d for d, flag in zip(factors, is_dense, strict=True)]
    report = report_module(MODULE, deltas, [0.7, -1.5], rank=2)
    assert_is_reference(report, [0.7 * matrix_of(factors[0]), -1.5 * matrix_of(factors[1])], rank=2)
    assert report.rank == 2
    assert not report.is_sampled


def test_report_on_three_inputs_is_what_whole_matrices_say() -> None:
    factors = [low_rank(seed, rank=seed) for seed in (1, 2, 4)]
    report = report_module(MODULE, factors, [1.0, 0.5, 2.0], rank=3)
    matrices = [w * matrix_of(d) for w, d in zip([1.0, 0.5, 2.0], factors, strict=True)]
    assert_is_reference(report, matrices, rank=3)


def test_same_adapter_twice_agrees_in_everything() -> None:
    delta = low_rank(1)
    report = report_module(MODULE, [delta, delta], [1.0, 0.3], rank=3)
    assert report.cosines[0][1] == pytest.approx(1.0)
    assert report.written[0][1] == pytest.approx(1.0)
    assert report.read[0][1] == pytest.approx(1.0)
    assert report.sign_conflict == 0.0
    assert report.kept == pytest.approx(1.0)


def test_adapter_against_its_negative_conflicts_everywhere() -> None:
    delta = low_rank(1)
    report = report_module(MODULE, [delta, delta], [1.0, -1.0])
    assert report.cosines[0][1] == pytest.approx(-1.0)
    assert report.written[0][1] == pytest.approx(1.0)
    assert report.sign_conflict == 1.0
    assert report.energy == pytest.approx(0.0, abs=1e-20)


def test_disjoint_spaces_have_nothing_in_common() -> None:
    one, other = low_rank(1), low_rank(2)
    one.B[OUT // 2 :] = 0
    other.B[: OUT // 2] = 0
    one.A[:, IN // 2 :] = 0
    other.A[:, : IN // 2] = 0
    report = report_module(MODULE, [one, other], [1.0, 1.0], rank=3)
    assert report.cosines[0][1] == pytest.approx(0.0, abs=1e-15)
    assert report.written[0][1] == pytest.approx(0.0, abs=1e-15)
    assert report.read[0][1] == pytest.approx(0.0, abs=1e-15)
    assert report.sign_conflict is None  # no element has two values
    assert report.kept < 1.0


def test_space_inside_another_overlaps_wholly() -> None:
    large = low_rank(1, rank=4)
    small = LowRank(B=large.B[:, :2], A=low_rank(9, rank=2).A, gamma=1.0, placement=Placement())
    report = report_module(MODULE, [large, small], [1.0, 1.0])
    assert report.written[0][1] == pytest.approx(1.0)
    assert report.read[0][1] is not None
    assert report.read[0][1] < 0.99


def test_directions_that_add_nothing_belong_to_no_space() -> None:
    delta = low_rank(1, rank=2)
    padded = LowRank(
        B=np.hstack([delta.B, delta.B]),  # rank 2 in factors of rank 4
        A=np.vstack([delta.A, delta.A]),
        gamma=1.0,
        placement=Placement(),
    )
    report = report_module(MODULE, [padded, low_rank(2)], [1.0, 1.0])
    matrices = [2 * matrix_of(delta), matrix_of(low_rank(2))]
    assert report.written[0][1] == pytest.approx(reference.overlap(matrices[0], matrices[1]))


def test_absent_and_zero_inputs_have_no_figures() -> None:
    zero = LowRank(B=np.zeros((OUT, 2)), A=np.ones((2, IN)), gamma=1.0, placement=Placement())
    report = report_module(MODULE, [low_rank(1), None, zero], [1.0, 1.0, 1.0], rank=2)
    assert report.norms[1:] == (0.0, 0.0)
    assert report.cosines[0][1] is None
    assert report.written[0][0] == pytest.approx(1.0)
    assert report.written[0][1:] == (None, None)
    assert report.sign_conflict is None
    assert report.rank == 2


def test_input_of_rank_zero_has_no_space() -> None:
    empty = LowRank(B=np.zeros((OUT, 0)), A=np.zeros((0, IN)), gamma=1.0, placement=Placement())
    report = report_module(MODULE, [low_rank(1), empty], [1.0, 1.0])
    assert report.written[1][1] is None
    assert report.norms[1] == 0.0


def test_module_of_one_input_alone_conflicts_with_nothing() -> None:
    report = report_module(MODULE, [None, low_rank(1)], [1.0, 1.0])
    assert (report.conflicts, report.compared, report.kept) == (0, 0, 1.0)
    assert report.rank == 3


def test_sum_of_zero_keeps_everything() -> None:
    zero = LowRank(B=np.zeros((OUT, 2)), A=np.zeros((2, IN)), gamma=1.0, placement=Placement())
    report = report_module(MODULE, [zero], [1.0], energy=0.5)
    assert (report.energy, report.kept, report.rank) == (0.0, 1.0, 0)


def test_energy_chooses_the_least_rank_that_reaches_it() -> None:
    diagonal = LowRank(
        B=np.eye(OUT, 4) * np.array([4.0, 2.0, 1.0, 0.5]),
        A=np.eye(4, IN),
        gamma=1.0,
        placement=Placement(),
    )
    whole = 16 + 4 + 1 + 0.25
    for energy, rank in (
        (0.5, 1),
        (16 / whole, 1),
        (0.76, 2),
        (20 / whole, 2),
        (0.99, 4),
        (1.0, 4),
    ):
        report = report_module(MODULE, [diagonal], [1.0], energy=energy)
        assert report.rank == rank
        assert report.kept >= energy - 1e-12
    both = report_module(MODULE, [diagonal], [1.0], rank=1, energy=0.99)
    assert both.rank == 1
    assert both.kept == pytest.approx(16 / whole)


def test_large_module_is_sampled_and_says_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    deltas = [low_rank(1), low_rank(2)]
    exact = report_module(MODULE, deltas, [1.0, 1.0])
    monkeypatch.setattr(sign_conflicts, "MOST_COUNTED", 2 * IN * 9)
    report = report_module(MODULE, deltas, [1.0, 1.0])
    assert report.is_sampled
    assert report.compared == 9 * IN
    assert report == report_module(MODULE, deltas, [1.0, 1.0])
    assert report.sign_conflict is not None
    assert exact.sign_conflict is not None
    assert abs(report.sign_conflict - exact.sign_conflict) < 0.2
    other = report_module("another.module", deltas, [1.0, 1.0])
    assert other.conflicts != report.conflicts


def test_large_dense_deltas_have_figures_near_the_exact_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deltas = [as_dense(low_rank(1)), as_dense(low_rank(2))]
    exact = report_module(MODULE, deltas, [1.0, 1.0], rank=2)
    monkeypatch.setattr(subspaces, "_SMALL", 4)
    report = report_module(MODULE, deltas, [1.0, 1.0], rank=2)
    assert report.written[0][1] == pytest.approx(exact.written[0][1])
    assert report.read[0][1] == pytest.approx(exact.read[0][1])
    assert report.kept == pytest.approx(exact.kept)
    uncut = report_module(MODULE, deltas, [1.0, 1.0])
    assert uncut.kept == 1.0
    assert uncut.energy == pytest.approx(exact.energy)


def test_total_is_that_of_all_modules_as_one() -> None:
    first = [low_rank(1), low_rank(2)]
    second = [low_rank(3), low_rank(4)]
    modules = [
        report_module("a", first, [1.0, 1.0], rank=1),
        report_module("b", second, [1.0, 1.0], rank=4),
        report_module("c", [low_rank(5), None], [1.0, 1.0], rank=3),
    ]
    report = summarise(modules)
    zero = np.zeros((OUT, IN))
    stacked = [
        np.vstack([matrix_of(first[0]), matrix_of(second[0]), matrix_of(low_rank(5))]),
        np.vstack([matrix_of(first[1]), matrix_of(second[1]), zero]),
    ]
    assert report.total.cosines[0][1] == pytest.approx(reference.cosine(stacked[0], stacked[1]))
    assert report.total.sign_conflict == pytest.approx(reference.conflict(stacked))
    kept = sum(module.kept_energy for module in modules) / sum(m.energy for m in modules)
    assert report.total.kept == pytest.approx(kept)
    overlaps = sorted(module.written[0][1] or 0.0 for module in modules[:2])
    assert overlaps[0] < (report.total.written[0][1] or 0.0) < overlaps[1]
    assert report.total.rank == 4


def test_json_form_holds_plain_values() -> None:
    report = summarise([report_module(MODULE, [low_rank(1), None], [1.0, 1.0])])
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert document["modules"][0]["module"] == MODULE
    assert document["modules"][0]["cosines"] == [[pytest.approx(1.0), None], [None, None]]
    assert document["total"]["sign_conflict"] is None
