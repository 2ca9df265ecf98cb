"""A commit as the log and `show` tell it, in text and as JSON."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plait.cli.terminal import Terminal, plural, printable
from plait.errors import InvalidInput
from plait.model.commit import Commit, Origin, OriginKind
from plait.model.ids import CommitId, abbreviate


@dataclass(frozen=True, slots=True)
class ShownCommit:
    """A commit with what else is known about it."""

    id: CommitId
    commit: Commit
    names: Sequence[str] = ()
    """Refs that point at it, as the log shows them."""
    notes: Sequence[Mapping[str, Any]] = ()
    """As kind, body and created_at; oldest first."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "id": self.id,
            "refs": list(self.names),
            "commit": self.commit.to_json(),
            "notes": [dict(note) for note in self.notes],
        }


def format_oneline(terminal: Terminal, shown: ShownCommit) -> str:
    """Return a commit as one line."""
    return (
        f"{_title(terminal, abbreviate(shown.id), shown.names)} {printable(shown.commit.subject)}"
    )


def format_commit(terminal: Terminal, shown: ShownCommit) -> Iterator[str]:
    """Yield the lines of a commit, as `git log` has them."""
    commit = shown.commit
    yield _title(terminal, f"commit {shown.id}", shown.names)
    if len(commit.parents) > 1:
        yield f"Merge:   {' '.join(map(abbreviate, commit.parents))}"
    yield f"Author:  {printable(str(commit.author))}"
    yield f"Date:    {commit.time}"
    yield f"Base:    {_keep_on_line(_describe_base(commit))}"
    if commit.origin.kind is not OriginKind.TRAINING or commit.origin.facts:
        yield f"Origin:  {_keep_on_line(_describe_origin(commit.origin))}"
    for note in shown.notes:
        yield f"Note:    {_keep_on_line(format_note(note))}"
    yield ""
    for line in printable(commit.message).split("\n"):
        yield f"    {line}".rstrip()


def format_note(note: Mapping[str, Any]) -> str:
    """Return a note as one line, as `metrics: loss=1.62`."""
    return f"{note.get('kind')}: {_list_facts(dict(note.get('body') or {}), ', ')}"


def _keep_on_line(text: str) -> str:
    """Return text of others that cannot pretend to be another line, such as the author's."""
    return printable(text).replace("\n", " ")


def _describe_origin(origin: Origin) -> str:
    facts = dict(origin.facts)
    words = [origin.kind.value]
    if "recipe" in facts:
        # Most commits were not composed, and people wait for their log.
        from plait.model.recipe import Recipe

        with contextlib.suppress(InvalidInput):  # anybody writes what they like into an origin
            words.append(f"by {Recipe.from_json(facts['recipe']).summary()}")
            del facts["recipe"]
    words.append(_list_facts(facts, " "))
    return " ".join(word for word in words if word)


def _list_facts(facts: Mapping[str, Any], separator: str) -> str:
    """Return facts as `name=value`; of what holds others, how many: `--json` shows all of it."""
    return separator.join(f"{name}={_shorten(value)}" for name, value in facts.items())


def _shorten(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"({plural(len(value), 'item')})"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _title(terminal: Terminal, identity: str, names: Sequence[str]) -> str:
    title = terminal.style(identity, "yellow")
    listed = ", ".join(names)
    return f"{title} {terminal.style(f'({listed})', 'cyan')}" if names else title


def _describe_base(commit: Commit) -> str:
    base = commit.base
    text = f"{base.name}@{base.revision}" if base.revision else base.name
    return f"{text} (fingerprint {abbreviate(base.fingerprint)})" if base.fingerprint else text
