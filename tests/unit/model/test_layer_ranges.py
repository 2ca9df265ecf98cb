import pytest

from plait.model.layer_ranges import LARGEST_LAYER, LayerRange, find_layer, find_overlap


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [("0", 0, 0), ("31", 31, 31), ("0-3", 0, 3), ("7-7", 7, 7), ("16-", 16, LARGEST_LAYER)],
)
def test_range_holds_both_its_ends(text: str, first: int, last: int) -> None:
    found = LayerRange.parse(text)
    assert (found.first, found.last) == (first, last)
    assert first in found
    assert last in found
    assert first - 1 not in found
    assert last + 1 not in found


@pytest.mark.parametrize(
    "text",
    ["", "-", "-3", "03", "0-03", "3-1", "1,2", "a", "1 - 2", "1--2", "\u0661", "100000", "1\n"],
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a layer's number|ends before"):
        LayerRange.parse(text)


@pytest.mark.parametrize(
    ("texts", "overlap"),
    [
        ([], None),
        (["3"], None),
        (["4-7", "0-3", "8-"], None),
        (["0-3", "3"], ("0-3", "3")),
        (["20", "10-", "0-9"], ("10-", "20")),
        (["0-9", "2", "5"], ("0-9", "2")),
        (["5", "0-9"], ("0-9", "5")),
    ],
)
def test_ranges_that_share_a_layer_are_found(
    texts: list[str], overlap: tuple[str, str] | None
) -> None:
    assert find_overlap(texts) == overlap


@pytest.mark.parametrize(
    ("module", "layer"),
    [
        ("model.layers.3.self_attn.q_proj", 3),
        ("transformer.h.11.attn.c_attn", 11),
        ("model.layers.3.mlp.experts.7.w1", 3),
        ("encoder.block.0.layer.1.DenseReluDense.wi", 0),
        ("model.embed_tokens", None),
        ("lm_head", None),
        ("", None),
        ("lora_unet_down_blocks_0_attentions_1_proj", None),
        ("layers.12345678.x", None),
    ],
)
def test_layer_is_the_first_number_of_the_path(module: str, layer: int | None) -> None:
    assert find_layer(module) == layer
