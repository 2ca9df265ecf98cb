"""Expected digests: what a publisher says that a version's merge comes out as.

They are computed here, from the version as the registry holds it, and stored beside its commit.
Every validation compares with them from then on; whoever pushes none leaves it to the first one.
"""

from __future__ import annotations

from plait.cache import Cache
from plait.merge import Merged, MergeOptions, merge
from plait.merge_source import pull_source
from plait.model.address import RepositoryName
from plait.model.ids import CommitId
from plait.progress import NO_PROGRESS, Progress
from plait.transport import Transport
from plait.validations import store_expected
from plait.wire_validation import NewExpectedDigests


def expect(
    transport: Transport,
    cache: Cache,
    repository: RepositoryName,
    commit: CommitId,
    *,
    options: MergeOptions,
    progress: Progress = NO_PROGRESS,
) -> Merged:
    """Merge a version and store the digests as the expected ones.

    Raises:
        Conflict: `expected-digests-differ`, others are stored, which stay.
        InvalidInput, Unavailable: as `merge`.
    """
    source, _ = pull_source(transport, cache, repository, commit, progress)
    merged = merge([source], options, progress)
    expected = NewExpectedDigests(
        digests=merged.digests.to_json(), base=merged.base, base_weights=merged.base_weights
    )
    store_expected(transport, repository, commit, expected)
    return merged
