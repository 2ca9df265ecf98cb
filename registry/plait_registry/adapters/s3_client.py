"""The one door to boto3: calls on one bucket, with retries and with errors of plait.

- What passes by itself (503 SlowDown, 500, timeouts, cut connections, a lost race between two
  conditional requests) is tried again with growing, random pauses: here, since botocore's own ones
  last less than a second. Everything the registry asks of a store can be repeated.
- What the operator has to set right (no such bucket, no access) names the settings.
- What a caller foresees (absent, there already) is `Refused`, and only where the caller says so.

Nothing of a request but its operation's name reaches an error: no key of access, no signature.
Where the store is stands in an error's details, since its message may be shown to strangers.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

import boto3.session
import botocore.config
import botocore.exceptions
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    SSLError,
)

from plait.errors import Unavailable
from plait.model.ids import ObjectId, parse_object_id
from plait_registry.adapters.s3_location import S3Location

MOST_CONNECTIONS = 64
FIRST_PAUSE = 0.2
"""Seconds; doubled each time."""
LONGEST_PAUSE = 5.0


class Refusal(Enum):
    """Answers that may be foreseen."""

    ABSENT = auto()
    """No such key or upload."""
    CONDITION = auto()
    """A condition does not hold: the key is there already, or has another ETag."""
    WRONG_BYTES = auto()
    """The checksum is another one than was announced."""
    OUT_OF_RANGE = auto()
    """The object has no byte in the range."""
    UNSUPPORTED = auto()
    """The store does not know the operation, or a header of it."""


_REFUSAL_OF_CODE = {
    "404": Refusal.ABSENT,
    "NoSuchKey": Refusal.ABSENT,
    "NoSuchUpload": Refusal.ABSENT,
    "412": Refusal.CONDITION,
    "PreconditionFailed": Refusal.CONDITION,
    "BadDigest": Refusal.WRONG_BYTES,
    "XAmzContentSHA256Mismatch": Refusal.WRONG_BYTES,
    "XAmzContentChecksumMismatch": Refusal.WRONG_BYTES,
    "416": Refusal.OUT_OF_RANGE,
    "InvalidRange": Refusal.OUT_OF_RANGE,
    "501": Refusal.UNSUPPORTED,
    "NotImplemented": Refusal.UNSUPPORTED,
}
_PASSING = frozenset(
    {
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
    }
)
"""Codes of what may succeed when it is repeated, whatever their status; so may each 5xx."""
_MARKERS = {
    "list_objects_v2": {"ContinuationToken": "NextContinuationToken"},
    "list_multipart_uploads": {
        "KeyMarker": "NextKeyMarker",
        "UploadIdMarker": "NextUploadIdMarker",
    },
    "list_parts": {"PartNumberMarker": "NextPartNumberMarker"},
}
"""Where the next page of a listing begins: the parameter, and the field of the page before."""
_NO_ACCESS = frozenset(
    {
        "403",
        "AccessDenied",
        "AllAccessDisabled",
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)


class Refused(Exception):
    """An answer that the caller foresaw."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.name)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one call may take, and how often it is tried."""

    connect: float = 5.0
    """Seconds."""
    read: float = 60.0
    """Seconds between two pieces of an answer, and for the first."""
    attempts: int = 8
    """With their pauses, some 15 seconds: a store that restarts is waited for."""
    sleep: Callable[[float], None] = time.sleep


IMPATIENT = Patience(connect=2.0, read=10.0, attempts=2)
"""For questions whose answer somebody waits for."""


