from pathlib import Path
from typing import Any

import pytest

from plait.base_folder import make_card as card_of_folder
from plait.base_match import read_adapter_folder
from plait.fingerprint import digest_weights, list_weights
from plait.model.base_card import BaseCard
from plait.model.base_fit import Shape, compare_shapes
from plait.model.commit import Base
from reference.bases import TENSORS, make_card
from reference.safetensors_writer import Content

Q = "base_model.model.layers.0.q_proj"  # 4 x 2 in the base


def fit(adapter: dict[str, Shape], **facts: Any) -> tuple[str, ...]:
    return compare_shapes(adapter, make_card(**facts)).misfits


@pytest.mark.parametrize(
    "adapter",
    [
        {f"{Q}.lora_A.weight": (8, 2), f"{Q}.lora_B.weight": (4, 8)},
        {f"{Q}.lora_A.weight": (8, 4), f"{Q}.lora_B.weight": (2, 8)},  # stored transposed
        {f"{Q}.lora_A.weight": (1, 2)},
        {f"{Q}.hada_w1_a": (4, 8), f"{Q}.hada_w1_b": (8, 2)},
        {f"{Q}.vera_lambda_b": (4,), "base_model.vera_A": (256, 99)},
        {f"{Q}.ia3_l": (4, 1)},
        {f"{Q}.weight": (4, 2)},
        {f"{Q}.base_layer.weight": (4, 2), f"{Q}.lora_magnitude_vector": (4,)},
        {"base_model.model.embed_tokens.lora_embedding_A": (8, 3)},
        {"base_model.model.embed_tokens.lora_embedding_B": (2, 8)},
        {"base_model.model.norm.weight": (2,)},
    ],
)
def test_adapter_of_the_bases_shapes_fits(adapter: dict[str, Shape]) -> None:
    found = compare_shapes(adapter, make_card())
    assert found.misfits == ()
    assert found.is_possible


@pytest.mark.parametrize(
    ("adapter", "told"),
    [
        ({f"{Q}.lora_A.weight": (8, 3)}, "q_proj.weight has the shape [4,2], not [any,3]"),
        ({f"{Q}.lora_B.weight": (5, 8)}, "q_proj.weight has the shape [4,2], not [5,any]"),
        ({f"{Q}.lora_A.weight": (8, 2), f"{Q}.lora_B.weight": (2, 8)}, "not [2,2]"),
        ({f"{Q}.weight": (2, 4)}, "q_proj.weight has the shape [4,2], not [2,4]"),
        ({f"{Q}.bias": (4,)}, "q_proj.bias has the shape none, not [4]"),
        ({"base_model.model.layers.1.q_proj.lora_A.weight": (8, 2)}, "no module layers.1.q_proj"),
        ({"base_model.model.embed_tokens.lora_embedding_A": (8, 9)}, "embed_tokens.weight"),
    ],
)
def test_what_does_not_fit_is_named(adapter: dict[str, Shape], told: str) -> None:
    (misfit,) = fit(adapter)
    assert told in misfit


def test_tied_head_has_the_shape_of_what_it_is() -> None:
    head: dict[str, Shape] = {"base_model.model.lm_head.lora_B.weight": (3, 8)}
    assert fit(head) == ("the base has no module lm_head",)
    assert fit(head, tied={"lm_head.weight": "embed_tokens.weight"}) == ()


def test_packed_weights_are_compared_by_name_alone() -> None:
    packed: dict[str, Content] = {**TENSORS, "layers.0.q_proj.weight": ("U8", (4, 1), bytes(4))}
    card = make_card(packed, quantization={"quant_method": "bitsandbytes"})
    assert compare_shapes({f"{Q}.lora_A.weight": (8, 2)}, card).is_possible
    assert not compare_shapes({f"{Q[:-6]}k_proj.lora_A.weight": (8, 2)}, card).is_possible


def test_prompt_tells_nothing() -> None:
    found = compare_shapes({"prompt_embeddings": (20, 64)}, make_card())
    assert (found.compared, found.misfits, found.is_possible) == (0, (), False)


def card_of(folder: Path) -> BaseCard:
    tables = digest_weights(list_weights(folder)).values()
    return card_of_folder(folder, [it for table in tables for it in table.entries], Base("x"))


def test_every_adapter_of_the_zoo_fits_its_base_and_not_the_other(
    zoo_data: Path, micro_data: Path
) -> None:
    own, other = card_of(zoo_data / "base"), card_of(micro_data / "base")
    compared = 0
    for folder in sorted((zoo_data / "adapters").rglob("adapter_config.json")):
        shapes = read_adapter_folder(folder.parent).tensors
        found = compare_shapes(shapes, own)
        assert found.misfits == (), folder.parent.name
        if found.compared:
            compared += 1
            # Families whose tensors tell no length of the weight differ in the layers' number.
            assert compare_shapes(shapes, other).misfits, folder.parent.name
    assert compared >= 15
