"""Pushing versions that are stacks: references without weights."""

import pytest

from plait.errors import InvalidInput
from plait.model.ids import CommitId
from plait.model.stack import FILE_NAME
from reference.memory_registry import CONFIG_BYTES, NAME, MemoryRegistry, make_version
from reference.stacks import STACK, make_stack


def adapter_type_of(registry: MemoryRegistry, commit: CommitId) -> str | None:
    with registry.database.read() as records:
        repository = records.repositories.get(NAME)
        return records.commits.load(repository.id, [commit])[commit].adapter_type


def test_stack_is_a_version_and_is_listed_as_one() -> None:
    registry = MemoryRegistry()
    version = make_stack("stack")
    registry.push(version)
    assert registry.target() == version.id
    assert adapter_type_of(registry, version.id) == "STACK"
    with registry.database.read() as records:
        assert records.repositories.get(NAME).adapter_type == "STACK"


def test_stack_may_have_words_beside_it_and_follow_an_adapter() -> None:
    registry = MemoryRegistry()
    first = make_version("adapter")
    files = {FILE_NAME: STACK.to_bytes(), "README.md": b"# Two at once"}
    second = make_stack("stack", first.id, files=files)
    registry.push(first)
    registry.push(second, expected=first.id)
    types = [adapter_type_of(registry, version.id) for version in (first, second)]
    assert types == ["LORA", "STACK"]


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 1_000, STACK.to_bytes()[:-1]])
def test_file_that_is_no_stack_is_refused_and_nothing_becomes_visible(data: bytes) -> None:
    registry = MemoryRegistry()
    with pytest.raises(InvalidInput) as caught:
        registry.push(make_stack("stack", files={FILE_NAME: data}))
    assert caught.value.kind == "invalid-stack"
    assert registry.target() is None


def test_file_of_the_name_beside_an_adapter_belongs_to_the_adapter() -> None:
    registry = MemoryRegistry()
    version = make_version("adapter", more={FILE_NAME: b"my own notes"})
    registry.push(version)
    assert adapter_type_of(registry, version.id) == "LORA"


def test_same_bytes_are_read_by_their_path() -> None:
    registry = MemoryRegistry()
    first = make_version("adapter")
    registry.push(first)
    # Its bytes are stored already, as another version's configuration.
    with pytest.raises(InvalidInput) as caught:
        registry.push(
            make_stack("stack", first.id, files={FILE_NAME: CONFIG_BYTES}), expected=first.id
        )
    assert caught.value.kind == "invalid-stack"
    assert registry.target() == first.id
