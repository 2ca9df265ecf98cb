"""What the process of a job has to work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from plait import wire_jobs
from plait.cache import Cache
from plait.progress import Progress
from plait.transport import Transport
from plait_registry.job_settings import ValidatorSettings


@dataclass(frozen=True, slots=True)
class Work:
    """A job, and what there is to do it with."""

    transport: Transport
    cache: Cache
    details: wire_jobs.JobDetails
    threads: int
    validator: ValidatorSettings = field(default_factory=ValidatorSettings)
    remembered: Path | None = None
    """Where what outlives the job is kept, such as the digests of bases."""


Execute: TypeAlias = Callable[[Work, Progress], wire_jobs.JobResult]
