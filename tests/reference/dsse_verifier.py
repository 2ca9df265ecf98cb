"""DSSE as its protocol says it, with `cryptography` alone: nothing of plait or securesystemslib."""

import base64
import json
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_public_key


def open_envelope(envelope: dict[str, Any], public_key: str) -> Any:
    """Return the statement that the key signed; raises `InvalidSignature` where it did not."""
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    key: Any = load_pem_public_key(public_key.encode())
    key.verify(base64.b64decode(envelope["signatures"][0]["sig"]), signed)
    return json.loads(payload)
