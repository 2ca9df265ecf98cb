import pytest

from plait.errors import InvalidInput
from plait.model.ids import ObjectId
from plait.model.manifest import File, Manifest, Tensor, TensorTable
from plait.model.paths import FilePath
from plait.partial import is_selected, select_tensors

NAME = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
DIGEST = ObjectId("0" * 64)


def manifest(*names: str) -> Manifest:
    entries = tuple(Tensor(name, "U8", (1,), 100 + at, 1, DIGEST) for at, name in enumerate(names))
    table = TensorTable(DIGEST, entries)
    return Manifest.of(
        [
            File(FilePath("adapter_config.json"), 2, DIGEST, None),
            File(FilePath("x.safetensors"), 100 + len(names), DIGEST, table),
        ]
    )


@pytest.mark.parametrize(
    "pattern",
    ["layers.0.*", "layers.0", "*q_proj*", "q_proj", "*", NAME, "layers.[01].*", "lora_A.weight"],
)
def test_pattern_selects(pattern: str) -> None:
    assert is_selected(NAME, [pattern])


@pytest.mark.parametrize("pattern", ["layers.1.*", "ayers.0", "q_pro", "lora_A.WEIGHT", ""])
def test_pattern_does_not_select(pattern: str) -> None:
    assert not is_selected(NAME, [pattern])


def test_selection_keeps_the_order_of_the_file() -> None:
    (selection,) = select_tensors(manifest("l.2.a", "l.0.a", "m.a"), ["l.*"])
    assert [tensor.name for tensor in selection.tensors] == ["l.2.a", "l.0.a"]


def test_no_match_names_some_of_what_is_there() -> None:
    names = [f"layers.{number}.weight" for number in range(20)]
    with pytest.raises(InvalidInput, match=r"20 tensors: layers\.0\.weight, .*\.\.\.") as caught:
        select_tensors(manifest(*names), ["nothing"])
    assert caught.value.kind == "tensor-not-found"
