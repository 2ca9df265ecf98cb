"""What merges where a job validates, behind one port.

`inline` merges in the job's own process. `ray` has the nodes of a Ray cluster merge a part each
(`plait_registry.worker.ray_engine`), which is imported only where it is chosen.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Protocol

from plait.merge import Merged, MergeOptions, MergeSource, merge
from plait.progress import Progress
from plait_registry.job_settings import Engine, ValidatorSettings


class MergeEngine(Protocol):
    """Merges adapters into a base; `plait.merge.merge` is one."""

    def __call__(
        self, sources: Sequence[MergeSource], options: MergeOptions, progress: Progress
    ) -> Merged:
        """Return what a merge came out as: the same digests, whatever the engine."""


@contextmanager
def open_engine(validator: ValidatorSettings) -> Generator[MergeEngine]:
    """Yield the engine that is chosen, and leave it afterwards.

    Raises:
        Unavailable: `extra-missing`, ray is not installed; or its cluster cannot be reached.
    """
    if validator.engine is Engine.INLINE:
        yield merge
        return
    from plait_registry.worker.ray_engine import RayEngine, connect

    with connect(validator.ray_address):
        yield RayEngine(validator.bases)
