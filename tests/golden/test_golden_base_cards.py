"""Base cards as the first version wrote them; every later one must read them the same.

They are never written anew: when the format grows, files of the new form are added beside them.
"""

from pathlib import Path

import pytest

from plait.fingerprint import fingerprint_base
from plait.model.base_card import BaseCard
from plait.model.commit import Base
from plait.model.ids import hash_bytes

GOLDEN = Path(__file__).parent / "base_cards"
IDS = {
    "micro": "881197d0829ee594d1d8d0332c688380ab71712b52e5ae5fbfe4b592894c3051",
    "quantised": "19e13758c50bd0abc327d61ced6a043af90869cf5e3b9bb04b95705cf42b4b03",
}
MICRO = "632314925d0c96ad80dbba872bc722676ab94e8f56d7630aca20a95ba417ed24"


def read(name: str) -> BaseCard:
    return BaseCard.from_bytes((GOLDEN / f"{name}.json").read_bytes())


def test_every_golden_file_has_its_id() -> None:
    assert {path.stem: hash_bytes(path.read_bytes()) for path in GOLDEN.iterdir()} == IDS


@pytest.mark.parametrize("name", IDS)
def test_golden_card_is_written_again_the_same(name: str) -> None:
    assert hash_bytes(read(name).to_bytes()) == IDS[name]


def test_golden_card_is_that_of_the_demo_base(micro_data: Path) -> None:
    card = read("micro")
    assert card.base == Base("micro/base", "r1", fingerprint_base(micro_data / "base"))
    assert card.fingerprint == MICRO
    assert (card.dtype, len(card.tensors), card.size) == ("BF16", 38, 2_001_152)
    assert card.tied == {"lm_head.weight": "model.embed_tokens.weight"}
    assert card.quantization is None


def test_golden_card_of_a_quantised_base_means_what_it_meant() -> None:
    card = read("quantised")
    assert card.quantization == {
        "quant_method": "bitsandbytes",
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
    }
    assert [tensor.shape for tensor in card.tensors] == [(4, 1), (1,), ()]
    assert (card.name, card.revision, card.dtype) == ("org/quantised", None, "U8")
