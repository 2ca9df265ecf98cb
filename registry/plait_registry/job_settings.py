"""The settings of jobs: what they may take, and what validations are done with."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from plait.configuration import parse_url
from plait.errors import InvalidInput
from plait_registry.setting_source import Source


class Device(StrEnum):
    """Where merges are computed."""

    AUTO = "auto"  # on a GPU where there is one
    CPU = "cpu"
    CUDA = "cuda"


class Engine(StrEnum):
    """What merges where a job validates."""

    INLINE = "inline"  # the job's own process
    RAY = "ray"  # a Ray cluster, by shards of the base


@dataclass(frozen=True, slots=True)
class ValidatorSettings:
    """What validations are done with."""

    bases: tuple[Path, ...] = ()
    """The folders below which bases lie; none: no validations are done."""
    engine: Engine = Engine.INLINE
    ray_address: str | None = None
    """Of the Ray cluster's head, as `auto` or `host:6379`; None: a cluster for the job alone."""
    device: str = Device.AUTO.value
    key: Path | None = None
    """The validator's private key; None: what is seen is published, and not signed."""
    asks_model: bool = False
    """Whether merged models are loaded and asked, which takes the memory and the disk of one."""


@dataclass(frozen=True, slots=True)
class JobSettings:
    """How jobs are done, and what one of them may take."""

    enabled: bool = True
    """Whether `serve` does jobs, too; else `plait-registry worker` does."""
    url: str | None = None
    """Where the processes of jobs reach the registry; None: `serve` knows its own address."""
    processes: int = 1
    """Jobs that one process has done at a time, each by a process of its own."""
    threads: int = 1
    """Of each of them."""
    seconds: int = 3_600
    """How long one may take."""
    memory_mb: int = 4_096
    """How much memory one may have for data, in MiB."""
    validator: ValidatorSettings = ValidatorSettings()


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The registry elsewhere whose jobs `plait-registry worker` does."""

    url: str | None = None
    """None: those of the database that is configured here."""
    token: str | None = field(default=None, repr=False)
    """Of the scope `*:work`."""


def read_jobs(source: Source) -> JobSettings:
    """Return what is set about jobs.

    Raises:
        InvalidInput: `usage`, a value that cannot work.
    """
    default = JobSettings()
    url = source.text("JOB_URL", "")
    return JobSettings(
        enabled=source.switch("JOBS", "on"),
        url=_parse_job_url(url) if url else None,
        processes=source.number("JOB_PROCESSES", default.processes, lowest=1, highest=64),
        threads=source.number("JOB_THREADS", default.threads, lowest=1, highest=256),
        seconds=source.number("JOB_SECONDS", default.seconds, lowest=1, highest=604_800),
        memory_mb=source.number("JOB_MEMORY_MB", default.memory_mb, lowest=256, highest=2**24),
        validator=_read_validator(source),
    )


def _read_validator(source: Source) -> ValidatorSettings:
    bases, key = source.text("BASES", ""), source.text("VALIDATOR_KEY", "")
    return ValidatorSettings(
        bases=tuple(Path(item) for item in bases.split(os.pathsep) if item),
        engine=source.choice("ENGINE", Engine.INLINE),
        ray_address=source.text("RAY_ADDRESS", "") or None,
        device=source.choice("DEVICE", Device.AUTO).value,
        key=Path(key) if key else None,
        asks_model=source.switch("ASK_MODEL"),
    )


def read_worker(source: Source) -> WorkerSettings:
    """Return which registry a worker of its own works for; raises as `read_jobs`."""
    url = source.text("WORKER_URL", "")
    token = source.secret("WORKER_TOKEN")
    return WorkerSettings(_parse_job_url(url, "WORKER_URL") if url else None, token)


def _parse_job_url(text: str, name: str = "JOB_URL") -> str:
    try:
        return parse_url(text)
    except InvalidInput:
        # Not the text itself: people put credentials into it.
        raise InvalidInput(
            "usage",
            f"PLAIT_{name}: expected the registry's address, as https://plait.example.org.",
        ) from None


def describe_validator(validator: ValidatorSettings, memory: Path) -> dict[str, str]:
    """Return what tells a job's process, as variables for `read_jobs`, how to validate."""
    given = {
        "BASES": os.pathsep.join(str(base.absolute()) for base in validator.bases),
        "ENGINE": validator.engine.value,
        "RAY_ADDRESS": validator.ray_address,
        "DEVICE": validator.device,
        "VALIDATOR_KEY": None if validator.key is None else str(validator.key.absolute()),
        "ASK_MODEL": "1" if validator.asks_model else None,
        "JOB_MEMORY": str(memory),
    }
    return {f"PLAIT_{name}": value for name, value in given.items() if value}
