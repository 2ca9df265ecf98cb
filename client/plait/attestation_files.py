"""Files that attestations and keys travel in, so that they can be checked where no registry is.

- Keys: the document of `plait key export`, or single public keys (PEM).
- Attestations: in-toto's bundle, JSON lines with an envelope each; one envelope alone; a JSON list.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from plait.errors import InvalidInput, NotFound, Unavailable
from plait.model import canonical
from plait.signing import compute_keyid
from plait.verify import VALIDATOR
from plait.wire import decode, encode
from plait.wire_validation import ValidatorKey, ValidatorKeyList

KEY_SUFFIXES = frozenset({".json", ".pem", ".pub"})
LARGEST_KEYS = 10_000_000
"""Bytes of a file of keys."""
MOST_ENVELOPES = 10_000
LARGEST_BUNDLE = 100_000_000
"""Bytes of a file of envelopes."""

_KIND = "attestation-invalid"


def read_keys(path: Path) -> list[ValidatorKey]:
    """Return the keys of a file or a folder.

    A file is what `plait key export` wrote, or one public key (PEM), which counts as a validator's
    that never ends. A folder is all such files in it that end in `.json`, `.pem` or `.pub`; where
    one says that a key was revoked, it was.

    Raises:
        NotFound: `file-not-found`.
        InvalidInput: `attestation-invalid`, it holds no keys.
        Unavailable: `extra-missing`.
    """
    if not path.is_dir():
        return _read_key_file(path)
    keys = [
        key
        for file in sorted(path.iterdir())
        if file.suffix in KEY_SUFFIXES
        for key in _read_key_file(file)
    ]
    # A key alone does not say that it was revoked: the registry's word counts, of words the worst.
    keys.sort(key=lambda key: (key.created_at != "", key.revoked_at is not None))
    found = {key.keyid: key for key in keys}
    if not found:
        raise InvalidInput(
            _KIND, f"{path} holds no keys: they are files of .json, .pem or .pub.", path=str(path)
        )
    return list(found.values())


def write_keys(keys: Sequence[ValidatorKey]) -> str:
    """Return keys as the document that `read_keys` reads."""
    return json.dumps(encode(ValidatorKeyList(list(keys))), indent=2) + "\n"


def read_bundle(path: Path) -> list[Any]:
    """Return the envelopes of a file: one, or a line each (in-toto's bundle), or a JSON list.

    Raises:
        NotFound: `file-not-found`.
        InvalidInput: `attestation-invalid`, it is not JSON, or too large.
    """
    data = _read(path, LARGEST_BUNDLE)
    envelopes = _parse_bundle(data, path)
    if len(envelopes) > MOST_ENVELOPES:
        raise InvalidInput(_KIND, f"{path} holds over {MOST_ENVELOPES} envelopes.")
    return envelopes


def write_bundle(envelopes: Iterable[Mapping[str, Any]]) -> bytes:
    """Return envelopes as in-toto's bundle: a line each."""
    return b"".join(canonical.dumps(envelope) + b"\n" for envelope in envelopes)


def _read_key_file(path: Path) -> list[ValidatorKey]:
    text = _read(path, LARGEST_KEYS).decode("utf-8", errors="replace")
    if path.suffix != ".json" and not text.lstrip().startswith("{"):
        keyid = compute_keyid(text)
        return [ValidatorKey(keyid, text, path.stem, VALIDATOR, "", None, None)]
    try:
        return decode(ValidatorKeyList, canonical.loads(text)).keys
    except (InvalidInput, Unavailable) as error:
        raise InvalidInput(
            _KIND, f"{path} holds no keys as `plait key export` writes them: {error.message}"
        ) from error


def _parse_bundle(data: bytes, path: Path) -> list[Any]:
    try:
        whole = canonical.loads(data)
    except InvalidInput:
        try:
            return [canonical.loads(line) for line in data.splitlines() if line.strip()]
        except InvalidInput as error:
            raise InvalidInput(
                _KIND, f"{path} holds no envelopes: {error.message}", path=str(path)
            ) from error
    return whole if isinstance(whole, list) else [whole]


def _read(path: Path, largest: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1)
    except FileNotFoundError as error:
        raise NotFound("file-not-found", f"There is no file {path}.", path=str(path)) from error
    except OSError as error:
        raise InvalidInput(_KIND, f"Cannot read {path}: {error.strerror}.") from error
    if len(data) > largest:
        raise InvalidInput(_KIND, f"{path} has over {largest} bytes.", path=str(path))
    return data
