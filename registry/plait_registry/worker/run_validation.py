"""A validation, as the process of its job does it: with the bases and the key of this worker."""

from __future__ import annotations

from pathlib import Path

from plait import wire_jobs
from plait.cache import Cache
from plait.errors import InvalidInput, Unavailable
from plait.known_bases import find_base_folder, list_bases
from plait.model.address import Address, RepositoryName
from plait.model.ids import abbreviate, parse_commit_id, parse_object_id
from plait.model.refs import HEAD
from plait.progress import Progress
from plait.pull import PullRequest, pull
from plait.validate import Sign, Tools, ValidationWish, open_signer, validate
from plait.validations import fetch_keys
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
                base=_find_base(work, order, progress),
                definition=order.definition,
                device=work.validator.device,
                threads=work.threads,
                remembered=work.remembered,
                asks_model=work.validator.asks_model,
            ),
            progress,
            Tools(merge=merge, sign=_find_signer(work, progress)),
        )
    seen = validated.validation
    return wire_jobs.JobResult(seen.commit, validated.manifest, seen.verdict.value)


def _find_signer(work: Work, progress: Progress) -> Sign | None:
    """Return what signs, unless the registry would not count it: that must not cost the verdict."""
    path = work.validator.key
    if path is None:
        return None
    from plait.signing import load_key

    keyid = load_key(path).keyid
    known = {key.keyid for key in fetch_keys(work.transport) if key.revoked_at is None}
    if keyid not in known:
        what = f"Not signing: the registry does not know the key {abbreviate(keyid)}, or it is over"
        progress.total(0, what=what)
        return None
    return open_signer(path, work.details.job.repository)


def _find_base(work: Work, order: wire_jobs.ValidationOrder, progress: Progress) -> Path:
    """Return the folder of the base to merge into: one of this worker, else the registry's."""
    roots = work.validator.bases
    if order.base is None:
        return _find_only_base(work, progress)
    wanted = parse_object_id(order.base)
    folder = find_base_folder(roots, wanted, work.remembered, progress)
    if folder is not None:
        return folder
    if order.held is not None:
        return _pull_base(work, Address.parse(order.held), progress)
    # It was there when the job was taken: another worker may have it.
    raise Unavailable(
        "unavailable", f"No folder of this worker holds the base {abbreviate(wanted)} any more."
    )


def _find_only_base(work: Work, progress: Progress) -> Path:
    found = list_bases(work.validator.bases, work.remembered, progress)
    if len(found) != 1:
        raise InvalidInput(
            "base-unknown",
            f"The commit names no base by its fingerprint, and the worker has {len(found)}: ask "
            "again and say which one it was made for, by `plait validate --base-id FINGERPRINT`.",
        )
    return next(iter(found.values()))


def _pull_base(work: Work, address: Address, progress: Progress) -> Path:
    """Return the folder of a base of the registry, kept for the jobs that follow."""
    cache = work.cache if work.remembered is None else Cache(work.remembered / "pulled")
    request = PullRequest(address.revision or HEAD)
    return pull(work.transport, address.repository, cache, request, progress).path
