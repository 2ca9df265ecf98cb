"""Pulling a stack: every adapter that it names, in its order, as immutable folders of the cache.

(1) pull the stack's own version, and read which commits it names;
(2) pull each of them from the stack's repository, whose history holds what was stacked by
    `plait compose`; a stack that was written by hand may name others, which come from theirs;
(3) see that each is the version that the stack means: by commit and by manifest.

All of the adapters are there, or none is told: whoever starts a server gets the whole stack.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from plait.cache import Cache
from plait.errors import Integrity, InvalidInput, NotFound
from plait.model.adapter import FILE_NAME as CONFIG_NAME
from plait.model.address import RepositoryName
from plait.model.ids import abbreviate
from plait.model.refs import HEAD
from plait.model.stack import FILE_NAME as STACK_NAME
from plait.model.stack import Stack, StackedAdapter
from plait.progress import NO_PROGRESS, Progress
from plait.pull import Pulled, PullRequest, pull
from plait.transport import Transport


@dataclass(frozen=True, slots=True)
class PulledMember:
    """One adapter of a stack on this machine."""

    adapter: str
    """The repository that the stack names, `namespace/name`."""
    weight: float
    """A factor of what the adapter does."""
    pulled: Pulled


@dataclass(frozen=True, slots=True)
class PulledStack:
    """A stack on this machine."""

    pulled: Pulled
    """The stack's own version, without its adapters."""
    members: tuple[PulledMember, ...]
    """In the order in which they are applied."""


def pull_stack(
    transport: Transport,
    repository: RepositoryName,
    cache: Cache,
    revision: str = HEAD,
    progress: Progress = NO_PROGRESS,
) -> PulledStack:
    """Pull as the module says.

    Raises:
        InvalidInput: `invalid-stack`, the version is no stack, or it stacks another stack.
        NotFound: the version is not there; or an adapter is not, and the message names it.
        Integrity: a commit holds another version than the stack says.
    """
    # (1) pull the stack.
    pulled = pull(transport, repository, cache, PullRequest(revision), progress)
    label = f"{repository}@{abbreviate(pulled.commit)}"
    if not _is_stack(pulled.path):
        raise InvalidInput(
            "invalid-stack",
            f"{label} is an adapter and no stack: pull it without --members.",
        )
    stack = Stack.from_bytes((pulled.path / STACK_NAME).read_bytes())
    members = []
    for number, item in enumerate(stack.adapters, 1):
        try:
            # (2) pull the adapter.
            member = _pull_adapter(transport, repository, cache, item, progress)
        except NotFound as error:
            raise NotFound(
                error.kind,
                f"{_describe(number, item)} of {label}: {error.message}",
                **error.details,
            ) from error
        # (3) compare.
        _verify_adapter(f"{_describe(number, item)} of {label}", item, member)
        members.append(PulledMember(item.adapter, item.weight, member))
    return PulledStack(pulled, tuple(members))


def _pull_adapter(
    transport: Transport,
    home: RepositoryName,
    cache: Cache,
    item: StackedAdapter,
    progress: Progress,
) -> Pulled:
    request = PullRequest(item.commit)
    try:
        return pull(transport, home, cache, request, progress)
    except NotFound:
        own = RepositoryName.parse(item.adapter)
        if own == home:
            raise
        return pull(transport, own, cache, request, progress)


def _verify_adapter(label: str, item: StackedAdapter, pulled: Pulled) -> None:
    if pulled.manifest != item.manifest:
        raise Integrity(
            "digest-mismatch",
            f"{label} holds the manifest {abbreviate(pulled.manifest)}, and the stack means "
            f"{abbreviate(item.manifest)}: do not use it, and ask who wrote the stack.",
            expected=item.manifest,
            actual=pulled.manifest,
        )
    if _is_stack(pulled.path):
        raise InvalidInput(
            "invalid-stack",
            f"{label} is a stack itself, which no server applies: name its adapters one by one.",
        )


def _is_stack(folder: Path) -> bool:
    return (folder / STACK_NAME).is_file() and not (folder / CONFIG_NAME).is_file()


def _describe(number: int, item: StackedAdapter) -> str:
    return f"Adapter {number} ({item.adapter}@{abbreviate(item.commit)})"
