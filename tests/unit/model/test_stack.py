import json
from typing import Any

import pytest

from plait.errors import InvalidInput, TooLarge
from plait.model import canonical
from plait.model.ids import ManifestId, hash_bytes
from plait.model.manifest import File, Manifest, TensorTable
from plait.model.paths import FilePath
from plait.model.stack import (
    FORMAT,
    LARGEST_STACK,
    MOST_ADAPTERS,
    Stack,
    StackedAdapter,
    is_stack,
    verify_stack_files,
)
from reference.recipes import ONE, TWO

HELD = ManifestId(hash_bytes(b"held"))
STACK = Stack(
    (
        StackedAdapter(adapter="team/sql", commit=TWO, manifest=HELD, weight=0.7),
        StackedAdapter(adapter="team/chat", commit=ONE, manifest=HELD),
    )
)


def member(**changes: Any) -> dict[str, Any]:
    return {"adapter": "team/sql", "commit": ONE, "manifest": HELD, "weight": 1, **changes}


def stack(*members: object, **changes: Any) -> bytes:
    return json.dumps({"format": FORMAT, "adapters": list(members), **changes}).encode()


def version(*paths: str, size: int = 10) -> Manifest:
    digest = hash_bytes(b"x")
    tables = {True: TensorTable(digest, ()), False: None}
    return Manifest.of(
        File(FilePath(path), size, digest, tables[path.endswith(".safetensors")]) for path in paths
    )


def test_stack_is_read_as_it_was_written_and_keeps_its_order() -> None:
    data = STACK.to_bytes()
    assert Stack.from_bytes(data) == STACK
    assert Stack.from_bytes(data).to_bytes() == data
    assert data == canonical.dumps(json.loads(data))


def test_stack_may_be_laid_out_for_people() -> None:
    assert Stack.from_bytes(json.dumps(STACK.to_json(), indent=2).encode()) == STACK


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be read"),
        (b"[]", "must be a JSON object"),
        (b'{"format": "x", "format": "y"}', "appears twice"),
        (stack(member(), format="plait.stack/2"), "not of the format"),
        (stack(member(), more=1), "unknown field 'more'"),
        (stack(), "has 0 adapters"),
        (stack(*[member()] * (MOST_ADAPTERS + 1)), f"must be 1 to {MOST_ADAPTERS}"),
        (stack(member(), member(adapter="fork/sql")), "same commit twice"),
        (stack(member(), "team/sql"), "Adapter 2 of the stack must be a JSON object"),
        (stack(member(adapter="sql")), "Adapter 1 of the stack is not well-formed"),
        (stack(member(adapter=None)), "needs a string 'adapter'"),
        (stack(member(commit="3fa9")), "is not an object id"),
        (stack(member(manifest=None)), "is not an object id"),
        (stack(member(weight=None)), "needs a 'weight': a finite number"),
        (stack(member(weight="1")), "needs a 'weight'"),
        (stack(member(weight=0)), "has the weight 0"),
        (stack(member(scale=1)), "unknown field 'scale'"),
    ],
)
def test_what_breaks_a_rule_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Stack.from_bytes(data)
    assert caught.value.kind == "invalid-stack"
    assert message in caught.value.message


def test_stack_over_the_limit_is_not_parsed() -> None:
    Stack.from_bytes(stack(member()).ljust(LARGEST_STACK))
    with pytest.raises(TooLarge, match=str(LARGEST_STACK)):
        Stack.from_bytes(stack(member()).ljust(LARGEST_STACK + 1))


@pytest.mark.parametrize(
    ("paths", "meant"),
    [
        (["stack.json"], True),
        (["stack.json", "README.md", "model.safetensors"], True),
        (["stack.json", "adapter_config.json"], False),
        (["adapter_config.json"], False),
        (["inner/stack.json"], False),
        ([], False),
    ],
)
def test_version_is_a_stack_unless_it_is_an_adapter(paths: list[str], meant: object) -> None:
    assert is_stack(version(*paths)) == meant


def test_stack_has_words_beside_it_and_no_weights() -> None:
    verify_stack_files(version("stack.json", "README.md", "eval/results.json"))
    with pytest.raises(InvalidInput, match=r"'m\.safetensors' has some") as caught:
        verify_stack_files(version("stack.json", "m.safetensors"))
    assert (caught.value.kind, caught.value.details) == ("invalid-stack", {"path": "m.safetensors"})


def test_large_file_of_the_name_is_no_stack() -> None:
    verify_stack_files(version("stack.json", size=LARGEST_STACK))
    with pytest.raises(InvalidInput, match=str(LARGEST_STACK)):
        verify_stack_files(version("stack.json", size=LARGEST_STACK + 1))
