"""Whole tensors that inputs bring along: kept, refused, chosen or averaged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.outcome import EncodedTensor
from plait.errors import InvalidInput
from reference.compositions import adapter, carry_out, factors, plan, values

Q, NORM = "layers.0.q_proj", "layers.0.norm"


def whole(label: str, tensors: dict[str, ArrayLike], dtype: str = "F32", **config: Any) -> Any:
    """Return a LoRA with these tensors beside its factors."""
    b, a = factors(len(label), 4, 2, 6)
    held = {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b, **tensors}
    return adapter(label, held, dtype, r=2, lora_alpha=2, modules_to_save=["norm"], **config)


def norm(label: str, numbers: ArrayLike, dtype: str = "F32") -> AdapterTensors:
    found: AdapterTensors = whole(label, {f"{NORM}.weight": numbers}, dtype)
    return found


def saved(inputs: Any, *, part: str = f"{NORM}.weight", **fields: Any) -> EncodedTensor:
    """Return the tensor of the outcome that is called `part`."""
    modules = carry_out(plan("concat", inputs, fields=fields))
    tensors = [tensor for module in modules.values() for tensor in module.tensors]
    (found,) = [tensor for tensor in tensors if tensor.name == f"base_model.model.{part}"]
    return found


def refuse(inputs: Any, **fields: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        saved(inputs, **fields)
    return caught.value


def test_tensor_of_one_input_is_kept_bit_for_bit_whatever_its_weight() -> None:
    one = norm("team/one@1", [1.5, -0.0, 3.25], "F16")
    b, a = factors(3, 4, 2, 6)
    other = adapter("t/two@2", {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b}, r=2)
    found = saved([(one, 0.3), (other, 1.0)])
    assert (found.dtype, found.shape) == ("F16", (3,))
    assert found.data == np.array([1.5, -0.0, 3.25], "<f2").tobytes()


def test_equal_tensors_are_kept_though_dtypes_differ() -> None:
    inputs = [(norm("team/one@1", [1.5, 2.0]), 0.3), (norm("t/two@2", [1.5, 2.0], "BF16"), 0.7)]
    assert saved(inputs).dtype == "F32"


def test_tensors_that_are_known_to_be_equal_are_not_read_again() -> None:
    one, two = norm("team/one@1", [1.0, 2.0]), norm("t/two@2", [1.0, 2.0])
    name = f"base_model.model.{NORM}.weight"

    def read(wanted: str) -> Any:
        assert wanted != name
        return two.read(wanted)

    digests = {name: "3fa9"}
    inputs = [(replace(one, digests=digests), 1.0), (replace(two, read=read, digests=digests), 1.0)]
    assert np.array_equal(values(saved(inputs)), [1.0, 2.0])


def test_same_bytes_of_another_dtype_are_other_numbers() -> None:
    # 0x3C00 is 1 in F16 and 0.0078125 in BF16.
    one, two = norm("team/one@1", [1.0], "F16"), norm("t/two@2", [0.0078125], "BF16")
    name = f"base_model.model.{NORM}.weight"
    assert one.read_bytes(name) == two.read_bytes(name)
    inputs = [(replace(item, digests={name: "3fa9"}), 1.0) for item in (one, two)]
    assert refuse(inputs).kind == "saved-modules-conflict"


DIFFERENT = [
    (norm("team/one@1", [1.0, 2.0, 4.0]), 0.75),
    (norm("t/two@2", [2.0, 2.0, -4.0]), 0.25),
]


def test_different_tensors_are_refused_by_input_and_module() -> None:
    error = refuse(DIFFERENT)
    assert error.kind == "saved-modules-conflict"
    assert error.message.startswith(f"team/one@1 and t/two@2 each hold their own {NORM}.weight")
    assert error.details == {"module": NORM, "part": "weight"}


def test_first_input_that_has_one_decides_where_the_recipe_says_so() -> None:
    found = saved(DIFFERENT, saved_modules="first")
    assert np.array_equal(values(found), [1.0, 2.0, 4.0])
    found = saved(DIFFERENT[::-1], saved_modules="first")
    assert np.array_equal(values(found), [2.0, 2.0, -4.0])


def test_mean_is_by_the_weights_of_those_that_hold_it() -> None:
    found = saved(DIFFERENT, saved_modules="average")
    assert np.array_equal(values(found), [1.25, 2.0, 2.0])
    b, a = factors(3, 4, 2, 6)
    other = adapter("a/none@3", {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b}, r=2)
    # An input without one has no say in it.
    assert saved([*DIFFERENT, (other, 5.0)], saved_modules="average") == found


def test_mean_is_by_the_weights_in_that_module() -> None:
    first = {"weight": 1.0, "modules": {"norm": 3.0}}
    found = saved([(DIFFERENT[0][0], first), (DIFFERENT[1][0], 1.0)], saved_modules="average")
    assert np.array_equal(values(found), [1.25, 2.0, 2.0])


def test_mean_is_rounded_once_to_the_first_dtype() -> None:
    inputs = [(norm("team/one@1", [1.0], "BF16"), 1.0), (norm("t/two@2", [1.0078125]), 2.0)]
    found = saved(inputs, saved_modules="average")
    assert found.dtype == "BF16"
    assert np.array_equal(values(found), [1.0078125])


@pytest.mark.parametrize(
    "inputs",
    [
        [(norm("team/one@1", [1.0, 2.0]), 1.0), (norm("t/two@2", [1.0, 2.0, 3.0]), 1.0)],
        [(norm("team/one@1", [1.0, 2.0]), 1.0), (norm("t/two@2", [2.0, 2.0]), -1.0)],
        [(norm("team/one@1", [1.0], "F64"), 1.0), (norm("t/two@2", [2.0], "F64"), 1.0)],
    ],
)
def test_tensors_without_a_mean_are_refused(inputs: Any) -> None:
    error = refuse(inputs, saved_modules="average")
    assert error.kind == "saved-modules-conflict"
    assert f"team/one@1 and t/two@2 hold {NORM}.weight" in error.message
    assert "--saved-modules first" in error.message


@pytest.mark.parametrize("choice", ["refuse", "first", "average"])
def test_number_that_is_not_finite_is_refused_by_input_and_tensor(choice: str) -> None:
    spoilt = norm("team/bad@1", [1.0, np.nan], "F64")
    for inputs in ([(spoilt, 1.0)], [(spoilt, 1.0), (norm("t/two@2", [1.0, 2.0]), 1.0)]):
        error = refuse(inputs, saved_modules=choice)
        assert error.kind == "tensor-not-finite"
        assert error.details["input"] == "team/bad@1"
        assert error.details["module"] == NORM


def test_ln_tuning_gets_the_names_that_a_lora_has_for_it() -> None:
    part = f"{NORM}.ln_tuning_layers.weight"
    tuned = adapter("a/ln@1", {part: [1.0, 2.0]}, peft_type="LN_TUNING")
    b, a = factors(3, 4, 2, 6)
    other = adapter("t/two@2", {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b}, r=2)
    assert np.array_equal(values(saved([(tuned, 1.0), (other, 1.0)])), [1.0, 2.0])


def test_bias_of_the_base_is_one_with_and_without_an_adapter_around_it() -> None:
    b, a = factors(3, 4, 2, 6)
    around = {f"{Q}.lora_A.weight": a, f"{Q}.lora_B.weight": b, f"{Q}.base_layer.bias": np.ones(4)}
    one = adapter("team/one@1", around, r=2, bias="all")
    rest = {"layers.1.q_proj.lora_A.weight": a, "layers.1.q_proj.lora_B.weight": b}
    two = adapter("t/two@2", {f"{Q}.bias": np.zeros(4), **rest}, r=2, bias="all")
    inputs = [(two, 0.25), (one, 0.75)]
    part = f"{Q}.base_layer.bias"
    assert refuse(inputs, part=part).kind == "saved-modules-conflict"
    found = saved(inputs, part=part, saved_modules="average")
    assert np.array_equal(values(found), [0.75] * 4)
