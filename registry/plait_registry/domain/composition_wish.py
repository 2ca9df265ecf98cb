"""What a composition by the registry is to be: the payload of its job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from plait.errors import InvalidInput
from plait.model import canonical
from plait.model.address import RepositoryName
from plait.model.commit import LONGEST_MESSAGE, LONGEST_NAME, Person, clean_message
from plait.model.recipe import Recipe
from plait.model.refs import RefName, parse_ref_name


@dataclass(frozen=True, slots=True)
class CompositionWish:
    """A composition, and what its commit shall say."""

    recipe: Recipe
    branch: RefName
    message: str | None
    """None: one that names the inputs."""
    author: Person

    @property
    def inputs(self) -> tuple[RepositoryName, ...]:
        """The repositories that it reads, each once."""
        names = (RepositoryName.parse(item.adapter) for item in self.recipe.inputs)
        return tuple({name.key: name for name in names}.values())

    def to_bytes(self) -> bytes:
        """Return the payload: at most the size of a recipe, a message and a name together."""
        document = {
            "recipe": self.recipe.to_json(),
            "branch": self.branch,
            "message": self.message,
            "author": {"name": self.author.name, "email": self.author.email},
        }
        return canonical.dumps(document)


@dataclass(frozen=True, slots=True)
class CompositionPayload:
    """A payload as it is shown; the recipe stays a document."""

    recipe: dict[str, Any]
    branch: str
    message: str | None
    author: Person

    @classmethod
    def from_bytes(cls, payload: bytes) -> CompositionPayload:
        """Read what `CompositionWish.to_bytes` wrote."""
        document = canonical.loads(payload)
        author = document["author"]
        return cls(
            document["recipe"],
            document["branch"],
            document["message"],
            Person(author["name"], author["email"]),
        )


def parse_wish(
    recipe: Recipe, *, branch: str, message: str | None, author: Person
) -> CompositionWish:
    """Return the wish that a request makes.

    Raises:
        InvalidInput: a part breaks a rule.
    """
    chosen = None if message is None else clean_message(message)
    if chosen is not None and len(chosen) > LONGEST_MESSAGE:
        raise InvalidInput(
            "invalid-input", f"message: at most {LONGEST_MESSAGE} characters.", field="message"
        )
    _verify_author(author)
    return CompositionWish(recipe, parse_ref_name(branch), chosen, author)


def _verify_author(author: Person) -> None:
    for text in (author.name, author.email):
        if len(text) > LONGEST_NAME or not text.isprintable() or set("<>") & set(text):
            raise InvalidInput(
                "invalid-input",
                f"author: name and e-mail are printable text without < and >, of at most "
                f"{LONGEST_NAME} characters.",
                field="author",
            )
    if not author.name.strip():
        raise InvalidInput("invalid-input", "author: the name is empty.", field="author")
