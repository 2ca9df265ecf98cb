"""Asking a merged model: it is merged once more, into a temporary folder, and loaded from there.

That costs the memory of a model and its size on disk, so that it is done only where it is wanted.
What stands in its way, as a library that is not installed, is told and is no verdict.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from plait.errors import InvalidInput, Unavailable
from plait.merge import MergeOptions, MergeSource, merge
from plait.model.output_probe import OutputProbe
from plait.progress import NO_PROGRESS, Progress


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking a model."""

    outputs: OutputProbe | None = None
    health: dict[str, Any] = field(default_factory=dict)
    obstacle: str = ""
    """Why there are no outputs."""


def ask_merged(
    sources: Sequence[MergeSource],
    options: MergeOptions,
    tokens: Path,
    progress: Progress = NO_PROGRESS,
) -> Asked:
    """Return what the merged model and its base answer to the tokens in a version's folder."""
    from plait.model_probe import ProbeOptions, probe_model
    from plait.probe_tokens import find_probe_tokens

    try:
        with tempfile.TemporaryDirectory(prefix="plait-merged-") as folder:
            into = Path(folder, "model")
            merged = merge(sources, replace(options, into=into, measure=False), progress)
            base = options.base if merged.base_weights == "original" else None
            found = probe_model(
                into, base, ProbeOptions(options.device, tokens=find_probe_tokens(tokens))
            )
    except (InvalidInput, Unavailable) as error:
        return Asked(obstacle=error.message[:1_000])
    return Asked(found.outputs, dict(found.health))
