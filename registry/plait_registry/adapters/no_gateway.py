"""What answers under `/objects` where the objects are in S3: clients go there, not through here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from plait.errors import NotFound


class NoGateway:
    """Has no object, and takes none."""

    def open_upload(self, _path: str, _query: str, _headers: Mapping[str, str], /) -> NoReturn:
        """Refuse an upload.

        Raises:
            NotFound: `object-not-found`.
        """
        raise _elsewhere()

    def open_read(self, _path: str, _query: str, /) -> NoReturn:
        """Refuse a read; raises as `open_upload`."""
        raise _elsewhere()


def _elsewhere() -> NotFound:
    return NotFound(
        "object-not-found",
        "This registry keeps its objects in another store: ask it for signed requests there.",
    )
