"""Signing statements, and checking signatures: DSSE envelopes with Ed25519.

The one place that knows securesystemslib, which is imported when something is signed or checked.

- What is signed is DSSE's pre-authentication encoding of payload and payload type, so that a
  signature over one type is none over another.
- A key's id is securesystemslib's: sha256 over the canonical JSON of its type and value. In an
  envelope it is a hint that nobody signed: it only says which key to try.
- A key that is registered twice, under two ids, is refused: it would count as two.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plait.errors import AlreadyExists, InvalidInput, NotFound, Unavailable
from plait.model.attestation import make_statement
from plait.model.envelope import LARGEST_PAYLOAD, PAYLOAD_TYPE, Envelope, Signature, read_envelope
from plait.model.manifest import Manifest
from plait.model.validation import Validation

MOST_TRIED = 100
"""Keys that are tried with signatures that name none."""
LARGEST_KEY = 10_000
"""Bytes of a key's PEM; Ed25519 needs some hundred."""

_KIND = "attestation-invalid"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key that was loaded."""

    keyid: str
    public_key: str
    """PEM (SubjectPublicKeyInfo): what others need to check."""
    _signer: Any

    def sign(self, payload: bytes) -> dict[str, Any]:
        """Return the envelope of a payload with this key's signature.

        Raises:
            InvalidInput: `attestation-invalid`, it is too large.
        """
        from securesystemslib import dsse

        if len(payload) > LARGEST_PAYLOAD:
            raise InvalidInput(
                _KIND,
                f"The statement has {len(payload)} bytes; at most {LARGEST_PAYLOAD} are read.",
            )
        envelope = dsse.Envelope(payload, PAYLOAD_TYPE, {})
        envelope.sign(self._signer)
        return envelope.to_dict()


def generate_key(path: Path, *, passphrase: bytes | None = None) -> SigningKey:
    """Make a key pair: the private one (PKCS8 PEM, for its owner alone) at `path`.

    The public one is written beside it, with `.pub` behind the name.

    Raises:
        AlreadyExists: `destination-exists`; a key is never written over.
        Unavailable: `extra-missing`.
    """
    library = _import_library()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    key = _make_key(library.CryptoSigner(private))
    public = path.with_name(path.name + ".pub")
    _verify_free(public)
    _write_new(path, pem, mode=0o600)
    _write_new(public, key.public_key.encode(), mode=0o644)
    return key


def load_key(path: Path, *, passphrase: bytes | None = None) -> SigningKey:
    """Read a private key: Ed25519, as PKCS8 PEM.

    Raises:
        NotFound: `file-not-found`.
        InvalidInput: `attestation-invalid`, it is no such key, or the passphrase does not open it.
        Unavailable: `extra-missing`.
    """
    library = _import_library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    pem = _read_key(path)
    try:
        private = load_pem_private_key(pem, passphrase)
    except TypeError as error:
        wanted = "is locked: give its passphrase" if passphrase is None else "has no passphrase"
        raise InvalidInput(_KIND, f"The key {path} {wanted}.", path=str(path)) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput(
            _KIND,
            f"{path} holds no private key as PEM (PKCS8), or its passphrase is another: `plait key "
            "generate` makes one.",
            path=str(path),
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise InvalidInput(
            _KIND, f"The key {path} is none of Ed25519, the only kind that plait signs with."
        )
    return _make_key(library.CryptoSigner(private))


def read_public_key(path: Path) -> str:
    """Return the public key (PEM) of a file, and nothing else that is in it, as a private one.

    Raises:
        NotFound: `file-not-found`.
        InvalidInput: `attestation-invalid`, it holds no Ed25519 public key.
        Unavailable: `extra-missing`.
    """
    text = _read_key(path).decode("utf-8", errors="replace")
    return parse_public_key(text)[1]


def attest(
    key: SigningKey, validation: Validation, manifest: Manifest, *, repository: str, signed_at: str
) -> dict[str, Any]:
    """Return the signed statement of a validation; `manifest` lists the commit's files.

    Raises:
        InvalidInput: `attestation-invalid`, the validation ended in an error.
    """
    statement = make_statement(validation, manifest, repository=repository, signed_at=signed_at)
    return key.sign(statement.to_bytes())


def compute_keyid(public_key: str) -> str:
    """Return the id of a public key (PEM).

    Raises:
        InvalidInput: `attestation-invalid`, it is no Ed25519 public key.
        Unavailable: `extra-missing`.
    """
    return str(_load_public(public_key).keyid)


def parse_public_key(text: str) -> tuple[str, str]:
    """Return the id of the public key in a text, and its PEM without what else is there.

    Raises:
        InvalidInput: `attestation-invalid`, there is no Ed25519 public key.
        Unavailable: `extra-missing`.
    """
    key = _load_public(text)
    return str(key.keyid), _write_public(key)


def verify_envelope(envelope: object, keys: Mapping[str, str]) -> tuple[bytes, frozenset[str]]:
    """Return an envelope's payload and the ids of the keys that signed it.

    `keys` are public keys (PEM) by their ids. A signature that names no key is tried with each,
    where there are few.

    Raises:
        InvalidInput: `attestation-invalid`, none of these keys signed it; `reason` in the details
            is `malformed`, `unknown-key` or `wrong-signature`.
        Unavailable: `extra-missing`.
    """
    try:
        read = read_envelope(envelope)
    except InvalidInput as error:
        error.details.setdefault("reason", "malformed")
        raise
    tried = _list_tries(read, keys)
    if not tried:
        named = ", ".join(sorted({item.keyid[:80] or "no key" for item in read.signatures}))
        raise InvalidInput(
            _KIND,
            f"No known key signed this: it names {named}. Have the key registered, or name the "
            "file of the right keys.",
            reason="unknown-key",
        )
    verifies = _open_verifier(read.payload)
    signed = frozenset(
        keyid for item, keyid in tried if verifies(item, _load_known(keyid, keys[keyid]))
    )
    if not signed:
        raise InvalidInput(
            _KIND,
            "The signature is not the key's: what was signed is something else, or was changed "
            "since.",
            reason="wrong-signature",
        )
    return read.payload, signed


def _list_tries(envelope: Envelope, keys: Mapping[str, str]) -> list[tuple[Signature, str]]:
    """Return which key may have made which signature."""
    unnamed = [item for item in envelope.signatures if not item.keyid]
    # Else one small envelope would make a registry compute thousands of signatures.
    is_small = len(unnamed) * len(keys) <= MOST_TRIED
    return [
        (item, keyid)
        for item in envelope.signatures
        for keyid in ([item.keyid] if item.keyid else keys if is_small else ())
        if keyid in keys
    ]


def _open_verifier(payload: bytes) -> Callable[[Signature, Any], bool]:
    """Return what tells whether a key made a signature over a payload."""
    library = _import_library()
    from securesystemslib import dsse, exceptions

    signed = dsse.Envelope(payload, PAYLOAD_TYPE, {}).pae()

    def verifies(item: Signature, key: Any) -> bool:
        try:
            key.verify_signature(library.Signature(key.keyid, item.value.hex()), signed)
        except exceptions.UnverifiedSignatureError:
            return False
        return True

    return verifies


def _import_library() -> Any:
    """Return `securesystemslib.signer`, whose names are not exported to type checkers."""
    try:
        importlib.import_module("cryptography")
        return importlib.import_module("securesystemslib.signer")
    except ImportError as error:
        raise Unavailable(
            "extra-missing",
            "Signing, and checking signatures, needs securesystemslib and cryptography: "
            "pip install 'plait[validation]'.",
        ) from error


def _load_known(keyid: str, public_key: str) -> Any:
    key = _load_public(public_key)
    if key.keyid != keyid:
        # Else one key under two ids would count as two validators.
        raise InvalidInput(
            _KIND, f"The key {keyid[:80]} has another id, {key.keyid}: use that one."
        )
    return key


def _load_public(public_key: str) -> Any:
    library = _import_library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        if len(public_key) > LARGEST_KEY:
            raise ValueError
        key = load_pem_public_key(public_key.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput(
            _KIND,
            "This is no public key as PEM: it begins with -----BEGIN PUBLIC KEY-----, as the .pub "
            "file of `plait key generate`.",
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidInput(_KIND, "A validator's key is one of Ed25519; this is another kind.")
    return library.SSlibKey.from_crypto(key)


def _make_key(signer: Any) -> SigningKey:
    return SigningKey(signer.public_key.keyid, _write_public(signer.public_key), signer)


def _write_public(key: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _verify_free(path: Path) -> None:
    if path.exists():
        raise _exists(path)


def _read_key(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            held = file.read(LARGEST_KEY + 1)
    except FileNotFoundError as error:
        raise NotFound("file-not-found", f"There is no key {path}.", path=str(path)) from error
    except OSError as error:
        raise InvalidInput(_KIND, f"Cannot read the key {path}: {error.strerror}.") from error
    if len(held) > LARGEST_KEY:
        raise InvalidInput(_KIND, f"{path} is no key: it has over {LARGEST_KEY} bytes.")
    return held


def _write_new(path: Path, data: bytes, *, mode: int) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise _exists(path) from None
    with os.fdopen(handle, "wb") as file:
        file.write(data)


def _exists(path: Path) -> AlreadyExists:
    return AlreadyExists(
        "destination-exists", f"There is a key at {path} already: choose another name."
    )
