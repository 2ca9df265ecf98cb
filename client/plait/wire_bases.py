"""The shapes of the HTTP API for bases; `plait.wire` says what such classes are."""

from __future__ import annotations

from dataclasses import dataclass

from plait.wire import about


@dataclass(frozen=True, slots=True)
class BaseVersion:
    """A version of a base model in a repository."""

    repository: str = about("`namespace/name`.")
    commit: str = about("The version's commit.")
    name: str = about("The model's name, as adapters' configurations write it.")
    revision: str | None = about("The model's revision, where it is known.")
    fingerprint: str = about("sha256 over the model's tensors.")
    time: str = about("The commit's, in UTC, as 2026-11-24T06:07:00Z.")
    generation: int = about("The commit's: 1 for a root, else one more than its parents' highest.")


@dataclass(frozen=True, slots=True)
class BasePage:
    """Some versions of bases, by repository and commit."""

    bases: list[BaseVersion] = about("Sorted by repository and commit.")
    next: str | None = about("Send this as `cursor` for the next page; null on the last.")
