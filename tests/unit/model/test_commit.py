from collections.abc import Callable
from typing import Any

import pytest

from plait.errors import InvalidInput
from plait.model import canonical
from plait.model.commit import (
    LARGEST_COMMIT,
    LONGEST_MESSAGE,
    Base,
    Commit,
    Origin,
    OriginKind,
    Person,
)
from plait.model.ids import CommitId, ManifestId, hash_bytes

MANIFEST = ManifestId(hash_bytes(b"manifest"))
PARENT = CommitId(hash_bytes(b"parent"))
OTHER = CommitId(hash_bytes(b"other"))


def document() -> dict[str, Any]:
    return {
        "format": "plait.commit/1",
        "manifest": MANIFEST,
        "parents": [PARENT, OTHER],
        "author": {"name": "Ada Lovelace", "email": "ada@example.org"},
        "time": "2026-11-24T06:07:00Z",
        "message": "Train on more prose\n\nTwo epochs.",
        "base": {"name": "org/base", "revision": "abc", "fingerprint": hash_bytes(b"base")},
        "origin": {"kind": "composition", "recipe": {"weights": [0.5, 1e-7, 1e20, -3]}},
    }


def test_commit_reads_back_what_it_writes() -> None:
    commit = Commit.from_json(document())
    assert commit.to_json() == document()
    assert Commit.from_bytes(commit.to_bytes()) == commit
    assert str(commit.id) == hash_bytes(canonical.dumps(document()))


def test_commit_is_made_of_distinct_parts() -> None:
    commit = Commit.from_json(document())
    assert commit.parents == (PARENT, OTHER)
    assert commit.author == Person("Ada Lovelace", "ada@example.org")
    assert commit.base == Base("org/base", "abc", hash_bytes(b"base"))
    assert commit.origin.kind is OriginKind.COMPOSITION
    assert commit.subject == "Train on more prose"


def test_person_without_an_address_is_shown_by_name() -> None:
    assert str(Person("Ada", "ada@example.org")) == "Ada <ada@example.org>"
    assert str(Person("Ada", "")) == "Ada"


def test_every_part_of_a_commit_changes_its_id() -> None:
    changes: list[dict[str, Any]] = [
        {"manifest": PARENT},
        {"parents": [OTHER, PARENT]},
        {"author": {"name": "Ada", "email": ""}},
        {"time": "2026-11-24T06:07:01Z"},
        {"message": ""},
        {"base": {"name": "org/base", "revision": None, "fingerprint": None}},
        {"origin": {"kind": "training"}},
    ]
    ids = {Commit.from_json({**document(), **change}).id for change in [{}, *changes]}
    assert len(ids) == len(changes) + 1


def test_fact_cannot_take_the_place_of_the_origins_kind() -> None:
    parts = Commit.from_json(document())
    commit = Commit(
        parts.manifest,
        parts.parents,
        parts.author,
        parts.time,
        parts.message,
        parts.base,
        Origin(OriginKind.TRAINING, {"kind": "aggregation"}),
    )
    assert Commit.from_bytes(commit.to_bytes()).origin.kind is OriginKind.TRAINING


