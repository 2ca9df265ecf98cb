"""The options of an extraction as JSON, as they stand in a commit's origin, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from plait.algebra.extract import ExtractOptions
from plait.algebra.rounding import DTYPES
from plait.model.fields import Fields

_PATTERNS = ("embeddings", "transposed", "convolutions", "saved", "left_out")
_FIELDS = ("rank", "energy", "dtype", *_PATTERNS, "rest_left_out", "tied_heads")
_KIND = "invalid-recipe"


def options_to_json(options: ExtractOptions) -> dict[str, Any]:
    """Return every option, also those that were not given."""
    return {
        "rank": options.rank,
        "energy": options.energy,
        "dtype": options.dtype,
        **{name: list(getattr(options, name)) for name in _PATTERNS},
        "rest_left_out": options.is_rest_left_out,
        "tied_heads": dict(options.tied_heads),
    }


def options_from_json(value: object) -> ExtractOptions:
    """Return the options that a commit tells.

    Raises:
        InvalidInput: `invalid-recipe`, a field is unknown, missing or of another type. Whether the
            values fit the models is for `plan_extraction`.
    """
    fields = Fields(value, kind=_KIND, where="The options of the extraction")
    fields.only(_FIELDS)
    dtype, is_rest_left_out = fields.text("dtype"), fields.get("rest_left_out")
    if dtype not in DTYPES:
        raise fields.error(f"have an unknown dtype {dtype!r:.40}")
    if not isinstance(is_rest_left_out, bool):
        raise fields.error("have a rest_left_out that is neither true nor false")
    patterns = {name: _parse_patterns(fields, name) for name in _PATTERNS}
    return ExtractOptions(
        rank=None if fields.get("rank") is None else fields.count("rank"),
        energy=_parse_energy(fields),
        dtype=dtype,
        is_rest_left_out=is_rest_left_out,
        tied_heads=_parse_tied_heads(fields),
        **patterns,
    )


def _parse_energy(fields: Fields) -> float | None:
    energy = fields.get("energy")
    if energy is None:
        return None
    if isinstance(energy, bool) or not isinstance(energy, int | float):
        raise fields.error("have an energy that is no number")
    if not math.isfinite(energy):
        raise fields.error("have an energy that is not finite")
    return float(energy)


def _parse_patterns(fields: Fields, name: str) -> tuple[str, ...]:
    items = fields.items(name)
    if not all(isinstance(item, str) for item in items):
        raise fields.error(f"have {name} that are no list of names")
    return tuple(items)


def _parse_tied_heads(fields: Fields) -> Mapping[str, str]:
    heads = fields.get("tied_heads")
    if not isinstance(heads, dict) or not all(isinstance(path, str) for path in heads.values()):
        raise fields.error("have tied_heads that do not map modules to modules")
    return heads
