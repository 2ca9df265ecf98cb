"""The real services beneath a registry of several machines: PostgreSQL and S3, on loopback.

The servers are those of the tests (`tests/served`), started for one run in temporary folders.
PostgreSQL writes its log through to the disk, as it would for a company.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from served.postgres import PostgresServer, postgres_server
from served.s3 import S3Server, s3_server

DATABASE = "plait"
BUCKET = "plait"
LARGE = 1 << 20


@dataclass(frozen=True, slots=True)
class Services:
    """What all replicas of one registry share."""

    postgres: PostgresServer
    s3: S3Server

    def environment(self, *, database: str = DATABASE, bucket: str = BUCKET) -> dict[str, str]:
        """Return the settings of a replica."""
        return {
            "PLAIT_DATABASE_URL": self.postgres.url(database),
            **self.s3.environment(bucket),
        }

    def make_room(self, name: str) -> dict[str, str]:
        """Make an empty database and an empty bucket, and return the settings that name them."""
        self.postgres.create_database(name)
        self.s3.create_bucket(name)
        return self.environment(database=name, bucket=name)

    def stored_bytes(self, bucket: str) -> int:
        """Return the bytes of all objects in a bucket."""
        return sum(size for _, size in self._list(bucket))

    def remove_weights(self, bucket: str) -> None:
        """Remove the large objects of a bucket, which a benchmark does not come back to."""
        for key, size in self._list(bucket):
            if size > LARGE:
                self.s3.client().delete_object(Bucket=bucket, Key=key)

    def _list(self, bucket: str) -> Iterator[tuple[str, int]]:
        for page in self.s3.client().get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for item in page.get("Contents", ()):
                yield item["Key"], item["Size"]


@contextlib.contextmanager
def running_services() -> Generator[Services]:
    """Start both servers without any data, and leave nothing behind."""
    with (
        tempfile.TemporaryDirectory(prefix="plait-bench-s3-") as folder,
        postgres_server(durable=True) as postgres,
        s3_server(Path(folder)) as s3,
    ):
        yield Services(postgres, s3)
