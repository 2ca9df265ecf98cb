"""Keys, envelopes and signatures."""

import base64
import copy
import hashlib
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from plait import signing
from plait.errors import AlreadyExists, InvalidInput, NotFound, Unavailable
from plait.model import envelope as envelope_format
from plait.signing import (
    SigningKey,
    compute_keyid,
    generate_key,
    load_key,
    read_public_key,
    verify_envelope,
)
from reference.attestations import make_key, sign
from reference.dsse_verifier import open_envelope


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return make_key(tmp_path)


def other_kind() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def test_generated_key_is_for_its_owner_alone_and_loads_again(tmp_path: Path) -> None:
    path = tmp_path / "validator"
    made = generate_key(path)
    assert load_key(path).keyid == made.keyid
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (tmp_path / "validator.pub").read_text() == made.public_key
    assert compute_keyid(made.public_key) == made.keyid
    assert b"BEGIN PRIVATE KEY" in path.read_bytes()


def test_two_generated_keys_are_two(tmp_path: Path) -> None:
    assert generate_key(tmp_path / "a").keyid != generate_key(tmp_path / "b").keyid


@pytest.mark.parametrize("taken", ["validator", "validator.pub"])
def test_no_key_is_written_over(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("held")
    with pytest.raises(AlreadyExists):
        generate_key(tmp_path / "validator")
    assert (tmp_path / taken).read_text() == "held"
    assert len(list(tmp_path.iterdir())) == 1


def test_locked_key_needs_its_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "validator"
    made = generate_key(path, passphrase=b"open sesame")
    assert load_key(path, passphrase=b"open sesame").keyid == made.keyid
    with pytest.raises(InvalidInput, match="locked"):
        load_key(path)
    with pytest.raises(InvalidInput, match="passphrase is another"):
        load_key(path, passphrase=b"open rice")


def test_passphrase_for_a_key_without_one_is_refused(tmp_path: Path) -> None:
    generate_key(tmp_path / "validator")
    with pytest.raises(InvalidInput, match="has no passphrase"):
        load_key(tmp_path / "validator", passphrase=b"x")


def test_absent_key_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        load_key(tmp_path / "none")


@pytest.mark.parametrize(
    "held", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n", b"x" * 99_999]
)
def test_file_that_is_no_key_is_refused(tmp_path: Path, held: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(held)
    with pytest.raises(InvalidInput) as caught:
        load_key(path)
    assert caught.value.kind == "attestation-invalid"


def test_keys_of_another_kind_are_refused(tmp_path: Path) -> None:
    private = other_kind()
    path = tmp_path / "ecdsa"
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(InvalidInput, match="Ed25519"):
        load_key(path)
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(InvalidInput, match="Ed25519"):
        compute_keyid(public.decode())


@pytest.mark.parametrize("text", ["", "x", "-----BEGIN PUBLIC KEY-----", "y" * 99_999, "\ud800"])
def test_text_that_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        compute_keyid(text)
    assert caught.value.kind == "attestation-invalid"


def test_file_that_cannot_be_read_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="Cannot read"):
        load_key(tmp_path)


def test_public_key_of_a_file_is_checked(tmp_path: Path, key: SigningKey) -> None:
    path = tmp_path / "key.pub"
    path.write_text(key.public_key)
    assert read_public_key(path) == key.public_key
    path.write_bytes((tmp_path / "key-1").read_bytes())
    with pytest.raises(InvalidInput, match="no public key"):
        read_public_key(path)


def test_private_key_beside_the_public_one_is_not_read_with_it(
    tmp_path: Path, key: SigningKey
) -> None:
    path = tmp_path / "both.pem"
    path.write_text(f"of the lab\n{key.public_key}{(tmp_path / 'key-1').read_text()}")
    assert read_public_key(path) == key.public_key


def test_keyid_is_the_one_of_securesystemslib(key: SigningKey) -> None:
    raw = Ed25519PrivateKey.from_private_bytes(b"\1" * 32).public_key().public_bytes_raw().hex()
    described = f'{{"keytype":"ed25519","keyval":{{"public":"{raw}"}},"scheme":"ed25519"}}'
    assert key.keyid == hashlib.sha256(described.encode()).hexdigest()


def test_envelope_gives_payload_and_signer(key: SigningKey) -> None:
    envelope = key.sign(b"{}")
    assert verify_envelope(envelope, {key.keyid: key.public_key}) == (b"{}", frozenset({key.keyid}))


def test_independent_verifier_reads_the_envelope(key: SigningKey) -> None:
    statement = open_envelope(sign(key), key.public_key)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicate"]["result"] == "PASSED"


def test_independent_verifier_refuses_what_was_changed(key: SigningKey) -> None:
    envelope = sign(key)
    envelope["payload"] = base64.b64encode(b"{}").decode()
    with pytest.raises(InvalidSignature):
        open_envelope(envelope, key.public_key)


def test_signing_is_deterministic(key: SigningKey) -> None:
    assert key.sign(b"{}") == key.sign(b"{}")


def test_checking_does_not_change_the_envelope(key: SigningKey) -> None:
    envelope = key.sign(b"{}")
    before = copy.deepcopy(envelope)
    verify_envelope(envelope, {key.keyid: key.public_key})
    assert envelope == before


def test_signature_without_a_keyid_is_tried_with_each_key(tmp_path: Path, key: SigningKey) -> None:
    other = make_key(tmp_path, 2)
    envelope = key.sign(b"{}")
    envelope["signatures"][0]["keyid"] = ""
    keys = {item.keyid: item.public_key for item in (other, key)}
    assert verify_envelope(envelope, keys) == (b"{}", frozenset({key.keyid}))


def test_signatures_that_name_no_key_are_tried_a_hundred_times_at_most(key: SigningKey) -> None:
    envelope = key.sign(b"{}")
    envelope["signatures"][0]["keyid"] = ""
    keys = {key.keyid: key.public_key}
    # Keys that are never loaded: nothing is tried where there are too many.
    many = keys | {f"{number:064x}": "" for number in range(signing.MOST_TRIED)}
    assert refuse(envelope, many) == "unknown-key"
    envelope["signatures"] *= 16
    assert verify_envelope(envelope, keys)[1] == {key.keyid}


def test_two_signatures_name_two_keys(tmp_path: Path, key: SigningKey) -> None:
    other = make_key(tmp_path, 2)
    envelope = key.sign(b"{}")
    envelope["signatures"] += other.sign(b"{}")["signatures"]
    keys = {item.keyid: item.public_key for item in (other, key)}
    assert verify_envelope(envelope, keys)[1] == {key.keyid, other.keyid}


def test_unknown_second_signature_takes_nothing_from_the_first(
    tmp_path: Path, key: SigningKey
) -> None:
    envelope = key.sign(b"{}")
    envelope["signatures"] += make_key(tmp_path, 2).sign(b"{}")["signatures"]
    assert verify_envelope(envelope, {key.keyid: key.public_key})[1] == {key.keyid}


def refuse(envelope: object, keys: dict[str, str]) -> str:
    with pytest.raises(InvalidInput) as caught:
        verify_envelope(envelope, keys)
    assert caught.value.kind == "attestation-invalid"
    return str(caught.value.details["reason"])


def test_unknown_key_is_named_as_such(tmp_path: Path, key: SigningKey) -> None:
    other = make_key(tmp_path, 2)
    assert refuse(key.sign(b"{}"), {other.keyid: other.public_key}) == "unknown-key"
    assert refuse(key.sign(b"{}"), {}) == "unknown-key"


def test_signature_of_another_key_under_a_known_id_is_wrong(
    tmp_path: Path, key: SigningKey
) -> None:
    envelope = make_key(tmp_path, 2).sign(b"{}")
    envelope["signatures"][0]["keyid"] = key.keyid
    assert refuse(envelope, {key.keyid: key.public_key}) == "wrong-signature"


def test_signature_over_another_payload_type_is_wrong(key: SigningKey) -> None:
    # What is signed covers the type: else a statement of one kind could be passed off as another.
    kind = b"application/json"
    signed = b"DSSEv1 %d %b 2 {}" % (len(kind), kind)
    envelope = key.sign(b"{}")
    signature = key._signer.sign(signed)  # nothing of plait signs another type
    envelope["signatures"][0]["sig"] = base64.b64encode(bytes.fromhex(signature.signature)).decode()
    assert refuse(envelope, {key.keyid: key.public_key}) == "wrong-signature"


def test_one_key_under_two_ids_is_refused(key: SigningKey) -> None:
    envelope = key.sign(b"{}")
    envelope["signatures"][0]["keyid"] = "alias"
    with pytest.raises(InvalidInput, match="another id"):
        verify_envelope(envelope, {"alias": key.public_key})


GOOD = {"keyid": "a", "sig": base64.b64encode(bytes(64)).decode()}
BROKEN: dict[str, dict[str, Any]] = {
    "unknown field": {"x": 1},
    "other type": {"payloadType": "application/json"},
    "no base64": {"payload": "e30*"},
    "unpadded": {"payload": "e30"},
    "beyond ASCII": {"payload": "é30="},
    "payload a number": {"payload": 1},
    "too large": {"payload": "AAAA" * envelope_format.LARGEST_PAYLOAD},
    "no signature": {"signatures": []},
    "many signatures": {"signatures": [GOOD] * 17},
    "short signature": {"signatures": [{"keyid": "a", "sig": "AAAA"}]},
    "signature a text": {"signatures": ["AAAA"]},
    "signatures an object": {"signatures": {"a": GOOD}},
    "long keyid": {"signatures": [{**GOOD, "keyid": "a" * 20_000}]},
    "keyid of two lines": {"signatures": [{**GOOD, "keyid": "k\nCOUNTS"}]},
    "keyid that moves the cursor": {"signatures": [{**GOOD, "keyid": "k\x1b[1A"}]},
    "keyid a number": {"signatures": [{**GOOD, "keyid": 7}]},
    "field beside a signature": {"signatures": [{**GOOD, "cert": ""}]},
}


def envelope_with(change: dict[str, Any]) -> dict[str, Any]:
    whole = {"payload": "e30=", "payloadType": envelope_format.PAYLOAD_TYPE, "signatures": [GOOD]}
    return {**whole, **change}


@pytest.mark.parametrize("change", BROKEN)
def test_envelope_that_breaks_a_rule_is_malformed(change: str, key: SigningKey) -> None:
    envelope = envelope_with(BROKEN[change])
    assert refuse(envelope, {key.keyid: key.public_key}) == "malformed"


@pytest.mark.parametrize("envelope", [None, [], "e30=", 7, [envelope_with({})]])
def test_what_is_no_object_is_malformed(envelope: object, key: SigningKey) -> None:
    assert refuse(envelope, {key.keyid: key.public_key}) == "malformed"


def test_envelope_that_breaks_no_rule_is_well_formed(key: SigningKey) -> None:
    assert refuse(envelope_with({}), {key.keyid: key.public_key}) == "unknown-key"


def test_base64_for_urls_is_read(key: SigningKey) -> None:
    payload = json.dumps("???>>>ûûû", ensure_ascii=False).encode()
    envelope = key.sign(payload)
    for held, name in ((envelope, "payload"), (envelope["signatures"][0], "sig")):
        held[name] = held[name].replace("+", "-").replace("/", "_")
    assert "_" in envelope["payload"] or "-" in envelope["payload"]
    assert verify_envelope(envelope, {key.keyid: key.public_key})[0] == payload


def test_payload_that_nobody_would_read_is_not_signed(key: SigningKey) -> None:
    with pytest.raises(InvalidInput, match="bytes"):
        key.sign(bytes(envelope_format.LARGEST_PAYLOAD + 1))


@pytest.mark.parametrize("absent", ["cryptography", "securesystemslib.signer"])
def test_without_the_extra_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(Unavailable, match=r"plait\[validation\]") as caught:
        generate_key(tmp_path / "key")
    assert caught.value.kind == "extra-missing"
