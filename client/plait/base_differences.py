"""In what a base that was taken for another one differs: tensor by tensor, where a registry knows.

A fingerprint says only that something differs. A registry that holds the base, if only its card,
has the digest of each tensor, so that one changed element can be named by its tensor.
"""

from __future__ import annotations

from pathlib import Path

from plait.base_match import list_bases, load_card
from plait.cache import Cache
from plait.errors import InvalidInput, PlaitError
from plait.known_bases import base_tables
from plait.model.base_version import find_mismatches
from plait.model.ids import ObjectId
from plait.transport import Transport

MOST_NAMED = 5


def find_base_differences(
    transport: Transport,
    cache: Cache,
    wanted: ObjectId,
    folder: Path,
    remembered: Path | None = None,
) -> list[str] | None:
    """Return the names of the tensors in which `folder` is not the base of a fingerprint, sorted.

    None where the registry has no such base, or not for the caller.

    Raises:
        PlaitError: the registry did not answer, or the folder holds no base.
    """
    held = next(iter(list_bases(transport, fingerprint=wanted)), None)
    if held is None:
        return None
    card = load_card(transport, held.repository, cache, held.commit)
    tables = base_tables(folder, remembered)
    tensors = [tensor for table in tables.values() for tensor in table.entries]
    return sorted({mismatch.name for mismatch in find_mismatches(card, tensors)})


def name_differences(
    error: InvalidInput,
    transport: Transport,
    cache: Cache,
    folder: Path,
    remembered: Path | None = None,
) -> InvalidInput:
    """Return the error `base-mismatch` with what differs, as far as that can be found out."""
    wanted = error.details.get("expected")
    if error.kind != "base-mismatch" or not isinstance(wanted, str):
        return error
    try:
        names = find_base_differences(transport, cache, ObjectId(wanted), folder, remembered)
    except PlaitError:
        return error
    if not names:
        return error
    shown = ", ".join(names[:MOST_NAMED])
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    message = f"{error.message} The tensors that differ: {shown}{more}."
    return InvalidInput(error.kind, message, **{**error.details, "differing": names[:100]})
