"""Keys and attestations in files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from plait import attestation_files
from plait.attestation_files import read_bundle, read_keys, write_bundle, write_keys
from plait.errors import InvalidInput, NotFound
from plait.signing import SigningKey
from reference.attestations import make_key, register, sign


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return make_key(tmp_path)


def test_exported_keys_are_read(tmp_path: Path, key: SigningKey) -> None:
    keys = [
        register(key, expires_at="2027-01-31T00:00:00Z"),
        register(make_key(tmp_path, 2), role="publisher", revoked_at="2026-11-24T00:00:00Z"),
    ]
    path = tmp_path / "keys.json"
    path.write_text(write_keys(keys))
    assert read_keys(path) == keys


@pytest.mark.parametrize("name", ["gpu.pub", "gpu.pem", "gpu"])
def test_public_key_alone_is_a_validators_without_an_end(
    tmp_path: Path, key: SigningKey, name: str
) -> None:
    path = tmp_path / name
    path.write_text(key.public_key)
    (found,) = read_keys(path)
    assert found == register(key, name="gpu")


def test_folder_gives_all_its_keys_once(tmp_path: Path, key: SigningKey) -> None:
    second = make_key(tmp_path, 2)
    folder = tmp_path / "keys"
    folder.mkdir()
    (folder / "a.pub").write_text(key.public_key)
    (folder / "b.pem").write_text(second.public_key)
    (folder / "c.json").write_text(write_keys([register(key)]))
    (folder / "README").write_text("no key")
    assert {item.keyid for item in read_keys(folder)} == {key.keyid, second.keyid}


@pytest.mark.parametrize("name", ["a.json", "z.json"])
def test_revocation_in_any_file_of_a_folder_holds(
    tmp_path: Path, key: SigningKey, name: str
) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    revoked = register(key, created_at="2026-11-01T00:00:00Z", revoked_at="2026-11-24T00:00:00Z")
    (folder / "k.pub").write_text(key.public_key)
    (folder / "m.json").write_text(write_keys([replace(revoked, revoked_at=None)]))
    (folder / name).write_text(write_keys([revoked]))
    assert read_keys(folder) == [revoked]


def test_folder_without_keys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="holds no keys"):
        read_keys(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"keys": 1}', '{"keys": [{"keyid": 1}]}', "no key"]
)
@pytest.mark.parametrize("name", ["keys.json", "key.pub"])
def test_file_that_holds_no_keys_is_refused(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        read_keys(path)
    assert caught.value.kind == "attestation-invalid"


def test_absent_files_are_not_found(tmp_path: Path) -> None:
    for read in (read_keys, read_bundle):
        with pytest.raises(NotFound):
            read(tmp_path / "none")


def test_folder_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="Cannot read"):
        read_bundle(tmp_path)


def test_bundle_is_a_line_for_each_envelope(tmp_path: Path, key: SigningKey) -> None:
    envelopes = [sign(key), sign(make_key(tmp_path, 2))]
    path = tmp_path / "sql.intoto.jsonl"
    path.write_bytes(write_bundle(envelopes))
    assert len(path.read_text().splitlines()) == 2
    assert read_bundle(path) == envelopes


def test_empty_bundle_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "none.intoto.jsonl"
    path.write_bytes(write_bundle([]))
    assert read_bundle(path) == []


@pytest.mark.parametrize("indent", [None, 2])
def test_one_envelope_and_a_list_are_read(
    tmp_path: Path, key: SigningKey, indent: int | None
) -> None:
    path = tmp_path / "envelope.json"
    path.write_text(json.dumps(sign(key), indent=indent))
    assert read_bundle(path) == [sign(key)]
    path.write_text(json.dumps([sign(key), sign(key)], indent=indent))
    assert read_bundle(path) == [sign(key), sign(key)]


@pytest.mark.parametrize("data", [b"{", b"\xff", b"{}\n{", b"{}\n\xff"])
def test_file_that_is_not_json_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match="holds no envelopes"):
        read_bundle(path)


def test_bundle_beyond_all_measure_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "many"
    path.write_bytes(b"{}\n" * 4)
    monkeypatch.setattr(attestation_files, "MOST_ENVELOPES", 3)
    with pytest.raises(InvalidInput, match="over 3 envelopes"):
        read_bundle(path)
    monkeypatch.setattr(attestation_files, "LARGEST_BUNDLE", 11)
    with pytest.raises(InvalidInput, match="over 11 bytes"):
        read_bundle(path)
