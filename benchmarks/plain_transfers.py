"""One PUT and one GET of a file, without plait: what a transfer through S3 cannot do without.

By signed URLs and `http.client`, which is what plait's client uses; by httpx; and by boto3's
transfer manager with its own defaults. Times are of the requests alone, without a start-up.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from served.s3 import S3Server

PIECE = 1 << 20
KEY = "plain"


@dataclass(frozen=True, slots=True)
class Seconds:
    """What one PUT, one GET and one sha256 of the same bytes took."""

    put: float
    get: float
    sha256: float


@dataclass(frozen=True, slots=True)
class Plain:
    """A bucket to move one file to and from."""

    s3: S3Server
    bucket: str

    def by_http_client(self, path: Path) -> Seconds:
        """Move the file as plait's client would: a signed checksum, pieces of 1 MiB."""
        taken, digest = clock(lambda: sha256(path))
        checksum = base64.b64encode(digest).decode()
        put = clock(lambda: self._put(path, {"x-amz-checksum-sha256": checksum}))[0]
        get = clock(self._get)[0]
        self._delete()
        return Seconds(put, get, taken)

    def by_httpx(self, path: Path) -> Seconds:
        """Move the file by httpx, which streams as well."""

        def put() -> None:
            size = {"Content-Length": str(path.stat().st_size)}
            answer = httpx.put(self._sign("put_object"), content=pieces(path), headers=size)
            answer.raise_for_status()

        def get() -> None:
            with httpx.stream("GET", self._sign("get_object")) as answer:
                answer.raise_for_status()
                for _ in answer.iter_raw(PIECE):
                    pass

        seconds = Seconds(clock(put)[0], clock(get)[0], 0.0)
        self._delete()
        return seconds

    def by_boto3(self, path: Path) -> Seconds:
        """Move the file by boto3's transfer manager, which sends and gets parts in parallel."""
        client, copy = self.s3.client(), path.with_suffix(".boto3")
        put = clock(lambda: client.upload_file(str(path), self.bucket, KEY))[0]
        get = clock(lambda: client.download_file(self.bucket, KEY, str(copy)))[0]
        copy.unlink()
        self._delete()
        return Seconds(put, get, 0.0)

    def _sign(self, method: str, **parameters: str) -> str:
        named = {"Bucket": self.bucket, "Key": KEY, **parameters}
        url: str = self.s3.client().generate_presigned_url(method, Params=named)
        return url

    def _put(self, path: Path, headers: dict[str, str]) -> None:
        url = self._sign("put_object", ChecksumSHA256=headers["x-amz-checksum-sha256"])
        sized = {**headers, "Content-Length": str(path.stat().st_size)}
        answer = send("PUT", url, pieces(path), sized)
        answer.read()

    def _get(self) -> None:
        answer = send("GET", self._sign("get_object"), None, {})
        buffer = bytearray(PIECE)
        while answer.readinto(buffer):
            pass

    def _delete(self) -> None:
        self.s3.client().delete_object(Bucket=self.bucket, Key=KEY)


def send(
    method: str, url: str, body: Iterator[memoryview] | None, headers: dict[str, str]
) -> http.client.HTTPResponse:
    """Send a request over a connection of its own, and return the answer, which must be good."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, blocksize=1 << 16)
    connection.request(method, f"{parts.path}?{parts.query}", body=body, headers=headers)
    answer = connection.getresponse()
    if answer.status >= 300:
        raise SystemExit(
            f"benchmark: {method} was answered with {answer.status}: {answer.read()!r}"
        )
    return answer


def pieces(path: Path) -> Iterator[memoryview]:
    """Yield the file's bytes; each piece is overwritten by the next."""
    buffer = memoryview(bytearray(PIECE))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            yield buffer[:count]


def sha256(path: Path) -> bytes:
    """Return the digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def clock(action: Callable[[], Any]) -> tuple[float, Any]:
    """Return how many seconds an action took, and what it returned."""
    started = time.perf_counter()
    result = action()
    return time.perf_counter() - started, result
