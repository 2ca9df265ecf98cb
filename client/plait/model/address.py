"""Addresses that people type: `namespace/name` and `namespace/name@revision`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from plait.errors import InvalidInput

LONGEST_PART = 96

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True, order=True)
class RepositoryName:
    """`namespace/name`: ASCII letters, digits and `. _ -`, as on the Hugging Face Hub."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def key(self) -> str:
        """The form that must be unique: two names may not differ only in case."""
        return str(self).lower()

    @classmethod
    def parse(cls, text: str) -> RepositoryName:
        """Return `text` as a repository's name.

        Raises:
            InvalidInput: it breaks a rule.
        """
        parts = text.split("/")
        if len(parts) != 2 or not all(map(_is_valid_part, parts)):
            raise InvalidInput(
                "invalid-repository-name",
                f"{text!r:.200} is not a repository's name: expected NAMESPACE/NAME, each of at "
                f"most {LONGEST_PART} letters, digits and . _ - (no '--', no '..', beginning with "
                "a letter, digit or _, not ending with '.', '-' or '.git').",
            )
        return cls(*parts)


@dataclass(frozen=True, slots=True)
class Address:
    """A repository and, where one was given, a revision of it."""

    repository: RepositoryName
    revision: str | None

    def __str__(self) -> str:
        return f"{self.repository}@{self.revision}" if self.revision else str(self.repository)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Return `NS/NAME[@REVISION]`; the revision is parsed by who resolves it.

        Raises:
            InvalidInput: the name breaks a rule, or the revision is empty.
        """
        name, at, revision = text.partition("@")
        if at and not revision:
            raise InvalidInput("invalid-revision", f"{text!r:.200} names no revision after '@'.")
        return cls(RepositoryName.parse(name), revision or None)


def parse_namespace(text: str) -> str:
    """Return `text` as a namespace's name, which follows the rules of a repository's.

    Raises:
        InvalidInput: `invalid-namespace`.
    """
    if not _is_valid_part(text):
        raise InvalidInput(
            "invalid-namespace",
            f"{text!r:.200} is not a namespace's name: expected at most {LONGEST_PART} letters, "
            "digits and . _ - (no '--', no '..', beginning with a letter, digit or _, not ending "
            "with '.', '-' or '.git').",
        )
    return text


def _is_valid_part(part: str) -> bool:
    return (
        len(part) <= LONGEST_PART
        and _PART.fullmatch(part) is not None
        and "--" not in part
        and ".." not in part
        and not part.endswith((".", "-", ".git", ".lock"))
    )
