"""The settings of `plait-registry`: the one place that reads the environment.

A flag wins over the environment, which wins over the default. Whatever cannot work is refused
here, at the start, with a sentence that names the setting.
"""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from plait.configuration import Configuration, from_environment
from plait.errors import InvalidInput
from plait_registry.adapters.s3_location import S3Location, parse_s3_url
from plait_registry.job_settings import (
    JobSettings,
    ValidatorSettings,
    WorkerSettings,
    describe_validator,
    read_jobs,
    read_worker,
)
from plait_registry.setting_source import Source, refuse

DEFAULT_PORT = 8420
DEFAULT_LARGEST_REQUEST = 64 * 1024 * 1024
LOG_LEVELS = ("debug", "info", "warning", "error")

_SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"
# What a process of a job keeps of the environment: where programs and libraries are, how people
# write here, certificates, and the way out to an object store. A closed list, since a secret may
# have any name.
_KEPT_FOR_JOBS = (
    "PATH",
    "PYTHONPATH",
    "LD_LIBRARY_PATH",
    "LANG",
    "LC_ALL",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "NUMBA_CPU_NAME",
    "NUMBA_CPU_FEATURES",
    "NUMBA_DISABLE_JIT",
    # Which GPUs there are, and how a Ray cluster is spoken to.
    "CUDA_VISIBLE_DEVICES",
    "RAY_TMPDIR",
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN",
    "RAY_AUTH_TOKEN_PATH",
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class MetricsAccess(StrEnum):
    """Who may read `/metrics`."""

    OFF = "off"  # nobody
    LOOPBACK = "loopback"  # who connects from this machine, and not through a proxy
    TOKEN = "token"  # noqa: S105 - any caller with a token, whatever its rights
    OPEN = "open"  # everyone who reaches the port


@dataclass(frozen=True, slots=True)
class Serving:
    """How requests are answered, and what one client may take."""

    largest_request: int = DEFAULT_LARGEST_REQUEST
    """Bytes of the largest JSON body."""
    threads: int = 40
    """Requests that one process works on at a time; further ones wait."""
    connections: int = 1_000
    """Connections that one process answers on; further ones hear that it is busy."""
    stall_seconds: int = 60
    """How long a client may keep a request or an answer from moving on."""
    drain_seconds: int = 0
    """How long requests are still taken after a signal to stop, while `/readyz` says no."""
    stop_seconds: int = 8
    """How long requests may then take to finish."""
    workers: int = 1
    """Processes on one socket."""
    metrics: MetricsAccess = MetricsAccess.TOKEN
    trusted_proxies: tuple[Network, ...] = ()
    """Whose X-Forwarded-For is believed."""


@dataclass(frozen=True, slots=True)
class EventSettings:
    """How events are kept, and how webhooks hear of them."""

    delivery: bool = True
    """Whether `serve` delivers, too; else `plait-registry worker` does."""
    allow_private: bool = False
    """Webhooks may lead to private addresses, and without TLS."""
    threads: int = 4
    """Deliveries that one process sends at a time, each of another namespace."""
    attempts: int = 8
    """Of a delivery, before it is given up."""
    keep_days: int = 30
    """How long events, and deliveries that are done, can be read."""


@dataclass(frozen=True, slots=True)
class JobTask:
    """What the process of a job is given, in its environment."""

    client: Configuration
    """Where the registry is, by which token, and where files may lie."""
    threads: int
    memory_mb: int
    validator: ValidatorSettings
    memory: Path | None
    """Where what outlives the job is remembered, such as the digests of bases."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What one registry runs with."""

    data: Path
    """The folder that holds everything the registry keeps on this machine."""
    host: str
    port: int
    """0: any free one."""
    behind_tls: bool
    """The operator says that a proxy with TLS stands in front."""
    database_url: str | None = field(repr=False)
    """None: SQLite in the data folder. There may be a password inside."""
    database_pool: int
    """Connections that one process keeps; in a burst, as many again join them."""
    statement_timeout_seconds: int
    """After which PostgreSQL ends a statement."""
    serving: Serving
    object_store: S3Location | None
    """None: the data folder."""
    signed_url_seconds: int
    """How long signed URLs are good for."""
    log_level: int
    events: EventSettings = EventSettings()
    jobs: JobSettings = field(default_factory=JobSettings)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    pg_bin: Path | None = None
    """Where pg_dump and pg_restore are; None: on PATH."""
    notices: tuple[str, ...] = ()
    """What the operator should hear at the start."""

    @property
    def remembered(self) -> Path:
        """Where what outlives a job is remembered, such as the digests of bases."""
        return self.data.absolute() / "remembered"


def read_settings(
    flags: Mapping[str, str | None] | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Return the settings; `flags` are keyed by the part of a variable's name after `PLAIT_`.

    Raises:
        InvalidInput: `usage`, a value that cannot work.
    """
    source = Source(flags or {}, os.environ if environ is None else environ)
    settings = Settings(
        data=Path(source.text("DATA", "./plait-data")),
        host=source.text("HOST", "127.0.0.1"),
        port=source.number("PORT", DEFAULT_PORT, lowest=0, highest=65_535),
        behind_tls=source.switch("BEHIND_TLS"),
        database_url=source.secret("DATABASE_URL"),
        database_pool=source.number("DATABASE_POOL", 8, lowest=1, highest=100),
        statement_timeout_seconds=source.number(
            "STATEMENT_TIMEOUT_SECONDS", 30, lowest=1, highest=3_600
        ),
        serving=_read_serving(source),
        object_store=_read_object_store(source),
        signed_url_seconds=source.number("SIGNED_URL_SECONDS", 3_600, lowest=10, highest=604_800),
        pg_bin=Path(programs) if (programs := source.text("PG_BIN", "")) else None,
        log_level=_read_log_level(source),
        events=_read_events(source),
        jobs=read_jobs(source),
        worker=read_worker(source),
    )
    _verify_host(settings)
    _verify_workers(settings)
    return replace(settings, notices=source.find_misspelt())


def share_metrics(folder: Path | None) -> None:
    """Say where the workers of this host gather their figures, before any of them is counted.

    The library that counts takes this from the environment alone; what the operator's own has for
    another program is dropped.
    """
    if folder is None:
        os.environ.pop(_SHARED_METRICS, None)
    else:
        os.environ[_SHARED_METRICS] = str(folder)


def find_shared_metrics() -> Path | None:
    """Return where `share_metrics` said that figures are gathered."""
    folder = os.environ.get(_SHARED_METRICS)
    return None if folder is None else Path(folder)


def build_job_environment(
    settings: Settings, folder: Path, *, url: str, token: str
) -> dict[str, str]:
    """Return the whole environment of a job's process: no database, no store, no key of either.

    What it keeps while it works lies in `folder`; compiled kernels outlive it.
    """
    kept = {name: os.environ[name] for name in _KEPT_FOR_JOBS if name in os.environ}
    host = urlsplit(url).hostname or ""
    return {
        **kept,
        # The registry itself is never behind a proxy of the way out.
        "no_proxy": ",".join(filter(None, (_find_no_proxy(), host))),
        "NUMBA_CACHE_DIR": os.environ.get(
            "NUMBA_CACHE_DIR", str((settings.data / "kernels").absolute())
        ),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PLAIT_URL": url,
        "PLAIT_TOKEN": token,
        "PLAIT_CACHE_DIR": str(folder / "cache"),
        "PLAIT_CONFIG": str(folder / "config.toml"),
        "PLAIT_JOB_THREADS": str(settings.jobs.threads),
        "PLAIT_JOB_MEMORY_MB": str(settings.jobs.memory_mb),
        # Nothing of a job is told to anybody but the registry.
        "RAY_USAGE_STATS_ENABLED": "0",
        **_find_ray_token(settings.jobs.validator),
        **describe_validator(settings.jobs.validator, settings.remembered),
    }


def _find_ray_token(validator: ValidatorSettings) -> dict[str, str]:
    """Return where the token of the Ray cluster is, which Ray looks for in a home of its user."""
    path = Path.home() / ".ray" / "auth_token"
    is_said = any(name.startswith("RAY_AUTH_") for name in os.environ)
    if validator.ray_address is None or is_said or not path.exists():
        return {}
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}


def read_job_task(environ: Mapping[str, str] | None = None) -> JobTask:
    """Return what `build_job_environment` wrote, in the process of a job."""
    given = os.environ if environ is None else environ
    source = Source({}, given)
    jobs, memory = read_jobs(source), source.text("JOB_MEMORY", "")
    return JobTask(
        client=from_environment(given),
        threads=jobs.threads,
        memory_mb=jobs.memory_mb,
        validator=jobs.validator,
        memory=Path(memory) if memory else None,
    )


def read_proxies() -> Mapping[str, str]:
    """Return the proxies that lead out of here, by scheme, as the client takes them."""
    return from_environment(os.environ).proxies


def _find_no_proxy() -> str:
    return os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""


def find_notify_socket() -> str | None:
    """Return where systemd wants to hear that the server is ready, if it does."""
    return os.environ.get("NOTIFY_SOCKET") or None


def _read_serving(source: Source) -> Serving:
    default = Serving()
    return Serving(
        largest_request=source.number(
            "LARGEST_REQUEST", default.largest_request, lowest=1_024, highest=2**40
        ),
        threads=source.number("THREADS", default.threads, lowest=1, highest=1_000),
        connections=source.number("CONNECTIONS", default.connections, lowest=1, highest=100_000),
        stall_seconds=source.number("STALL_SECONDS", default.stall_seconds, lowest=1, highest=3600),
        drain_seconds=source.number("DRAIN_SECONDS", default.drain_seconds, lowest=0, highest=600),
        stop_seconds=source.number("STOP_SECONDS", default.stop_seconds, lowest=1, highest=3600),
        workers=source.number("WORKERS", default.workers, lowest=1, highest=128),
        metrics=_read_metrics_access(source),
        trusted_proxies=_read_networks(source, "TRUSTED_PROXIES"),
    )


def _read_events(source: Source) -> EventSettings:
    default = EventSettings()
    return EventSettings(
        delivery=source.switch("DELIVERY", "on"),
        allow_private=source.switch("WEBHOOK_ALLOW_PRIVATE"),
        threads=source.number("DELIVERY_THREADS", default.threads, lowest=1, highest=100),
        attempts=source.number("WEBHOOK_ATTEMPTS", default.attempts, lowest=1, highest=100),
        keep_days=source.number("EVENT_DAYS", default.keep_days, lowest=1, highest=36_500),
    )


def _read_metrics_access(source: Source) -> MetricsAccess:
    return source.choice("METRICS", MetricsAccess.TOKEN)


def _read_networks(source: Source, name: str) -> tuple[Network, ...]:
    texts = [part.strip() for part in source.text(name, "").split(",")]
    try:
        return tuple(ipaddress.ip_network(text) for text in texts if text)
    except ValueError:
        raise refuse(
            name, ", ".join(texts), "expected addresses or networks, as 127.0.0.1, 10.0.0.0/8"
        ) from None


def _read_log_level(source: Source) -> int:
    name = source.text("LOG_LEVEL", "info").lower()
    if name not in LOG_LEVELS:
        raise refuse("LOG_LEVEL", name, f"expected one of {', '.join(LOG_LEVELS)}")
    return logging.getLevelNamesMapping()[name.upper()]


def _read_object_store(source: Source) -> S3Location | None:
    url = source.text("OBJECT_STORE", "")
    keys = source.secret("S3_ACCESS_KEY"), source.secret("S3_SECRET_KEY")
    if not url:
        if any(keys):
            # Weights in a folder where the operator expects a bucket would be a bad surprise.
            raise InvalidInput(
                "usage", "PLAIT_S3_ACCESS_KEY without PLAIT_OBJECT_STORE: say s3://bucket there."
            )
        return None
    if (keys[0] is None) != (keys[1] is None):
        raise InvalidInput("usage", "PLAIT_S3_ACCESS_KEY and PLAIT_S3_SECRET_KEY go together.")
    try:
        location = parse_s3_url(url)
    except ValueError as error:
        # Not the URL itself: people put credentials into it.
        raise InvalidInput("usage", f"PLAIT_OBJECT_STORE: {error}.") from None
    return replace(location, access_key=keys[0], secret_key=keys[1])


def _verify_host(settings: Settings) -> None:
    if is_loopback(settings.host) or settings.behind_tls:
        return
    raise InvalidInput(
        "usage",
        f"{settings.host!r} can be reached from other machines, and this server speaks plain HTTP: "
        "tokens and weights would cross the network unencrypted. TLS belongs in front of it: put "
        "a reverse proxy with TLS there, then say so with --behind-tls (or PLAIT_BEHIND_TLS=1).",
    )


def _verify_workers(settings: Settings) -> None:
    if settings.serving.workers == 1:
        return
    is_file = not settings.database_url or settings.database_url.startswith("sqlite")
    if is_file or settings.object_store is None:
        raise refuse(
            "WORKERS",
            str(settings.serving.workers),
            "one process serves a data folder. Several take PostgreSQL (PLAIT_DATABASE_URL) and "
            "S3 (PLAIT_OBJECT_STORE)",
        )


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
