"""Keys that are the same in each run, and validations to sign with them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from plait.model.ids import CommitId, hash_bytes
from plait.model.manifest import File, Manifest
from plait.model.merge_digests import DEFINITION, MergeDigests
from plait.model.paths import FilePath
from plait.model.validation import BaseWeights, Difference, Validation, Verdict
from plait.signing import SigningKey, attest, load_key
from plait.wire_validation import ValidatorKey

SIGNED_AT = "2026-11-24T06:09:00Z"
COMMIT = CommitId(hash_bytes(b"commit"))
MANIFEST = Manifest.of(
    File(FilePath(name), 7, hash_bytes(name.encode()), None)
    for name in ("README.md", "adapter_config.json")
)
DIGESTS = MergeDigests.of({name: hash_bytes(name.encode()) for name in ("v", "w")})
VERIFIED = Validation(
    definition=DEFINITION,
    commit=COMMIT,
    base=hash_bytes(b"base"),
    base_weights=BaseWeights.ORIGINAL,
    verdict=Verdict.VERIFIED,
    started_at="2026-11-24T06:07:00Z",
    ended_at="2026-11-24T06:08:00Z",
    root=DIGESTS.root,
    tensors=DIGESTS.tensors,
    probes={"layer-probe-v1": DIGESTS.root},
    environment={"device": "cpu"},
)
DRIFT = replace(VERIFIED, verdict=Verdict.DRIFT)
MISMATCH = replace(
    VERIFIED,
    verdict=Verdict.MISMATCH,
    differing=1,
    differences=(Difference("w", hash_bytes(b"w"), hash_bytes(b"x"), "3 of 64 elements"),),
)
NOT_MERGEABLE = replace(
    VERIFIED, verdict=Verdict.NOT_MERGEABLE, root=None, tensors={}, base=None, probes={}
)
ERROR = replace(NOT_MERGEABLE, verdict=Verdict.ERROR)


def make_key(folder: Path, seed: int = 1) -> SigningKey:
    """Return the key of a seed."""
    path = folder / f"key-{seed}"
    private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return load_key(path)


def register(key: SigningKey, *, name: str = "gpu", **options: Any) -> ValidatorKey:
    """Return a key as a registry knows it."""
    facts = {"role": "validator", "created_at": "", "expires_at": None, "revoked_at": None}
    return ValidatorKey(key.keyid, key.public_key, name, **{**facts, **options})


def sign(
    key: SigningKey,
    validation: Validation = VERIFIED,
    manifest: Manifest = MANIFEST,
    *,
    signed_at: str = SIGNED_AT,
) -> dict[str, Any]:
    """Return the envelope of a validation of `team/sql`."""
    return attest(key, validation, manifest, repository="team/sql", signed_at=signed_at)
