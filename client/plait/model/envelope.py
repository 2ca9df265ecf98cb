"""Reading DSSE envelopes: what carries a statement and its signatures.

    {"payload": base64, "payloadType": "application/vnd.in-toto+json",
     "signatures": [{"keyid", "sig": base64}]}

Cosign, in-toto and slsa-verifier read the same. Envelopes come from other machines: sizes are
bounded, unknown fields are refused. Nothing here checks who signed: see `plait.signing`.

See https://github.com/secure-systems-lab/dsse/blob/v1.0.2/envelope.md.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from plait.model.fields import Fields

PAYLOAD_TYPE = "application/vnd.in-toto+json"
LARGEST_PAYLOAD = 4_000_000
"""Bytes: a statement names each file of an adapter, of which there may be some thousands."""
MOST_SIGNATURES = 16
LONGEST_KEYID = 1_000
SIGNATURE_SIZE = 64
"""Bytes; of Ed25519."""

_KIND = "attestation-invalid"


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature of an envelope, not checked."""

    keyid: str
    """What the envelope says, which may be wrong; empty: it does not say."""
    value: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """An envelope that was read; nothing of it was checked."""

    payload: bytes
    signatures: tuple[Signature, ...]


def read_envelope(envelope: object) -> Envelope:
    """Return what an envelope holds, without checking who signed it.

    Raises:
        InvalidInput: `attestation-invalid`, it breaks a rule of the format.
    """
    fields = Fields(envelope, kind=_KIND, where="The envelope")
    fields.only(("payload", "payloadType", "signatures"))
    if fields.text("payloadType") != PAYLOAD_TYPE:
        raise fields.error(f"holds no in-toto statement: its payloadType must be {PAYLOAD_TYPE!r}")
    payload = _decode(fields, "payload", largest=LARGEST_PAYLOAD)
    items = fields.items("signatures")
    if not 0 < len(items) <= MOST_SIGNATURES:
        raise fields.error(f"needs between 1 and {MOST_SIGNATURES} signatures")
    return Envelope(payload, tuple(_read_signature(item) for item in items))


def _read_signature(value: object) -> Signature:
    fields = Fields(value, kind=_KIND, where="A signature")
    fields.only(("keyid", "sig"))
    keyid = fields.optional_text("keyid") or ""
    signature = _decode(fields, "sig", largest=SIGNATURE_SIZE)
    if len(keyid) > LONGEST_KEYID or len(signature) != SIGNATURE_SIZE:
        raise fields.error(f"is none of Ed25519: it has {SIGNATURE_SIZE} bytes")
    if not keyid.isprintable():
        # It is shown to people, where a line of its own could say what it likes.
        raise fields.error("has a 'keyid' with characters that cannot be printed")
    return Signature(keyid, signature)


def _decode(fields: Fields, name: str, *, largest: int) -> bytes:
    text = fields.text(name, longest=(largest + 2) // 3 * 4)
    try:
        # DSSE allows the alphabet for URLs, too.
        held = text.translate(str.maketrans("-_", "+/")).encode("ascii")
        return base64.b64decode(held, validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise fields.error(f"needs base64 as {name!r}") from None
