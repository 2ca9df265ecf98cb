"""Quotas of namespaces: what they hold, and whether a push still fits.

A quota counts each different file of a namespace once, however little of it was new to the store:
what a namespace may hold does not depend on what others hold. It is looked at when a push begins,
before bytes travel, and once more in the transaction that completes it.

A caller who may not read all of the namespace must not learn which digests its other repositories
hold. For such a one, what they hold counts as new, and the refusal names no sizes.
"""

from __future__ import annotations

from collections.abc import Mapping

from plait.model.address import RepositoryName
from plait.model.ids import ObjectId
from plait.model.manifest import File
from plait_registry.domain.access import Caller, Readable, Right
from plait_registry.domain.account_errors import missing_namespace
from plait_registry.domain.ports import Database, Records
from plait_registry.domain.usage import Usage, quota_exceeded, quota_exceeded_here
from plait_registry.services.access import verify_namespace_right


class ReadUsage:
    """Says how much of its quota a namespace uses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, caller: Caller, namespace: str) -> Usage:
        """Return the usage, which whoever may read all of the namespace may see.

        Raises:
            NotFound: `namespace-not-found`.
        """
        verify_namespace_right(caller, namespace, Right.READ)
        with self._database.read() as records:
            found = records.namespaces.find(namespace.lower())
            if found is None:
                raise missing_namespace(namespace)
            used, files = records.usage.measure(found.key)
        return Usage(found.name, used, files, found.quota_bytes)


def verify_quota(
    records: Records, caller: Caller, name: RepositoryName, files: Mapping[ObjectId, File]
) -> None:
    """Check that a namespace may come to hold files as well.

    Raises:
        TooLarge: `quota-exceeded`.
    """
    namespace = records.namespaces.find(name.namespace.lower())
    if namespace is None or namespace.quota_bytes is None:
        return
    sees_all = caller.right_in(namespace.key) >= Right.READ
    if sees_all:
        held = files.keys() - records.usage.find_unheld(namespace.key, files)
    else:
        here = Readable.by(caller).within(namespace.key)
        held = set(records.files.find_known(here, files))
    needed = sum(file.size for key, file in files.items() if key not in held)
    if not needed:
        return
    used, count = records.usage.measure(namespace.key)
    if used + needed > namespace.quota_bytes:
        if not sees_all:
            raise quota_exceeded_here(namespace.name, namespace.quota_bytes)
        raise quota_exceeded(Usage(namespace.name, used, count, namespace.quota_bytes), needed)
