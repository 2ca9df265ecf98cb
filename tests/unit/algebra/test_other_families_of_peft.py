"""Families beside LoRA against PEFT's own merge: real adapters, and small models for the rest."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plait.adapter_folder import open_adapter
from plait.algebra.delta import (
    Delta,
    DeltaOfShape,
    Dense,
    FunctionOfBase,
    LowRank,
    NoDelta,
)
from plait.algebra.families import read_changes
from plait.model.adapter_families import Effect
from reference.peft_merges import adapt, largest_error, weights_of

pytestmark = pytest.mark.torch

EXACT = 1e-12
"""Where PEFT computes in float64 too, and only the order of sums differs."""
SINGLE = 3e-6
"""Where it computes in float32, relative to what it changed."""

TRAINED: dict[str, type[Delta] | None] = {
    "cpp-boft": FunctionOfBase,
    "cpp-fourierft": DeltaOfShape,
    "cpp-hra": FunctionOfBase,
    "cpp-ia3": FunctionOfBase,
    "cpp-ln-tuning": None,
    "cpp-loha": Dense,
    "cpp-lokr": Dense,
    "cpp-oft": FunctionOfBase,
    "cpp-vblora": LowRank,
    "cpp-vera": DeltaOfShape,
}
PROMPTS = ["prose-p-tuning", "prose-prefix-tuning", "prose-prompt-tuning"]


@pytest.fixture(autouse=True)
def quiet_peft() -> Iterator[None]:
    """PEFT warns of what the tests do on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", TRAINED)
