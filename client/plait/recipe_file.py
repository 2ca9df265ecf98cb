"""Reading a recipe from a YAML or JSON file, or from standard input.

What a document says must not depend on who reads it, so YAML is read narrowly:

- plain text is null, true or false, a decimal number, or text. What YAML versions disagree about
  (`yes`, `010`, `0x1f`, `1_000`, `12:30`, `2026-11-24`, `.nan`) is text, and keys always are;
- aliases, anchors, tags, directives, a second document and keys that are given twice are refused;
- size and depth are bounded.

Errors name the line. JSON is read by `plait.model.canonical`, which has the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from plait.errors import InvalidInput, NotFound, TooLarge, Unavailable
from plait.model import canonical
from plait.model.recipe import Recipe

STANDARD_INPUT = "-"
LARGEST_FILE = 1_000_000
DEEPEST = 16
"""Levels of lists and mappings; a recipe has four."""

_KIND = "invalid-recipe"
_YAML = (".yaml", ".yml")
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    form(word): word == "true"
    for word in ("true", "false")
    for form in (str.lower, str.capitalize, str.upper)
}
# As YAML 1.2's core schema, less what YAML 1.1 reads in another way.
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_LONGEST_NUMBER = 400


def read_recipe(path: str, stdin: BinaryIO | None = None) -> Recipe:
    """Return the recipe in the file at `path`, or in `stdin` where that is given and `path` is `-`.

    Raises:
        NotFound: `file-not-found`.
        InvalidInput: `invalid-recipe`; the message names the file and, of YAML and JSON that is not
            well-formed, the line.
        TooLarge: `file-too-large`.
        Unavailable: `extra-missing`, it is YAML and PyYAML is not installed.
    """
    if path == STANDARD_INPUT and stdin is not None:
        name, data = "standard input", stdin.read(LARGEST_FILE + 1)
        is_json = data.lstrip().startswith(b"{")
    else:
        name, data = path, _read_file(Path(path))
        is_json = path.lower().endswith(".json")
    if len(data) > LARGEST_FILE:
        raise TooLarge(
            "file-too-large",
            f"{name} has more than {LARGEST_FILE} bytes, which no recipe needs.",
            limit=LARGEST_FILE,
        )
    try:
        return Recipe.from_json(parse_json(data) if is_json else parse_yaml(data))
    except InvalidInput as error:
        raise InvalidInput(error.kind, f"{name}: {error.message}", **error.details) from error


def parse_json(data: bytes) -> Any:
    """Return a JSON document.

    Raises:
        InvalidInput: it is not JSON, or such that two parsers may read it in two ways.
    """
    try:
        return canonical.loads(data)
    except InvalidInput as error:
        raise InvalidInput(_KIND, error.message) from error


def parse_yaml(data: bytes) -> Any:
    """Return a YAML document, by the rules of this module.

    Raises:
        InvalidInput: it breaks one.
        Unavailable: `extra-missing`.
    """
    yaml = _import_yaml()
    try:
        text = data.decode("utf-8-sig")
        events = yaml.parse(text, Loader=yaml.SafeLoader)
        return _Document(yaml, events).read()
    except UnicodeDecodeError as error:
        raise InvalidInput(_KIND, f"It is not UTF-8, at byte {error.start}.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "no YAML"
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InvalidInput(_KIND, f"{where}{problem}.") from error


class _Document:
    """Builds values from the events of a YAML parser, so that nothing is expanded or resolved."""

    def __init__(self, yaml: Any, events: Iterator[Any]) -> None:
        self._yaml = yaml
        self._events = events

    def read(self) -> Any:
        """Return the one document of the stream; None where there is none."""
        yaml = self._yaml
        next(self._events)  # the stream's beginning
        start = next(self._events)
        if isinstance(start, yaml.StreamEndEvent):
            return None
        if start.version or start.tags:
            self._refuse(start, "a directive (%) is not taken")
        value = self._value(next(self._events), DEEPEST)
        next(self._events)  # the document's end
        following = next(self._events)
        if not isinstance(following, yaml.StreamEndEvent):
            self._refuse(following, "a second document (---) is not taken: one file is one recipe")
        return value

    def _value(self, event: Any, room: int) -> Any:
        yaml = self._yaml
        self._verify_plain(event)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if room == 0:
            self._refuse(event, f"lists and mappings are nested over {DEEPEST} levels deep")
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(inner := next(self._events), yaml.SequenceEndEvent):
                items.append(self._value(inner, room - 1))
            return items
        return self._mapping(room)

    def _mapping(self, room: int) -> dict[str, Any]:
        yaml = self._yaml
        mapping: dict[str, Any] = {}
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            self._verify_plain(key)
            if not isinstance(key, yaml.ScalarEvent):
                self._refuse(key, "a key must be text")
            if key.value in mapping:
                self._refuse(key, f"the key {key.value!r:.80} is given twice")
            mapping[key.value] = self._value(next(self._events), room - 1)
        return mapping

    def _scalar(self, event: Any) -> Any:
        text = event.value
        if event.style is not None:  # quoted, or a block
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _FLOAT.fullmatch(text) is None:
            return text
        if len(text) > _LONGEST_NUMBER:
            self._refuse(event, "the number has too many digits")
        if _INTEGER.fullmatch(text) is not None:
            return int(text)
        number = float(text)
        if number in {float("inf"), float("-inf")}:
            self._refuse(event, f"{text:.40} is too large a number")
        return number

    def _verify_plain(self, event: Any) -> None:
        if isinstance(event, self._yaml.AliasEvent):
            self._refuse(event, f"the alias *{event.anchor:.40} is not taken: write it out")
        if event.anchor is not None:
            self._refuse(event, f"the anchor &{event.anchor:.40} is not taken: leave it out")
        if event.tag is not None:
            self._refuse(event, f"the tag {event.tag!r:.80} is not taken: leave it out")

    def _refuse(self, event: Any, problem: str) -> NoReturn:
        mark = event.start_mark
        raise InvalidInput(_KIND, f"line {mark.line + 1}, column {mark.column + 1}: {problem}.")


def _read_file(path: Path) -> bytes:
    if not str(path).lower().endswith((*_YAML, ".json")):
        raise InvalidInput(
            _KIND,
            f"{path} is neither {', '.join(_YAML)} nor .json: rename it, or hand it over on "
            "standard input (-).",
        )
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_FILE + 1)
    except FileNotFoundError as error:
        raise NotFound("file-not-found", f"There is no file {path}.", path=str(path)) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name is none"
        raise InvalidInput(_KIND, f"Cannot read {path}: {reason}.") from error


def _import_yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise Unavailable(
            "extra-missing",
            "Reading YAML needs PyYAML: pip install 'plait[algebra]', or write the recipe as JSON.",
        ) from error
    return yaml
