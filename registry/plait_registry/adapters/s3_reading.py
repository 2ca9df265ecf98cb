"""Reading objects of a bucket, as fast as they can be looked at and however often they are cut.

- A reading that is cut in the middle goes on from the byte that it reached, of the same object: the
  rest is asked for with the ETag of the first answer.
- A large range is fetched as several smaller ones, the next ones while one is looked at. Two
  requests at once are faster than one, above all where the object was sent in parts, and the
  digests take about as long as the store does.
- Few readings fetch ahead at once, since each holds what it fetched in memory; others stream.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

from botocore.exceptions import HTTPClientError, IncompleteReadError, ResponseStreamingError

from plait.errors import NotFound, Unavailable
from plait.model.ids import ObjectId, abbreviate
from plait_registry.adapters.s3_client import Refusal, Refused, S3Bucket

PIECE_SIZE = 1024 * 1024
RANGE_SIZE = 8 * PIECE_SIZE
RANGES_AHEAD = 2
MOST_AHEAD = 2
"""Readings that fetch ahead at once, each with up to three ranges in memory: 48 MiB together."""
MOST_CUTS = 5
"""In a row, without a byte between them."""

_CUT = (HTTPClientError, IncompleteReadError, ResponseStreamingError)
"""What botocore raises where the connection fails while a body is read."""
_FORESEEN = (Refusal.ABSENT, Refusal.CONDITION, Refusal.OUT_OF_RANGE)


class RangeReader:
    """Reads ranges of objects of one bucket."""

    def __init__(self, bucket: S3Bucket) -> None:
        self._bucket = bucket
        self._ahead = threading.BoundedSemaphore(MOST_AHEAD)

    def read(self, object_id: ObjectId, start: int, stop: int | None) -> Iterator[bytes]:
        """Yield the bytes in order; raises as `ObjectStore.read`."""
        if stop is None or stop - start <= RANGE_SIZE:
            return Reading(self._bucket, object_id).pieces(start, stop)
        return self._read_large(object_id, start, stop)

    def _read_large(self, object_id: ObjectId, start: int, stop: int) -> Generator[bytes]:
        if not self._ahead.acquire(blocking=False):
            yield from Reading(self._bucket, object_id).pieces(start, stop)
            return
        pool = ThreadPoolExecutor(RANGES_AHEAD, thread_name_prefix="read-ahead")

        def fetch(begin: int) -> list[bytes]:
            end = min(begin + RANGE_SIZE, stop)
            return list(Reading(self._bucket, object_id).pieces(begin, end))

        try:
            begins = iter(range(start, stop, RANGE_SIZE))
            waiting: deque[Future[list[bytes]]] = deque(
                pool.submit(fetch, begin) for begin in islice(begins, RANGES_AHEAD)
            )
            while waiting:
                pieces = waiting.popleft().result()
                waiting.extend(pool.submit(fetch, begin) for begin in islice(begins, 1))
                yield from pieces
        finally:
            pool.shutdown(cancel_futures=True)
            self._ahead.release()


class Reading:
    """One object that is read from one place on, over as many requests as it takes."""

    def __init__(self, bucket: S3Bucket, object_id: ObjectId) -> None:
        self.etag = ""
        """Of what is read; known with the first piece."""
        self._bucket = bucket
        self._object_id = object_id
        self._key = bucket.key_of(object_id)

    def pieces(self, start: int, stop: int | None) -> Iterator[bytes]:
        """Yield the bytes in order; raises as `ObjectStore.read`."""
        position, cuts = start, 0
        while True:
            answer = self._open(position, stop)
            if answer is None:
                return
            body = answer["Body"]
            try:
                while piece := body.read(PIECE_SIZE):
                    position, cuts = position + len(piece), 0
                    yield piece
                return
            except _CUT as error:
                cuts += 1
                if cuts == MOST_CUTS:
                    raise Unavailable(
                        "unavailable",
                        f"The object store cut the connection {MOST_CUTS} times while an object "
                        "was read. Try again later.",
                    ) from error
            finally:
                body.close()
            self._bucket.pause(cuts)

    def _open(self, position: int, stop: int | None) -> dict[str, Any] | None:
        """Ask for the rest; None where there is none."""
        parameters: dict[str, str] = {"IfMatch": self.etag} if self.etag else {}
        is_ranged = position > 0 or stop is not None
        if is_ranged:
            parameters["Range"] = f"bytes={position}-{'' if stop is None else stop - 1}"
        try:
            answer = self._bucket.call("get_object", *_FORESEEN, Key=self._key, **parameters)
        except Refused as refused:
            if refused.refusal is Refusal.ABSENT:
                raise missing(self._object_id) from refused
            if refused.refusal is Refusal.OUT_OF_RANGE:
                return None
            raise Unavailable(
                "unavailable", "The object was replaced while it was read: try again."
            ) from refused
        if is_ranged and not answer.get("ContentRange", "").startswith(f"bytes {position}-"):
            answer["Body"].close()
            raise Unavailable(
                "unavailable",
                "The object store does not answer ranges: name another in PLAIT_OBJECT_STORE.",
            )
        self.etag = self.etag or answer.get("ETag", "")
        return answer


def missing(object_id: ObjectId) -> NotFound:
    """Return the error that an object is not there."""
    return NotFound("object-not-found", f"The object {abbreviate(object_id)} is not stored.")
