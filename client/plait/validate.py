"""Validating a version: merging it into its base here, and judging what comes out.

(1) pull: the version is complete and verified in the cache
(2) merge: every tensor of the merged model is hashed, measured and probed, and none is written
(3) ask the merged model itself, where that is wanted
(4) judge: by the digests that are stored for the commit; where there are none yet, these are the
    first, and later validations compare with them
(5) publish what was seen, signed where there is a key

What stands in the way of a merge is published as well: that a version cannot be merged is a verdict
about it, that something went wrong here is an error, and is raised besides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from plait.base_differences import name_differences
from plait.cache import Cache
from plait.environment import describe_environment
from plait.errors import Integrity, InvalidInput, PlaitError
from plait.judging import Judged, judge_merge
from plait.merge import Merged, MergeOptions, MergeSource, merge
from plait.merge_source import pull_source
from plait.model.address import RepositoryName
from plait.model.ids import CommitId, ManifestId, ObjectId
from plait.model.manifest import Manifest
from plait.model.merge_digests import DEFINITION
from plait.model.output_probe import DEFINITION as MODEL_PROBE
from plait.model.validation import LONGEST_TEXT, BaseWeights, Validation, Verdict
from plait.probe_merged import Asked, ask_merged
from plait.progress import NO_PROGRESS, Progress
from plait.pull import Version
from plait.transport import Transport
from plait.validations import publish_attestation, publish_validation

LAYER_PROBE = "layer-probe-v1"
"""See `plait.algebra.layer_probe`, which is not imported before something is computed."""
NOT_MERGEABLE = frozenset({"not-mergeable", "shape-mismatch", "tensor-not-finite"})
"""Kinds of errors that say something about the version, whoever merges it."""

Merge: TypeAlias = Callable[[Sequence[MergeSource], MergeOptions, Progress], Merged]
Sign: TypeAlias = Callable[[Validation, Manifest], Mapping[str, Any]]
"""Returns the envelope of a signed statement about a validation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationWish:
    """What to validate, and with what."""

    repository: RepositoryName
    commit: CommitId
    base: Path
    """The folder of the base's weights."""
    definition: str = DEFINITION
    device: str = "auto"
    threads: int = 1
    remembered: Path | None = None
    """Where the digests of bases are kept, so that each is hashed once."""
    asks_model: bool = False
    """Whether the merged model is loaded and asked, too."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a validation is done with."""

    merge: Merge = merge
    sign: Sign | None = None
    """None: what was seen is published, and not signed."""
    now: Callable[[], str] = lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@dataclass(frozen=True, slots=True)
class Validated:
    """A validation that the registry has."""

    validation: Validation
    manifest: ManifestId
    """Of the commit."""
    id: ObjectId
    is_first: bool
    """There was nothing to compare with: these digests are the ones that others compare with."""
    attestation: ObjectId | None
    """The id of the signed statement."""


def validate(
    transport: Transport,
    cache: Cache,
    wish: ValidationWish,
    progress: Progress = NO_PROGRESS,
    tools: Tools = Tools(),
) -> Validated:
    """Validate as the module says.

    Raises:
        InvalidInput: `base-mismatch` and what else is wrong with the base; it is published, too.
        Integrity: bytes of the version are not what it says; it is published, too.
        PlaitError: the registry did not answer, or does not take what was seen.
    """
    started = tools.now()
    options = _options_of(wish)
    version = None
    try:
        # (1) pull.
        source, version = pull_source(transport, cache, wish.repository, wish.commit, progress)
        # (2) merge.
        merged = tools.merge([source], options, progress)
    except (InvalidInput, Integrity) as error:
        failure: PlaitError = error
        if isinstance(error, InvalidInput):
            failure = name_differences(error, transport, cache, wish.base, wish.remembered)
        seen = _describe_failure(wish, failure, started, tools.now())
        if version is None or seen.verdict is Verdict.ERROR:
            publish_validation(transport, wish.repository, seen)
            raise failure from error
        return _publish(transport, wish, version, seen, tools)
    # (3) ask.
    asked = Asked()
    if wish.asks_model:
        asked = ask_merged([source], options, source.folder, progress)
    # (4) judge.
    judged = judge_merge(transport, wish.repository, wish.commit, merged, asked.outputs)
    judgement = judged.judgement
    seen = Validation(
        definition=merged.digests.definition,
        commit=wish.commit,
        base=merged.base,
        base_weights=BaseWeights(merged.base_weights),
        verdict=judgement.verdict,
        started_at=started,
        ended_at=tools.now(),
        root=merged.digests.root,
        tensors=merged.digests.tensors,
        differing=judgement.differing,
        differences=judgement.differences,
        health=describe_health(merged, asked),
        probes=describe_probes(merged, asked, judged),
        environment=describe_environment(merged.device),
    )
    # (5) publish.
    return _publish(transport, wish, version, seen, tools, is_first=judged.is_first)


