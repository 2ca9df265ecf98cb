import json
from typing import Any

import pytest

from plait.errors import InvalidInput, TooLarge
from plait.model import canonical
from plait.model.base_card import FILE_NAME, LARGEST_CARD, BaseCard
from plait.model.base_version import is_base, verify_base_files, verify_weights
from plait.model.commit import Base
from plait.model.digesting import digest_file
from plait.model.ids import hash_bytes
from plait.model.manifest import File, Manifest
from plait.model.paths import FilePath
from reference.bases import TENSORS, fingerprint_by_hand, make_card
from reference.safetensors_writer import Content, write


def manifest_of(files: dict[str, bytes]) -> Manifest:
    return Manifest.of(
        digest_file(FilePath(path), len(data), [data]) for path, data in files.items()
    )


def with_weights(tensors: dict[str, Content]) -> Manifest:
    return manifest_of({FILE_NAME: b"{}", "model.safetensors": write(tensors)})


def test_fingerprint_is_that_of_the_sorted_lines() -> None:
    card = make_card()
    assert card.fingerprint == fingerprint_by_hand(TENSORS)
    assert card.base == Base("org/base", None, card.fingerprint)
    assert card.size == 24 + 32 + 8


def test_order_of_the_tensors_does_not_count() -> None:
    assert make_card(dict(reversed(TENSORS.items()))) == make_card()


def test_card_is_read_as_it_was_written() -> None:
    card = make_card(
        revision="r1",
        quantization={"quant_method": "gptq", "bits": 4},
        tied={"lm_head.weight": "embed_tokens.weight"},
    )
    assert BaseCard.from_bytes(card.to_bytes()) == card
    assert BaseCard.from_bytes(card.to_bytes()).quantization == card.quantization
    indented = json.dumps(card.to_json(), indent=2).encode()
    assert BaseCard.from_bytes(indented).to_bytes() == card.to_bytes()
    assert canonical.loads(card.to_bytes())["dtype"] == "F32"


def test_dtype_is_what_most_elements_are_stored_in() -> None:
    mixed: dict[str, Content] = {
        "a": ("F32", (2,), bytes(8)),
        "b": ("BF16", (3,), bytes(6)),
        "c": ("F32", (1,), bytes(4)),
    }
    assert make_card(mixed).dtype == "BF16"


def change(path: list[Any], value: Any) -> bytes:
    document = make_card(tied={"lm_head.weight": "embed_tokens.weight"}).to_json()
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (["format"], "plait.base/2", "format"),
        (["fingerprint"], "0" * 64, "fingerprint"),
        (["fingerprint"], None, "fingerprint"),
        (["dtype"], "BF16", "dtype"),
        (["name"], "", "name"),
        (["name"], "a\nb", "name"),
        (["name"], "x" * 501, "name"),
        (["revision"], "", "revision"),
        (["tensors"], [], "no tensors"),
        (["tensors", 0, "name"], "zzz", "sorted"),
        (["tensors", 1, "name"], "embed_tokens.weight", "sorted"),
        (["tensors", 0, "sha256"], "0" * 64, "fingerprint"),
        (["tensors", 0, "sha256"], "0", "object id"),
        (["tensors", 0, "dtype"], "F33", "dtype"),
        (["tensors", 0, "shape"], [3, -2], "shape"),
        (["tensors", 0, "shape"], [True], "shape"),
        (["tensors", 0, "shape"], [2**60, 2**60], "shape"),
        (["tensors", 0, "more"], 1, "more"),
        (["more"], 1, "more"),
        (["quantization"], [], "quantization"),
        (["tied"], {"lm_head.weight": 1}, "tied"),
        (["tied"], {"lm_head.weight": "absent"}, "ties"),
        (["tied"], {"norm.weight": "embed_tokens.weight"}, "ties"),
    ],
)
def test_card_that_breaks_a_rule_is_refused(path: list[Any], value: Any, told: str) -> None:
    with pytest.raises(InvalidInput, match=told) as caught:
        BaseCard.from_bytes(change(path, value))
    assert caught.value.kind in {"invalid-base-card", "invalid-object-id"}


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"format": 1}', b"\xff"])
def test_bytes_that_are_no_card_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        BaseCard.from_bytes(data)
    assert caught.value.kind == "invalid-base-card"


def test_huge_card_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(TooLarge):
        BaseCard.from_bytes(b" " * (LARGEST_CARD + 1))


def test_name_with_a_line_break_has_no_fingerprint() -> None:
    digest = hash_bytes(b"")
    with pytest.raises(InvalidInput, match="line break"):
        make_card({f"a U8 [0] {digest}\nb": ("U8", (0,), b"")})


def test_version_with_a_card_is_a_base_unless_it_is_an_adapter() -> None:
    assert is_base(manifest_of({FILE_NAME: b"{}"}))
    assert not is_base(manifest_of({"inner/plait_base.json": b"{}"}))
    assert not is_base(manifest_of({FILE_NAME: b"{}", "adapter_config.json": b"{}"}))


def test_weights_in_a_folder_of_their_own_are_refused() -> None:
    with pytest.raises(InvalidInput, match="folder"):
        verify_base_files(manifest_of({FILE_NAME: b"{}", "a/model.safetensors": write(TENSORS)}))


def test_base_that_is_a_stack_as_well_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"stack\.json"):
        verify_base_files(manifest_of({FILE_NAME: b"{}", "stack.json": b"{}"}))


def test_card_over_the_limit_is_refused_by_its_manifest() -> None:
    card = File(FILE_NAME, LARGEST_CARD + 1, hash_bytes(b""), None)
    with pytest.raises(InvalidInput, match="bytes"):
        verify_base_files(Manifest.of([card]))


def test_weights_of_the_card_and_none_at_all_are_fine() -> None:
    verify_weights(make_card(), with_weights(TENSORS))
    verify_weights(make_card(), manifest_of({FILE_NAME: b"{}"}))
    spread = {
        FILE_NAME: b"{}",
        **{f"{number}.safetensors": write({k: v}) for number, (k, v) in enumerate(TENSORS.items())},
    }
    verify_weights(make_card(), manifest_of(spread))


def test_every_flipped_bit_of_the_weights_is_named() -> None:
    name = "layers.0.q_proj.weight"
    dtype, shape, data = TENSORS[name]
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InvalidInput, match=r"q_proj\.weight.*other bytes") as caught:
            verify_weights(
                make_card(), with_weights({**TENSORS, name: (dtype, shape, bytes(flipped))})
            )
        assert caught.value.details["tensor"] == name


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ({k: v for k, v in TENSORS.items() if k != "norm.weight"}, r"norm\.weight.*in no file"),
        ({**TENSORS, "extra": ("U8", (1,), b"a")}, "extra.*not in"),
        ({**TENSORS, "norm.weight": ("U8", (8,), TENSORS["norm.weight"][2])}, "dtype or shape"),
    ],
)
def test_other_tensors_than_the_cards_are_named(weights: dict[str, Content], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        verify_weights(make_card(), with_weights(weights))


def test_tensor_in_two_files_is_named() -> None:
    twice = {FILE_NAME: b"{}", "a.safetensors": write(TENSORS), "b.safetensors": write(TENSORS)}
    with pytest.raises(InvalidInput, match="two files"):
        verify_weights(make_card(), manifest_of(twice))
