"""LoRA and its relatives against PEFT's own merge: real adapters, and small models for the rest."""

import copy
import json
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plait.adapter_folder import open_adapter, open_base
from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import LowRank, Matrix, NoDelta
from plait.algebra.dense_delta import multiply_out
from plait.algebra.families import read_changes
from plait.algebra.families.resolve import orient, resolve

pytestmark = pytest.mark.torch

ZOO = [
    "cpp-adalora",
    "cpp-dora-r8",
    "cpp-lora-embed",
    "cpp-lora-modules-to-save",
    "cpp-lora-r8/v4",
    "prose-lora-r16-bf16/v3",
    "prose-lora-rankpattern",
    "tests-rslora-r32",
]
MICRO = ["cpp/v1", "cpp/v3", "prose/v2", "tests"]
ROUNDING = 4e-7
"""Of PEFT's float32 against float64, relative to the weights."""
ROUNDING_OF_SVD = 4e-6
"""The same, where PEFT takes the weight apart by LAPACK in float32."""


@pytest.fixture(autouse=True)
def quiet_peft() -> Iterator[None]:
    """PEFT warns of what the tests do on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def weights_of(model: Any) -> dict[str, Any]:
    return {name: tensor.detach().clone().numpy() for name, tensor in model.state_dict().items()}


def verify_merge(
    adapter: AdapterTensors,
    before: dict[str, Any],
    after: dict[str, Any],
    *,
    tolerance: float = ROUNDING,
) -> list[str]:
    """Check that every module changes as PEFT changed it; return the modules with a delta."""
    changes = read_changes(adapter)
    changed = [module for module in changes if changes[module].delta is not None]
    for module in changed:
        delta = resolve(
            adapter.label, changes[module], partial(before.__getitem__, f"{module}.weight")
        )
        dense = multiply_out(delta) if isinstance(delta, LowRank) else delta.compute()
        old, new = (orient(state[f"{module}.weight"], delta.placement) for state in (before, after))
        assert size(dense) > 1e-3 * size(new)
        assert size(old + dense - new) < tolerance * size(new), module
    untouched = before.keys() - {f"{module}.weight" for module in changed}
    verify_replacements(adapter, before, after, untouched)
    return changed


def verify_replacements(
    adapter: AdapterTensors, before: dict[str, Any], after: dict[str, Any], rest: set[str]
) -> None:
    """Check that all other weights are the base's or the adapter's own."""
    changes = read_changes(adapter)
    replaced = {
        f"{module}.{part.removeprefix('base_layer.')}": name
        for module in changes
        for part, name in changes[module].replacements.items()
    }
    biases = {f"{module}.bias": changes[module].bias for module in changes}
    for name in rest:
        expected = adapter.read(replaced[name]) if name in replaced else before[name]
        bias = biases.get(name)
        if bias is not None:
            expected = expected + bias
        np.testing.assert_allclose(after[name], expected, rtol=1e-6, atol=1e-6, err_msg=name)


def size(matrix: Matrix) -> float:
    return float(np.sqrt((np.asarray(matrix, np.float64) ** 2).sum()))


@pytest.mark.parametrize("name", [*ZOO, *(f"micro:{name}" for name in MICRO)])
def test_trained_adapters_change_their_base_as_peft_merges_them(
    name: str, request: pytest.FixtureRequest
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    data: Path = request.getfixturevalue("micro_data" if "micro:" in name else "zoo_data")
    folder = data / "adapters" / name.removeprefix("micro:")
    base = AutoModelForCausalLM.from_pretrained(data / "base", dtype=torch.float32)
    before = weights_of(base)
    after = weights_of(PeftModel.from_pretrained(base, folder).merge_and_unload())
    if name == "cpp-lora-embed":
        # The head shares its memory with the embedding, so PEFT's merge changes it as well.
        after["lm_head.weight"] = before["lm_head.weight"]
    assert verify_merge(open_adapter(name, folder), before, after)


def test_the_copy_of_a_base_embedding_is_known_as_such(zoo_data: Path) -> None:
    adapter = open_adapter("embed", zoo_data / "adapters" / "cpp-lora-embed")
    change = read_changes(adapter)["model.embed_tokens"]
    assert isinstance(change.delta, LowRank)
    name = change.replacements["base_layer.weight"]
    assert name not in change.names
    base = open_base(zoo_data / "base").read_weight("model.embed_tokens")
    assert np.array_equal(adapter.read(name), base)


def test_a_bias_that_peft_cannot_merge_is_what_its_factors_add(zoo_data: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = zoo_data / "adapters" / "prose-lora-bias"
    base = AutoModelForCausalLM.from_pretrained(zoo_data / "base", dtype=torch.float32)
    model = PeftModel.from_pretrained(base, folder)
    with pytest.raises(RuntimeError, match="base layer has no bias"):
        model.merge_and_unload()
    changes = read_changes(open_adapter("prose", folder))
    layers = {
        name.removeprefix("base_model.model."): layer
        for name, layer in model.named_modules()
        if hasattr(layer, "get_delta_weight")
    }
    assert layers.keys() == changes.keys()
    for module, layer in layers.items():
        change = changes[module]
        assert isinstance(change.delta, LowRank)
        assert change.bias is not None
        delta = layer.get_delta_weight("default").detach().numpy()
        np.testing.assert_allclose(multiply_out(change.delta), delta, rtol=1e-4, atol=1e-7)
        bias = (layer.lora_B["default"].bias * layer.scaling["default"]).detach().numpy()
        np.testing.assert_allclose(change.bias, bias, rtol=1e-6)
        assert size(change.bias) > 0


def test_peft_loads_pissa_by_a_random_search_onto_another_base_each_time(zoo_data: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = zoo_data / "adapters" / "prose-pissa"
    states = []
    for seed in range(2):
        base = AutoModelForCausalLM.from_pretrained(zoo_data / "base", dtype=torch.float32)
        before = weights_of(base)
        torch.manual_seed(seed)
        states.append(weights_of(PeftModel.from_pretrained(base, folder).merge_and_unload()))
    changes = read_changes(open_adapter("prose-pissa", folder))
    assert len(changes) == 12
    for module, change in changes.items():
        one, other = (state[f"{module}.weight"] for state in states)
        assert size(one - other) > 0.3 * size(one - before[f"{module}.weight"])
        assert isinstance(change.delta, NoDelta)
        assert "pissa_niter_4" in change.delta.reason
        assert change.delta.product is not None


TARGETS = ["linear", "conv1d", "conv2d", "conv3d", "pointwise", "embed", "gpt"]
LINEAR = {"target_modules": ["linear"]}


def small_model() -> Any:
    import torch
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(5)
    return nn.ModuleDict(
        {
            "linear": nn.Linear(150, 16),
            "conv1d": nn.Conv1d(4, 8, 3),
            "conv2d": nn.Conv2d(4, 8, 3),
            "conv3d": nn.Conv3d(3, 8, (2, 2, 3)),
            "pointwise": nn.Conv2d(6, 10, 1),
            "embed": nn.Embedding(30, 16),
            "gpt": Conv1D(12, 20),
            "norm": nn.LayerNorm(16),
        }
    )


def adapted_by_peft(base: Any, **options: Any) -> Any:
    """Return a model with an adapter of random numbers, as if it had been trained."""
    import torch
    from peft import LoraConfig, get_peft_model

    config = {"r": 4, "lora_alpha": 6, **options}
    model = get_peft_model(base, LoraConfig(**config))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "magnitude" in name:
                parameter.mul_(torch.rand_like(parameter) + 0.5)
            elif "lora_" in name:
                parameter.normal_(std=0.3)
    return model.eval()


def merged_by_peft(tmp_path: Path, **options: Any) -> tuple[AdapterTensors, dict[str, Any], Any]:
    """Return an adapter that PEFT saved, and the weights before it came and after its merge."""
    base = small_model()
    before = weights_of(base)
    model = adapted_by_peft(base, **options)
    model.save_pretrained(tmp_path)
    adapter = open_adapter("small", tmp_path)
    return adapter, before, weights_of(model.merge_and_unload())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"linear": 6, "conv2d": 2}, "alpha_pattern": {"embed": 1}},
        {"use_dora": True},
        {"use_dora": True, "use_rslora": True, "rank_pattern": {"embed": 7}},
        {"lora_bias": True, "target_modules": [name for name in TARGETS if name != "embed"]},
        {"modules_to_save": ["norm"], "bias": "all"},
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": "orthogonal", **LINEAR},
        {"init_lora_weights": "mica", "target_modules": ["linear", "embed"]},
    ],
    ids=str,
)
def test_every_kind_of_module_changes_as_peft_merges_it(
    options: dict[str, Any], tmp_path: Path
) -> None:
    options = {"target_modules": TARGETS, **options}
    # A plain linear module beside GPT-2's makes PEFT forget how that one is stored.
    if "gpt" in options["target_modules"]:
        for targets in (["gpt"], [name for name in options["target_modules"] if name != "gpt"]):
            chosen = {**options, "target_modules": targets, "fan_in_fan_out": targets == ["gpt"]}
            folder = tmp_path / targets[0]
            assert sorted(verify_merge(*merged_by_peft(folder, **chosen))) == sorted(targets)
    else:
        assert verify_merge(*merged_by_peft(tmp_path, **options))


def test_variants_that_differ_in_training_alone_are_plain(tmp_path: Path) -> None:
    from peft import VeloraConfig
    from peft.tuners.lora.config import MontecloraConfig

    for number, options in enumerate(
        ({"velora_config": VeloraConfig(num_groups=2)}, {"monteclora_config": MontecloraConfig()})
    ):
        adapter, *weights = merged_by_peft(tmp_path / str(number), **LINEAR, **options)
        assert isinstance(read_changes(adapter)["linear"].delta, LowRank)
        assert verify_merge(adapter, *weights) == ["linear"]


def test_kasa_cuts_the_base_before_it_adds(tmp_path: Path) -> None:
    from peft import KasaConfig

    adapter, *weights = merged_by_peft(tmp_path, **LINEAR, kasa_config=KasaConfig())
    assert verify_merge(adapter, *weights, tolerance=ROUNDING_OF_SVD) == ["linear"]


@pytest.mark.parametrize("targets", [["linear"], ["gpt"]])
@pytest.mark.parametrize("variant", [{}, {"use_dora": True}], ids=str)
def test_pissa_without_chance_is_reproduced_to_rounding(
    targets: list[str], variant: dict[str, Any], tmp_path: Path
) -> None:
    options = {"target_modules": targets, "fan_in_fan_out": targets == ["gpt"], **variant}
    adapter, *weights = merged_by_peft(tmp_path, **options, init_lora_weights="pissa")
    assert verify_merge(adapter, *weights, tolerance=ROUNDING_OF_SVD) == targets
    if not variant:
        weight = weights[0][f"{targets[0]}.weight"]
        delta = resolve("small", read_changes(adapter)[targets[0]], lambda: weight)
        assert isinstance(delta, LowRank)
        assert delta.rank == 8


def test_inits_that_change_linear_weights_leave_embeddings_alone(tmp_path: Path) -> None:
    options = {"target_modules": ["embed"], "init_lora_weights": "pissa"}
    adapter, *weights = merged_by_peft(tmp_path, **options)
    assert isinstance(read_changes(adapter)["embed"].delta, LowRank)
    assert verify_merge(adapter, *weights) == ["embed"]


def test_a_convolution_in_groups_has_no_delta(tmp_path: Path) -> None:
    from torch import nn

    model = adapted_by_peft(
        nn.ModuleDict({"grouped": nn.Conv2d(8, 12, 3, groups=4)}), target_modules=["grouped"]
    )
    model.save_pretrained(tmp_path)
    delta = read_changes(open_adapter("small", tmp_path))["grouped"].delta
    assert isinstance(delta, NoDelta)
    assert "groups" in delta.reason
    with pytest.raises(NotImplementedError):
        model.merge_and_unload()


def test_adalora_after_pruning_changes_as_peft_merges_it(tmp_path: Path) -> None:
    import torch
    from peft import AdaLoraConfig, PeftModel, get_peft_model

    base = small_model()
    before = weights_of(base)
    config = AdaLoraConfig(init_r=6, target_r=4, total_step=10, lora_alpha=3, **LINEAR)
    model = get_peft_model(copy.deepcopy(base), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_()
    kept = [True, False, True, True, False, True]
    model.peft_config["default"].rank_pattern = {"linear.lora_E": kept}
    model.base_model.resize_modules_by_rank_pattern(
        {"linear.lora_E": kept}, model.trainable_adapter_name
    )
    model.save_pretrained(tmp_path)
    adapter = open_adapter("small", tmp_path)
    assert adapter.config.rank_of("linear") == 4
    after = weights_of(PeftModel.from_pretrained(base, tmp_path).merge_and_unload())
    assert verify_merge(adapter, before, after) == ["linear"]


@pytest.mark.parametrize(
    ("options", "least_error"),
    [
        ({}, 0.0),
        ({"use_rslora": True}, 0.9),
        ({"use_dora": True}, 0.2),
        ({"lora_bias": True}, 0.0),
    ],
    ids=["plain", "rslora", "dora", "lora_bias"],
)
def test_what_add_weighted_adapter_gets_wrong_with_one_adapter_of_weight_one_is_right_here(
    options: dict[str, Any], least_error: float, tmp_path: Path
) -> None:
    import torch

    base = small_model()
    before = weights_of(base)
    model = adapted_by_peft(base, **LINEAR, **options)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        model.add_weighted_adapter(["default"], [1.0], "combined", combination_type="linear")
    merged = {
        name: weights_of(copy.deepcopy(model).merge_and_unload(adapter_names=[name]))
        for name in ("default", "combined")
    }
    right, wrong = merged["default"], merged["combined"]
    assert verify_merge(open_adapter("small", tmp_path), before, right) == ["linear"]
    error = size(wrong["linear.weight"] - right["linear.weight"])
    step = size(right["linear.weight"] - before["linear.weight"])
    assert error >= least_error * step
    assert (error > 1e-5 * step) == (least_error > 0)
    bias_is_lost = size(wrong["linear.bias"] - right["linear.bias"]) > 0.1
    assert bias_is_lost == ("lora_bias" in options)


def test_peft_saves_what_the_families_read(tmp_path: Path) -> None:
    merged_by_peft(tmp_path, **LINEAR, use_dora=True)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["use_dora"] is True
    names = open_adapter("small", tmp_path).kinds
    assert {name.rpartition("linear.")[2] for name in names} == {
        "lora_A.weight",
        "lora_B.weight",
        "lora_magnitude_vector",
    }