@pytest.mark.parametrize("kind", list(OriginKind))
def test_every_origin_is_read(kind: OriginKind) -> None:
    commit = Commit.from_json({**document(), "origin": {"kind": kind.value, "run": 7}})
    assert commit.origin == Origin(kind, {"run": 7})


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d.clear(), "needs a string 'format'"),
        (lambda d: d.update(format="plait.commit/2"), "not of the format"),
        (lambda d: d.update(signature="x"), "unknown field 'signature'"),
        (lambda d: d.update(manifest=None), "not an object id"),
        (lambda d: d.update(parents=PARENT), "needs a list 'parents'"),
        (lambda d: d.update(parents=["main"]), "not an object id"),
        (lambda d: d.update(parents=[PARENT, PARENT]), "same parent twice"),
        (
            lambda d: d.update(parents=[hash_bytes(bytes([n])) for n in range(256)] + [PARENT]),
            "256",
        ),
        (lambda d: d.update(author="Ada"), "must be a JSON object"),
        (lambda d: d["author"].update(url="x"), "unknown field 'url'"),
        (lambda d: d["author"].pop("email"), "needs a string 'email'"),
        (lambda d: d["author"].update(name=" "), "has no name"),
        (lambda d: d["author"].update(name="A\nB"), "control character"),
        (lambda d: d["author"].update(name="A <b>"), "angle bracket"),
        (lambda d: d["author"].update(email="a\x00"), "control character"),
        (lambda d: d["author"].update(name="\ud800"), "control character"),
        (lambda d: d["author"].update(name="x" * 1025), "over 1024 characters"),
        (lambda d: d.update(message=None), "needs a string 'message'"),
        (lambda d: d.update(message="x" * (LONGEST_MESSAGE + 1)), "over 65536 characters"),
        (lambda d: d.update(base=None), "must be a JSON object"),
        (lambda d: d["base"].update(name=""), "does not name the base model"),
        (lambda d: d["base"].update(name="a\nb"), "does not name the base model"),
        (lambda d: d["base"].update(revision=1), "needs a string 'revision'"),
        (lambda d: d["base"].update(fingerprint="abc"), "not an object id"),
        (lambda d: d["base"].update(url="x"), "unknown field 'url'"),
        (lambda d: d.update(origin={}), "needs a string 'kind'"),
        (lambda d: d.update(origin={"kind": "magic"}), "unknown kind 'magic'"),
        (lambda d: d.update(origin=[]), "must be a JSON object"),
    ],
)
def test_commit_that_breaks_a_rule_is_refused(change: Change, reason: str) -> None:
    value = document()
    change(value)
    with pytest.raises(InvalidInput, match=reason):
        Commit.from_json(value)


@pytest.mark.parametrize(
    "time",
    [
        "",
        "2026-11-24",
        "2026-11-24 06:07:00Z",
        "2026-11-24T06:07:00",
        "2026-11-24T06:07:00+00:00",
        "2026-11-24T06:07:00.5Z",
        "2026-11-24T06:07:00z",
        "2026-11-24T06:07:00Z\n",
        "26-11-24T06:07:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-11-24T24:00:00Z",
        "2026-11-24T06:60:00Z",
        "2026-11-24T06:07:60Z",
        "٢٠٢٦-11-24T06:07:00Z",
    ],
)
def test_time_that_is_not_utc_to_the_second_is_refused(time: str) -> None:
    with pytest.raises(InvalidInput, match="is not UTC"):
        Commit.from_json({**document(), "time": time})


def test_leap_day_is_a_day() -> None:
    commit = Commit.from_json({**document(), "time": "2028-02-29T23:59:59Z"})
    assert commit.time == "2028-02-29T23:59:59Z"


def test_bytes_that_are_not_canonical_are_refused() -> None:
    good = canonical.dumps(document())
    value = document()
    del value["base"]["revision"]  # read as null, and written as null
    short = canonical.dumps(value)
    for data in (good + b"\n", good.replace(b"0.5", b"0.50"), good.replace(b"-3", b"-3.0"), short):
        with pytest.raises(InvalidInput, match="not in canonical JSON"):
            Commit.from_bytes(data)


def test_commit_over_the_limit_is_refused() -> None:
    with pytest.raises(InvalidInput, match="larger than 1000000 bytes"):
        Commit.from_bytes(b" " * (LARGEST_COMMIT + 1))


def test_facts_too_deep_to_be_shown_are_refused() -> None:
    facts: Any = {}
    for _ in range(200):
        facts = {"x": facts}
    value = {**document(), "origin": {"kind": "training", "facts": facts}}
    with pytest.raises(InvalidInput, match="nested"):
        Commit.from_json(value).to_bytes()
