"""What a validation is to look at: the payload of its job."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from plait.errors import InvalidInput
from plait.model import canonical
from plait.model.ids import CommitId, ObjectId, abbreviate, parse_commit_id, parse_object_id
from plait.model.merge_digests import DEFINITION

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
class ValidationPayload:
    """One commit, one definition."""

    commit: CommitId
    definition: str
    base: ObjectId | None
    """None: the commit names none, so that the validator says which one it took."""

    @property
    def subject(self) -> str:
        """What two jobs have in common that would say the same."""
        return f"{self.definition} {self.commit}"

    def to_bytes(self) -> bytes:
        """Return the payload."""
        return canonical.dumps(
            {"commit": self.commit, "definition": self.definition, "base": self.base}
        )

    @classmethod
    def from_bytes(cls, payload: bytes) -> ValidationPayload:
        """Read what `to_bytes` wrote."""
        document = canonical.loads(payload)
        base = document["base"]
        return cls(
            parse_commit_id(document["commit"]),
            document["definition"],
            None if base is None else parse_object_id(base),
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
