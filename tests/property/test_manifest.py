import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from plait.errors import InvalidInput, PlaitError
from plait.model import canonical
from plait.model.commit import Commit
from plait.model.digesting import digest_file
from plait.model.ids import hash_bytes
from plait.model.manifest import File, Manifest
from plait.model.paths import FilePath
from reference.safetensors_writer import write
from reference.strategies import commits, json_values, plain_files, tensor_maps


def weights(name: str, tensors: dict[str, Any]) -> File:
    data = write(tensors)
    return digest_file(FilePath(f"w/{name}.safetensors"), len(data), [data])


names = st.text("abcdefg", min_size=1, max_size=6)
manifests = st.builds(
    lambda plain, heavy: Manifest.of([*plain, *heavy]),
    st.lists(plain_files(names), max_size=4, unique_by=lambda file: file.path).filter(
        lambda files: all(file.path != "w" for file in files)
    ),
    st.lists(st.builds(weights, names, tensor_maps), max_size=2, unique_by=lambda file: file.path),
)


@given(manifest=manifests)
def test_manifest_reads_back_and_keeps_its_id(manifest: Manifest) -> None:
    data = manifest.to_bytes()
    again = Manifest.from_bytes(data)
    assert again == manifest
    assert str(again.id) == hash_bytes(data)
    assert Manifest.from_json(canonical.loads(data)) == manifest
    assert Manifest.of(reversed(manifest.files)) == manifest


@given(commit=commits)
def test_commit_reads_back_and_keeps_its_id(commit: Commit) -> None:
    data = commit.to_bytes()
    again = Commit.from_bytes(data)
    assert again.to_bytes() == data
    assert str(again.id) == str(commit.id) == hash_bytes(data)
    assert again == commit


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every container inside `value` with each of its keys."""
    found = []
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in keys:
        found.append((value, key))
        if isinstance(value[key], dict | list):
            found += places(value[key])
    return found


@given(manifest=manifests, commit=commits, data=st.data())
def test_changed_document_is_refused_or_has_another_id(
    manifest: Manifest, commit: Commit, data: st.DataObject
) -> None:
    for original in (manifest, commit):
        document = copy.deepcopy(original.to_json())
        holder, key = data.draw(st.sampled_from(places(document)))
        change = data.draw(st.sampled_from(["replace", "delete", "double"]))
        if change == "replace":
            holder[key] = data.draw(json_values)
        elif change == "delete":
            del holder[key]
        elif isinstance(holder, list):
            holder.append(holder[key])
        else:
            holder[f"{key}2"] = holder[key]
        try:
            changed = canonical.dumps(document)
            again = type(original).from_bytes(changed)
        except PlaitError as error:
            error.message.encode()
            continue
        assert (again.id == original.id) == (changed == original.to_bytes())


@given(value=json_values)
def test_any_json_at_all_is_parsed_or_refused(value: Any) -> None:
    for cls in (Manifest, Commit):
        try:
            cls.from_json(value)
        except InvalidInput as error:
            error.message.encode()
