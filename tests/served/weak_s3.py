"""A store that speaks S3 and enforces nothing: no checksum, no condition, no signature.

Only what the registry needs of S3, in memory. It can be told to change a bit of what it is given,
to refuse headers that it does not know, and to report a failure in an answer that says 200.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from plait_registry.adapters.s3_location import S3Location

BUCKET = "weak-bucket"
WHEN = "2026-11-24T06:07:00.000Z"


@dataclass
class WeakStore:
    """What the store holds, and how it misbehaves."""

    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, tuple[str, dict[int, bytes]]] = field(default_factory=dict)
    """By their ids: the key, and the parts by number."""
    is_corrupting: bool = False
    """Whether it changes what it is given."""
    refused: frozenset[str] = frozenset()
    """Lowercase headers, and queries, that it answers by 501."""
    hidden_failures: int = 0
    """How often joining parts fails with 200 and an error as body."""
    endpoint: str = ""
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def location(self, prefix: str = "") -> S3Location:
        return S3Location(
            BUCKET, prefix, self.endpoint, "us-east-1", "path", access_key="k", secret_key="s"
        )

    def spoil(self, data: bytes) -> bytes:
        if not self.is_corrupting or not data:
            return data
        return data[:-1] + bytes([data[-1] ^ 1])


@contextmanager
def weak_s3() -> Generator[WeakStore]:
    """Run a weak store."""
    store = WeakStore()
    handler = type("Handler", (_Handler,), {"store": store})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        store.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield store
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    store: WeakStore
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle_one_request(self) -> None:
        """Answer one request; a client may be gone."""
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    @property
    def key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}").lstrip("/")

    @property
    def query(self) -> dict[str, str]:
        pairs = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        return {name: values[0] for name, values in pairs.items()}

    def do_PUT(self) -> None:
        data = self.store.spoil(self.rfile.read(int(self.headers.get("content-length", 0))))
        if self.refuses():
            return
        if "uploadId" in self.query:
            _, parts = self.store.uploads[self.query["uploadId"]]
            parts[int(self.query["partNumber"])] = data
        else:
            self.store.objects[self.key] = data
        self.answer(200, ETag=etag(data))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.refuses():
            return
        if "uploads" in self.query:
            upload = f"upload-{next(self.store.numbers)}"
            self.store.uploads[upload] = (self.key, {})
            self.xml("InitiateMultipartUploadResult", f"<UploadId>{upload}</UploadId>")
            return
        if self.store.hidden_failures:
            self.store.hidden_failures -= 1
            self.answer(200, b"<Error><Code>InternalError</Code><Message>No.</Message></Error>")
            return
        _, parts = self.store.uploads.pop(self.query["uploadId"])
        numbers = [int(n) for n in re.findall(rb"<PartNumber>(\d+)</PartNumber>", body)]
        data = self.store.objects[self.key] = b"".join(parts[number] for number in numbers)
        self.xml("CompleteMultipartUploadResult", f"<ETag>{etag(data)}</ETag>")

    def do_DELETE(self) -> None:
        if self.refuses():
            return
        if "uploadId" in self.query:
            self.store.uploads.pop(self.query["uploadId"], None)
        else:
            self.store.objects.pop(self.key, None)
        self.answer(204)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if not self.key:
            self.list_bucket()
        elif "uploadId" in self.query:
            self.list_parts()
        elif self.key not in self.store.objects:
            self.error(404, "NoSuchKey")
        else:
            self.read_object(self.store.objects[self.key])

    def read_object(self, data: bytes) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        if wanted is None or "range" in self.store.refused:
            self.answer(200, data, ETag=etag(data))
            return
        first, last = int(wanted[1]), int(wanted[2] or len(data) - 1)
        if first >= len(data):
            self.error(416, "InvalidRange")
            return
        piece = data[first : last + 1]
        where = f"bytes {first}-{first + len(piece) - 1}/{len(data)}"
        self.answer(206, piece, ETag=etag(data), **{"Content-Range": where})

    def list_bucket(self) -> None:
        prefix = self.query.get("prefix", "")
        if "uploads" in self.query:
            items = "".join(
                f"<Upload><Key>{escape(key)}</Key><UploadId>{upload}</UploadId>"
                f"<Initiated>{WHEN}</Initiated></Upload>"
                for upload, (key, _) in self.store.uploads.items()
                if key.startswith(prefix)
            )
            self.xml("ListMultipartUploadsResult", f"<IsTruncated>false</IsTruncated>{items}")
            return
        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size>"
            f"<LastModified>{WHEN}</LastModified></Contents>"
            for key, data in sorted(self.store.objects.items())
            if key.startswith(prefix)
        )
        self.xml("ListBucketResult", f"<IsTruncated>false</IsTruncated>{items}")

    def list_parts(self) -> None:
        upload = self.store.uploads.get(self.query["uploadId"])
        if upload is None:
            self.error(404, "NoSuchUpload")
            return
        items = "".join(
            f"<Part><PartNumber>{number}</PartNumber><Size>{len(data)}</Size>"
            f"<ETag>{etag(data)}</ETag><LastModified>{WHEN}</LastModified></Part>"
            for number, data in sorted(upload[1].items())
        )
        self.xml("ListPartsResult", f"<IsTruncated>false</IsTruncated>{items}")

    def refuses(self) -> bool:
        given = {name.lower() for name in self.headers} | set(self.query)
        if given.isdisjoint(self.store.refused):
            return False
        self.error(501, "NotImplemented")
        return True

    def error(self, status: int, code: str) -> None:
        self.answer(status, f"<Error><Code>{code}</Code><Message>-</Message></Error>".encode())

    def xml(self, name: str, content: str) -> None:
        self.answer(200, f"<{name}>{content}</{name}>".encode())

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def etag(data: bytes) -> str:
    """Return the ETag of content, in quotes."""
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