def open_signer(
    key: Path | None, repository: str, *, passphrase: bytes | None = None
) -> Sign | None:
    """Return what signs validations of a repository by the private key in a file; None without.

    A statement says that it was signed when the validation ended, so that the same validation is
    the same statement whoever sends it again.

    Raises:
        NotFound, InvalidInput: there is no such key.
        Unavailable: `extra-missing`.
    """
    if key is None:
        return None
    from plait.signing import attest, load_key

    loaded = load_key(key, passphrase=passphrase)

    def sign(validation: Validation, manifest: Manifest) -> Mapping[str, Any]:
        return attest(
            loaded,
            validation,
            manifest,
            repository=repository,
            signed_at=validation.ended_at,
        )

    return sign


def describe_health(merged: Merged, asked: Asked) -> dict[str, Any]:
    """Return the figures of a merge, as a validation keeps them."""
    health = merged.health
    model = {"model": asked.health} if asked.health else {}
    return {
        "changed": len(merged.changed),
        "not_finite": sum(item.not_finite for item in health.values()),
        "largest_norm": max((item.norm for item in health.values()), default=0.0),
        "tensors": {name: item.to_json() for name, item in health.items()},
        **model,
    }


def describe_probes(merged: Merged, asked: Asked, judged: Judged) -> dict[str, Any]:
    """Return what the probes gave, by their definition."""
    probes: dict[str, Any] = {LAYER_PROBE: {"tensors": dict(merged.probes)}}
    if asked.outputs is not None:
        compared = judged.outputs
        probes[MODEL_PROBE] = {
            "outputs": asked.outputs.to_json(),
            "compared": None if compared is None else compared.to_json(),
        }
    elif asked.obstacle:
        probes[MODEL_PROBE] = {"obstacle": asked.obstacle}
    return probes


def _options_of(wish: ValidationWish) -> MergeOptions:
    return MergeOptions(
        wish.base,
        device=wish.device,
        threads=wish.threads,
        cache_dir=wish.remembered,
        # A quantised base is a base of its own, and the outcome says what was merged into.
        dequantise=True,
        measure=True,
    )


def _describe_failure(
    wish: ValidationWish, error: PlaitError, started: str, ended: str
) -> Validation:
    is_verdict = error.kind in NOT_MERGEABLE
    return Validation(
        definition=wish.definition,
        commit=wish.commit,
        base=None,
        base_weights=BaseWeights.ORIGINAL,
        verdict=Verdict.NOT_MERGEABLE if is_verdict else Verdict.ERROR,
        started_at=started,
        ended_at=ended,
        environment=describe_environment(),
        message=error.message[:LONGEST_TEXT],
    )


def _publish(
    transport: Transport,
    wish: ValidationWish,
    version: Version,
    seen: Validation,
    tools: Tools,
    *,
    is_first: bool = False,
) -> Validated:
    record = publish_validation(transport, wish.repository, seen)
    # A job's first attempt may have come as far as this: its word stays.
    kept = Validation.from_json(record.validation)
    attestation = None
    if tools.sign is not None:
        envelope = tools.sign(kept, version.manifest)
        stored = publish_attestation(transport, wish.repository, wish.commit, envelope)
        attestation = ObjectId(stored.id)
    return Validated(kept, version.manifest_id, kept.id, is_first, attestation)
