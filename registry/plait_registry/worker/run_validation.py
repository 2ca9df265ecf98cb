"""A validation, as the process of its job does it: with the bases and the key of this worker."""

from __future__ import annotations

from pathlib import Path

from plait import wire_jobs
from plait.errors import InvalidInput, Unavailable
from plait.known_bases import find_base_folder, list_bases
from plait.model.address import RepositoryName
from plait.model.ids import abbreviate, parse_commit_id, parse_object_id
from plait.progress import Progress
from plait.validate import Tools, ValidationWish, open_signer, validate
from plait_registry.worker.engines import open_engine
from plait_registry.worker.work import Work


def execute_validation(work: Work, progress: Progress) -> wire_jobs.JobResult:
    """Merge, judge and publish.

    Raises:
        InvalidInput, Integrity: what is wrong with the version or the base.
        Unavailable: the base is not on this machine any more, or something else is away.
    """
    order = work.details.validation
    if order is None:
        raise InvalidInput("invalid-input", "The job says nothing of what to validate.")
    with open_engine(work.validator) as merge:
        validated = validate(
            work.transport,
            work.cache,
            ValidationWish(
                repository=RepositoryName.parse(work.details.job.repository),
                commit=parse_commit_id(order.commit),
                base=_find_base(work, order.base, progress),
                definition=order.definition,
                device=work.validator.device,
                threads=work.threads,
                remembered=work.remembered,
                asks_model=work.validator.asks_model,
            ),
            progress,
            Tools(merge=merge, sign=open_signer(work.validator.key, work.details.job.repository)),
        )
    seen = validated.validation
    return wire_jobs.JobResult(seen.commit, validated.manifest, seen.verdict.value)


def _find_base(work: Work, fingerprint: str | None, progress: Progress) -> Path:
    """Return the folder of the base to merge into."""
    roots = work.validator.bases
    if fingerprint is not None:
        wanted = parse_object_id(fingerprint)
        folder = find_base_folder(roots, wanted, work.remembered, progress)
        if folder is None:
            # It was there when the job was taken: another worker may have it.
            raise Unavailable(
                "unavailable",
                f"No folder of this worker holds the base {abbreviate(wanted)} any more.",
            )
        return folder
    found = list_bases(roots, work.remembered, progress)
    if len(found) != 1:
        raise InvalidInput(
            "base-unknown",
            f"The commit names no base by its fingerprint, and the worker has {len(found)}: ask "
            "again and say which one it was made for, by `plait validate --base-id FINGERPRINT`.",
        )
    return next(iter(found.values()))
