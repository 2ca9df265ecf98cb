"""Figures of modules, as many as a note can hold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

LARGEST_FIGURES = 200_000
"""Bytes of JSON; the registry takes a note of 256,000."""


def fit_modules(modules: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the first modules that fit into a note, and how many are left out."""
    size, fitting = 0, 0
    for module in modules:
        size += len(json.dumps(module))
        fitting += size <= LARGEST_FIGURES
    return {"modules": list(modules[:fitting]), "modules_left_out": len(modules) - fitting}
