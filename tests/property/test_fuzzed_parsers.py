"""The parsers of what strangers send, over real documents with bytes that changed on purpose.

Hypothesis builds inputs from nothing; here real ones are damaged, which gets deeper into a parser.
The changes are seeded, so that a failure comes again.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from plait.errors import PlaitError
from plait.model import canonical
from plait.model.base_card import BaseCard
from plait.model.commit import Commit
from plait.model.digesting import digest_file
from plait.model.manifest import Manifest
from plait.model.paths import FilePath
from plait.model.validation import Validation

GOLDEN = Path(__file__).parents[1] / "golden"
ROUNDS = 8_000
INTERESTING = [
    b"",
    b"\x00",
    b"\xff",
    b"\x7f",
    b'"',
    b"{}",
    b"[]",
    b"null",
    b"-1",
    b"1e999",
    b"9223372036854775808",
    b"18446744073709551615",
    b"..",
    b"/",
    b"\\ud800",
    b"NaN",
    b'"__metadata__":{}',
    b"[" * 2_000,
]
"""What parsers of JSON, numbers and paths stumble over."""


def damage(data: bytes, random_source: random.Random) -> bytes:
    """Return the bytes with one to four changes."""
    damaged = bytearray(data)
    for _ in range(random_source.randint(1, 4)):
        at = random_source.randrange(len(damaged) + 1)
        end = min(len(damaged), at + random_source.choice([0, 1, 1, 2, 8, 64]))
        kind = random_source.randrange(5)
        if kind == 0 and at < len(damaged):
            damaged[at] ^= 1 << random_source.randrange(8)
        elif kind == 1:
            damaged[at:end] = random_source.choice(INTERESTING)
        elif kind == 2:
            damaged[at:at] = damaged[at:end]
        elif kind == 3:
            del damaged[at:end]
        else:
            other = random_source.randrange(len(damaged) + 1)
            damaged[at:end] = damaged[other : other + end - at]
    return bytes(damaged)


def read_safetensors(data: bytes) -> None:
    file = digest_file(FilePath("adapter_model.safetensors"), len(data), [data])
    assert file.tensors is not None
    # Whatever is accepted describes every byte of the file, each once.
    begin = 8 + int.from_bytes(data[:8], "little")
    for entry in file.tensors.entries:
        assert entry.offset == begin
        begin += entry.size
    assert begin == len(data)


def read_manifest(data: bytes) -> None:
    # What is accepted is canonical, so that no two byte strings mean one manifest.
    assert Manifest.from_bytes(data).to_bytes() == data


def read_commit(data: bytes) -> None:
    assert Commit.from_bytes(data).to_bytes() == data


def read_validation(data: bytes) -> None:
    Validation.from_json(canonical.loads(data)).to_bytes()


def read_base_card(data: bytes) -> None:
    # Whatever is accepted names the weights that it lists.
    card = BaseCard.from_bytes(data)
    assert BaseCard.from_bytes(card.to_bytes()) == card


def read_canonical(data: bytes) -> None:
    canonical.dumps(canonical.loads(data))


PARSERS: list[tuple[str, str, Callable[[bytes], None]]] = [
    ("safetensors", "weights", read_safetensors),
    ("manifest", "manifests", read_manifest),
    ("commit", "commits", read_commit),
    ("validation", "validations", read_validation),
    ("base card", "base_cards", read_base_card),
    ("canonical", "manifests", read_canonical),
]


@pytest.mark.parametrize(("name", "folder", "read"), PARSERS, ids=[row[0] for row in PARSERS])
def test_damaged_document_is_refused_or_is_still_one(
    name: str, folder: str, read: Callable[[bytes], None]
) -> None:
    seeds = [path.read_bytes() for path in sorted((GOLDEN / folder).iterdir())]
    assert seeds
    for seed in seeds:
        read(seed)
    random_source = random.Random(name)
    refused = 0
    for number in range(ROUNDS):
        damaged = damage(seeds[number % len(seeds)], random_source)
        try:
            read(damaged)
        except PlaitError:
            refused += 1
    # Most damage is noticed; some hits a weight or a message, which may be anything.
    assert refused > ROUNDS // 20
