import hashlib
from typing import Any

import pytest

from plait.errors import InvalidInput
from plait.model.ids import (
    abbreviate,
    hash_bytes,
    parse_commit_id,
    parse_manifest_id,
    parse_object_id,
)

DIGEST = hashlib.sha256(b"plait").hexdigest()


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


def test_object_id_is_the_sha256_of_the_bytes() -> None:
    assert hash_bytes(b"plait") == DIGEST
    assert hash_bytes(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("parse", [parse_object_id, parse_manifest_id, parse_commit_id])
def test_sixty_four_lowercase_hexadecimal_digits_are_an_id(parse: Any) -> None:
    assert parse(DIGEST) == DIGEST


@pytest.mark.parametrize(
    "text",
    [
        "",
        DIGEST[:-1],
        DIGEST + "0",
        DIGEST + "\n",
        DIGEST.upper(),
        "g" * 64,
        "٣" * 64,
        " " + DIGEST[1:],
        "\ud800" * 64,
        "0" * 1_000_000,
        DIGEST.encode(),
        None,
        7,
        True,
        [DIGEST],
        {"sha256": DIGEST},
    ],
)
def test_anything_else_is_no_id_and_the_error_stays_short(text: object) -> None:
    with pytest.raises(InvalidInput, match="64 lowercase hexadecimal digits") as caught:
        parse_object_id(text)
    assert caught.value.kind == "invalid-object-id"
    assert len(caught.value.message) < 200
    caught.value.message.encode()


def test_value_too_deep_to_be_written_out_is_refused_like_any_other() -> None:
    with pytest.raises(InvalidInput, match="A list is not an object id"):
        parse_object_id(nested(100_000))


def test_people_see_twelve_characters() -> None:
    assert abbreviate(DIGEST) == DIGEST[:12]