def test_trained_adapters_change_their_base_as_peft_merges_them(name: str, zoo_data: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = zoo_data / "adapters" / name
    adapter = open_adapter(name, folder)
    base = AutoModelForCausalLM.from_pretrained(zoo_data / "base", dtype=torch.float64)
    before = weights_of(base)
    after = weights_of(PeftModel.from_pretrained(base, folder).merge_and_unload())
    assert largest_error(adapter, before, after) < SINGLE
    forms = {type(change.delta) for change in read_changes(adapter).values()}
    assert forms == {TRAINED[name] or type(None)}


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_say_why_they_have_no_delta(name: str, zoo_data: Path) -> None:
    adapter = open_adapter(name, zoo_data / "adapters" / name)
    changes = read_changes(adapter)
    assert list(changes) == [""]
    delta = changes[""].delta
    assert isinstance(delta, NoDelta)
    assert delta.effect is Effect.FORWARD_ONLY
    assert adapter.config.family.name in delta.reason


def small_model(dtype: Any = None) -> Any:
    import torch
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(5)
    modules = {
        "wide": nn.Linear(24, 16),
        "tall": nn.Linear(12, 36, bias=False),
        "even": nn.Linear(32, 5),
        "conv1d": nn.Conv1d(4, 6, 3),
        "conv2d": nn.Conv2d(4, 6, 3),
        "conv3d": nn.Conv3d(4, 6, (1, 2, 3)),
        "pointwise": nn.Conv2d(6, 10, 1),
        "grouped": nn.Conv2d(8, 12, 3, groups=4),
        "deep": nn.Conv2d(36, 49, (3, 2)),
        "deep1d": nn.Conv1d(36, 49, 3),
        "embed": nn.Embedding(30, 16),
        "gpt": Conv1D(12, 20),
        "norm": nn.LayerNorm(16),
        "bare_norm": nn.RMSNorm(16),
    }
    return nn.ModuleDict(modules).to(dtype or torch.float64)


LINEAR = ["wide", "tall"]
CONVS = ["conv1d", "conv2d", "pointwise", "grouped"]
CASES: list[tuple[str, dict[str, Any], float]] = [
    ("VeraConfig", {"r": 5, "target_modules": LINEAR}, EXACT),
    ("VeraConfig", {"r": 5, "target_modules": ["gpt"], "fan_in_fan_out": True}, EXACT),
    ("LoHaConfig", {"target_modules": [*LINEAR, *CONVS]}, EXACT),
    ("LoHaConfig", {"target_modules": [*LINEAR, *CONVS], "use_effective_conv2d": True}, EXACT),
    (
        "LoHaConfig",
        {"target_modules": LINEAR, "rank_pattern": {"tall": 2}, "alpha_pattern": {"wide": 3}},
        EXACT,
    ),
    ("LoKrConfig", {"target_modules": [*LINEAR, *CONVS]}, EXACT),
    ("LoKrConfig", {"r": 1, "target_modules": [*LINEAR, *CONVS]}, EXACT),
    ("LoKrConfig", {"r": 1, "decompose_both": True, "target_modules": [*LINEAR, *CONVS]}, EXACT),
    ("LoKrConfig", {"r": 3, "target_modules": ["deep", "deep1d"]}, EXACT),
    (
        "LoKrConfig",
        {"r": 3, "use_effective_conv2d": True, "target_modules": ["deep", "deep1d", "wide"]},
        EXACT,
    ),
    ("LoKrConfig", {"r": 2, "decompose_factor": 4, "target_modules": LINEAR}, EXACT),
    ("IA3Config", {"target_modules": LINEAR, "feedforward_modules": ["tall"]}, EXACT),
    (
        "IA3Config",
        {"target_modules": ["gpt"], "feedforward_modules": ["gpt"], "fan_in_fan_out": True},
        EXACT,
    ),
    (
        "IA3Config",
        {"target_modules": ["gpt"], "feedforward_modules": [], "fan_in_fan_out": True},
        EXACT,
    ),
    (
        "IA3Config",
        {"target_modules": ["conv2d", "conv3d", "grouped"], "feedforward_modules": []},
        EXACT,
    ),
    (
        "IA3Config",
        {
            "target_modules": ["conv2d", "conv3d", "grouped"],
            "feedforward_modules": ["conv2d", "conv3d", "grouped"],
        },
        EXACT,
    ),
    (
        "IA3Config",
        {"target_modules": ["conv2d", "pointwise"], "feedforward_modules": "conv.*|point"},
        EXACT,
    ),
    *(
        ("OFTConfig", {"oft_block_size": 4, **options}, EXACT)
        for options in (
            {"target_modules": [*LINEAR, "conv2d", "embed"]},
            {"target_modules": [*LINEAR, "conv2d", "embed"], "use_cayley_neumann": False},
            {"target_modules": [*LINEAR, "embed"], "block_share": True},
            {"target_modules": LINEAR, "oft_block_size": 0, "r": 3},
        )
    ),
    *(
        (
            "OFTConfig",
            {"oft_block_size": 4, "target_modules": LINEAR, "num_cayley_neumann_terms": terms},
            EXACT,
        )
        for terms in range(2, 9)
    ),
    # PEFT divides eps by a root in float32.
    (
        "OFTConfig",
        {"oft_block_size": 4, "target_modules": LINEAR, "coft": True, "eps": 0.5},
        SINGLE,
    ),
    ("BOFTConfig", {"boft_block_size": 4, "target_modules": [*LINEAR, "conv2d"]}, EXACT),
    ("BOFTConfig", {"boft_block_num": 2, "boft_block_size": 0, "target_modules": LINEAR}, EXACT),
    ("HRAConfig", {"r": 4, "target_modules": [*LINEAR, "conv2d"]}, EXACT),
    ("HRAConfig", {"r": 3, "apply_GS": True, "target_modules": [*LINEAR, "conv2d"]}, EXACT),
    ("HiraConfig", {"r": 3, "target_modules": [*LINEAR, "conv2d", "conv3d", "embed"]}, EXACT),
    ("HiraConfig", {"r": 3, "target_modules": ["pointwise", "conv1d"]}, EXACT),
    ("HiraConfig", {"r": 3, "target_modules": ["gpt"], "fan_in_fan_out": True}, EXACT),
    ("FourierFTConfig", {"n_frequency": 50, "target_modules": LINEAR}, SINGLE),
    (
        "FourierFTConfig",
        {"n_frequency": 384, "random_loc_seed": 3, "target_modules": ["wide"]},
        SINGLE,
    ),
    (
        "FourierFTConfig",
        {"n_frequency": 9, "scaling": 3, "target_modules": ["gpt"], "fan_in_fan_out": True},
        SINGLE,
    ),
    *(
        ("VBLoRAConfig", {"vector_length": 4, "num_vectors": 9, **options}, tolerance)
        for options, tolerance in (
            ({"target_modules": LINEAR}, EXACT),
            ({"target_modules": LINEAR, "topk": 3}, EXACT),
            ({"target_modules": LINEAR, "topk": 3, "save_only_topk_weights": True}, EXACT),
            ({"target_modules": ["gpt"], "fan_in_fan_out": True}, EXACT),
        )
    ),
    ("MissConfig", {"r": 4, "target_modules": LINEAR}, EXACT),
    ("MissConfig", {"r": 5, "target_modules": LINEAR}, EXACT),
    ("MissConfig", {"r": 4, "init_weights": "mini", "mini_r": 2, "target_modules": LINEAR}, EXACT),
    ("MissConfig", {"r": 4, "init_weights": "bat", "target_modules": LINEAR}, EXACT),
    ("C3AConfig", {"block_size": 4, "target_modules": LINEAR}, SINGLE),
    ("ShiraConfig", {"r": 3, "target_modules": LINEAR}, EXACT),
    ("RandLoraConfig", {"r": 5, "target_modules": LINEAR}, EXACT),
    ("RandLoraConfig", {"r": 5, "very_sparse": True, "target_modules": LINEAR}, EXACT),
    ("RandLoraConfig", {"r": 4, "target_modules": ["gpt"], "fan_in_fan_out": True}, EXACT),
    ("DeloraConfig", {"r": 4, "target_modules": LINEAR}, EXACT),
    ("DeloraConfig", {"r": 4, "rank_pattern": {"tall": 2}, "target_modules": LINEAR}, EXACT),
    ("GraloraConfig", {"r": 6, "gralora_k": 2, "target_modules": LINEAR}, EXACT),
    ("GraloraConfig", {"r": 4, "gralora_k": 4, "hybrid_r": 3, "target_modules": LINEAR}, EXACT),
    (
        "GraloraConfig",
        {"r": 4, "gralora_k": 2, "target_modules": ["gpt"], "fan_in_fan_out": True},
        EXACT,
    ),
    ("LNTuningConfig", {"target_modules": ["norm", "bare_norm"]}, EXACT),
]


@pytest.mark.parametrize(("name", "options", "tolerance"), CASES, ids=str)
def test_every_variant_changes_its_base_as_peft_merges_it(
    name: str, options: dict[str, Any], tolerance: float, tmp_path: Path
) -> None:
    import peft

    adapter, before, after = adapt(small_model(), getattr(peft, name)(**options), tmp_path)
    assert sorted(read_changes(adapter)) == sorted(options["target_modules"])
    assert largest_error(adapter, before, after) < tolerance


class BlockDiagonals:
    """What PEFT's CUDA extension for BOFT computes, without which it makes one factor only."""

    @staticmethod
    def apply(blocks: Any) -> Any:
        import torch

        return torch.stack([torch.block_diag(*factor) for factor in blocks])


@pytest.mark.parametrize("factors", [2, 3])
def test_a_butterfly_of_several_factors_is_that_of_peft(
    factors: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import BOFTConfig
    from peft.tuners.boft import layer

    monkeypatch.setattr(layer, "get_fbd_cuda", object)
    monkeypatch.setattr(layer, "FastBlockDiag", BlockDiagonals)
    config = BOFTConfig(boft_block_size=4, boft_n_butterfly_factor=factors, target_modules=["even"])
    adapter, before, after = adapt(small_model(), config, tmp_path)
    assert adapter.kinds["base_model.model.even.boft_R"].shape[0] == factors
    assert largest_error(adapter, before, after) < EXACT


@pytest.mark.parametrize("name", ["VeraConfig", "RandLoraConfig"])
def test_projections_that_peft_did_not_save_are_not_made_up(name: str, tmp_path: Path) -> None:
    import peft

    config = getattr(peft, name)(r=5, target_modules=LINEAR, save_projection=False)
    adapter, _, _ = adapt(small_model(), config, tmp_path)
    changes = read_changes(adapter)
    assert len(changes) == 2
    for change in changes.values():
        assert isinstance(change.delta, NoDelta)
        assert "save_projection" in change.delta.reason


def test_adapters_in_half_precision_are_read_exactly(tmp_path: Path) -> None:
    import torch
    from peft import LoHaConfig

    base = small_model().bfloat16()
    adapter, before, after = adapt(
        base, LoHaConfig(target_modules=LINEAR), tmp_path, dtype=torch.bfloat16
    )
    assert {kind.dtype for kind in adapter.kinds.values()} == {"BF16"}
    # PEFT rounds products, their product and the sum to 8 bits each.
    assert largest_error(adapter, before, after) < 0.02
