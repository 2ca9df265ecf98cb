"""What a validation is to look at: the payload of its job."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from plait.errors import InvalidInput
from plait.model import canonical
from plait.model.address import RepositoryName
from plait.model.ids import CommitId, ObjectId, abbreviate, parse_commit_id, parse_object_id
from plait.model.merge_digests import DEFINITION

ANY_BASE = "any"
"""In place of a fingerprint: of a job, whichever base its worker has; of an offer, that there is
one."""

DEFINITIONS = (DEFINITION,)
"""By which validators merge."""


class ValidationTrigger(StrEnum):
    """What makes a repository ask for validations by itself."""

    NONE = "none"  # people ask
    TAG = "tag"  # a tag is made
    PUSH = "push"  # the default branch moves, or a tag is made


@dataclass(frozen=True, slots=True)
class ValidationWish:
    """A validation as a request asks for it."""

    revision: str
    definition: str = DEFINITION
    base: ObjectId | None = None
    """The fingerprint of the base; None: the one that the commit names."""
    again: bool = False
    """Also where a validation of the same is done."""


@dataclass(frozen=True, slots=True)
class HeldAt:
    """A version of a base whose weights the registry has."""

    repository: RepositoryName
    commit: CommitId

    @classmethod
    def parse(cls, text: str) -> HeldAt:
        """Return what `str` wrote."""
        name, _, commit = text.partition("@")
        return cls(RepositoryName.parse(name), parse_commit_id(commit))

    def __str__(self) -> str:
        """Return the address."""
        return f"{self.repository}@{self.commit}"


@dataclass(frozen=True, slots=True)
class ValidationPayload:
    """One commit, one definition."""

    commit: CommitId
    definition: str
    base: ObjectId | None
    """None: the commit names none, so that the validator says which one it took."""
    held: HeldAt | None = None
    """Where the registry has the base's weights."""

    @property
    def needs(self) -> str | None:
        """The base that a worker has to have; None: the registry has it."""
        return None if self.held is not None else self.base or ANY_BASE

    @property
    def subject(self) -> str:
        """What two jobs have in common that would say the same."""
        return f"{self.definition} {self.commit}"

    @staticmethod
    def commit_of(subject: str) -> CommitId:
        """Return the commit in what `subject` gave."""
        return parse_commit_id(subject.rpartition(" ")[2])

    def to_bytes(self) -> bytes:
        """Return the payload."""
        return canonical.dumps(
            {
                "commit": self.commit,
                "definition": self.definition,
                "base": self.base,
                "held": None if self.held is None else str(self.held),
            }
        )

    @classmethod
    def from_bytes(cls, payload: bytes) -> ValidationPayload:
        """Read what `to_bytes` wrote."""
        document = canonical.loads(payload)
        base, held = document["base"], document["held"]
        return cls(
            parse_commit_id(document["commit"]),
            document["definition"],
            None if base is None else parse_object_id(base),
            None if held is None else HeldAt.parse(held),
        )


def parse_wish(
    revision: str, *, definition: str | None, base: str | None, again: bool
) -> ValidationWish:
    """Return the wish that a request makes.

    Raises:
        InvalidInput: a part breaks a rule.
    """
    chosen = definition or DEFINITION
    if chosen not in DEFINITIONS:
        raise InvalidInput(
            "invalid-input",
            f"definition: {chosen!r:.80} is none that validators merge by: leave it out, or say "
            f"{' or '.join(DEFINITIONS)}.",
            field="definition",
        )
    fingerprint = None if base is None else parse_object_id(base)
    return ValidationWish(revision, chosen, fingerprint, again)


def offer_bases(bases: Iterable[str]) -> frozenset[str]:
    """Return the bases of a worker, as jobs ask for them."""
    found = frozenset(bases)
    return found | {ANY_BASE} if found else found


def parse_trigger(text: str) -> ValidationTrigger:
    """Return what makes a repository ask for validations.

    Raises:
        InvalidInput: `invalid-input`, nothing that is known.
    """
    try:
        return ValidationTrigger(text)
    except ValueError:
        raise InvalidInput(
            "invalid-input",
            f"validate_on: {text!r:.80} is none of {', '.join(ValidationTrigger)}.",
            field="validate_on",
        ) from None


def choose_base(wanted: ObjectId | None, named: ObjectId | None) -> ObjectId | None:
    """Return the base to validate with: the commit's, or the one asked for where it names none.

    Raises:
        InvalidInput: `base-mismatch`, the commit names another one.
    """
    if wanted is not None and named is not None and wanted != named:
        raise InvalidInput(
            "base-mismatch",
            f"base: the commit was made for the base {abbreviate(named)}, not for "
            f"{abbreviate(wanted)}: leave it out.",
            expected=named,
            actual=wanted,
        )
    return named or wanted