class S3Bucket:
    """A bucket, and the place of the registry's keys in it; safe to use from several threads."""

    def __init__(
        self, location: S3Location, patience: Patience | None = None, session: Any = None
    ) -> None:
        self.location = location
        self._patience = patience or Patience()
        self._session = session or boto3.session.Session()
        with translated_s3_errors(location, "open"):
            self._client = _make_client(self._session, location, self._patience)

    def with_patience(self, patience: Patience) -> S3Bucket:
        """Return the same bucket by other connections."""
        return S3Bucket(self.location, patience, self._session)

    def beside(self, folder: str) -> S3Bucket:
        """Return the bucket with a prefix of its own below this one's, as `journal/`."""
        location = replace(self.location, prefix=f"{self.location.prefix}{folder}")
        return S3Bucket(location, self._patience, self._session)

    def key_of(self, object_id: ObjectId) -> str:
        """Return an object's key.

        Raises:
            InvalidInput: `invalid-object-id`.
        """
        name = parse_object_id(object_id)
        return f"{self.objects_prefix}{name[:2]}/{name}"

    @property
    def objects_prefix(self) -> str:
        """What the keys of all objects begin with."""
        return f"{self.location.prefix}objects/sha256/"

    def call(self, operation: str, *expected: Refusal, **parameters: Any) -> dict[str, Any]:
        """Return the answer of one operation on the bucket.

        Raises:
            Refused: one of `expected`.
            Unavailable: everything else.
        """
        parameters["Bucket"] = self.location.bucket
        answer: dict[str, Any] = self._repeat(operation, expected, parameters)
        return answer

    def pages(
        self, operation: str, *expected: Refusal, **parameters: Any
    ) -> Iterator[dict[str, Any]]:
        """Yield the pages of a listing; raises as `call`.

        Not by boto3's paginator, which ends quietly where it is asked again after a failure: half a
        listing would look like a whole one.
        """
        while True:
            page = self.call(operation, *expected, **parameters)
            yield page
            if not page.get("IsTruncated"):
                return
            markers = {
                marker: page[source]
                for marker, source in _MARKERS[operation].items()
                if page.get(source)
            }
            if not markers or markers.items() <= parameters.items():
                raise _away(self.location, operation, "a listing that does not go on")
            parameters.update(markers)

    def presign(self, operation: str, seconds: int, **parameters: Any) -> str:
        """Return a URL by which whoever holds it may do the operation for a while."""
        parameters["Bucket"] = self.location.bucket
        request = {"ClientMethod": operation, "Params": parameters, "ExpiresIn": seconds}
        url: str = self._repeat("generate_presigned_url", (), request)
        return url

    def pause(self, attempt: int) -> None:
        """Wait before the attempt after `attempt` (1 is the first)."""
        pause = FIRST_PAUSE * 2 ** (attempt - 1) * (0.5 + random.random())  # noqa: S311 - no secret
        self._patience.sleep(min(pause, LONGEST_PAUSE))

    def _repeat(
        self, operation: str, expected: Collection[Refusal], parameters: dict[str, Any]
    ) -> Any:
        """Try until it works or is refused, as often as patience has it."""
        for attempt in range(1, self._patience.attempts + 1):
            try:
                with translated_s3_errors(self.location, operation, expected):
                    return getattr(self._client, operation)(**parameters)
            except _Passing as passing:
                if attempt == self._patience.attempts:
                    raise _away(self.location, operation, str(passing)) from passing
            self.pause(attempt)
        raise _away(self.location, operation, "no attempt is allowed")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class _Passing(Exception):
    """A failure that passes by itself: the same request may succeed now."""


@contextmanager
def translated_s3_errors(
    location: S3Location, operation: str, expected: Collection[Refusal] = ()
) -> Generator[None]:
    """Turn what botocore raises into errors of plait."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        refusal = _REFUSAL_OF_CODE.get(code)
        if refusal is not None and refusal in expected:
            raise Refused(refusal) from error
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _PASSING or (status >= 500 and refusal is not Refusal.UNSUPPORTED):
            raise _Passing(code) from error
        raise _explain(location, operation, code) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise _explain(location, operation, "InvalidAccessKeyId") from error
    except NoRegionError as error:
        raise Unavailable(
            "unavailable",
            "The object store's region is not known: say it in PLAIT_OBJECT_STORE, as "
            "s3://bucket?region=eu-central-1.",
            store=str(location),
        ) from error
    except SSLError as error:
        raise _away(location, operation, "its certificate is not trusted") from error
    except (botocore.exceptions.ConnectionError, HTTPClientError) as error:
        raise _Passing(type(error).__name__) from error
    except BotoCoreError as error:
        raise _away(location, operation, type(error).__name__) from error


def _explain(location: S3Location, operation: str, code: str) -> Unavailable:
    if code == "NoSuchBucket":
        return Unavailable(
            "unavailable",
            "The bucket of PLAIT_OBJECT_STORE does not exist: create it, or name another one.",
            store=str(location),
        )
    if code in _NO_ACCESS:
        return Unavailable(
            "unavailable",
            f"The object store does not let the registry in ({operation}: {code}): check "
            "PLAIT_S3_ACCESS_KEY, PLAIT_S3_SECRET_KEY, the region in PLAIT_OBJECT_STORE and what "
            "the key may do.",
            store=str(location),
        )
    return _away(location, operation, code)


def _away(location: S3Location, operation: str, reason: str) -> Unavailable:
    return Unavailable(
        "unavailable",
        f"The object store does not answer as it should ({operation}: {reason}). Try again later; "
        "PLAIT_OBJECT_STORE says where it is.",
        store=str(location),
    )


def _make_client(session: Any, location: S3Location, patience: Patience) -> Any:
    config = botocore.config.Config(
        signature_version="s3v4",
        connect_timeout=patience.connect,
        read_timeout=patience.read,
        max_pool_connections=MOST_CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": 1},
        # Checksums are those that plait computes: others would only cost time, and stores other
        # than Amazon's may not know them.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": location.addressing},
        tcp_keepalive=True,
    )
    return session.client(
        "s3",
        endpoint_url=location.endpoint,
        region_name=location.region,
        aws_access_key_id=location.access_key,
        aws_secret_access_key=location.secret_key,
        config=config,
    )
