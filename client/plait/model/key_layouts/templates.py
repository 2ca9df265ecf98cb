"""Module paths with `#` for a number, and the way back from paths flattened with underscores.

    (down|up)_blocks.#.resnets.#.(conv1|conv2)

stands for four templates. Flattened, `down_blocks_0_resnets_1_conv2` fits exactly one path of one
of them, since numbers hold no underscore.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_GROUP = re.compile(r"\(([^()]*)\)")
_NUMBER = re.compile(r"\d+")


def flatten(module: str) -> str:
    """Return a path as kohya's tools write it."""
    return module.replace(".", "_")


def fill(template: str, numbers: Iterable[str]) -> str:
    """Return the path in which each `#` is the next of `numbers`."""
    values = iter(numbers)
    return re.sub("#", lambda _: next(values), template)


class ModuleTemplates:
    """The module paths that one kind of model can have."""

    def __init__(self, *patterns: str) -> None:
        self.templates = tuple(
            sorted({template for pattern in patterns for template in _expand(pattern)})
        )
        self._by_shape: dict[str, list[tuple[str, re.Pattern[str], re.Pattern[str]]]] = {}
        for template in self.templates:
            flat = re.compile(flatten(template).replace("#", r"(\d+)"))
            dotted = re.compile(re.escape(template).replace(r"\#", r"(\d+)"))
            self._by_shape.setdefault(_shape(template), []).append((template, flat, dotted))

    def unflatten(self, flat: str) -> tuple[str, ...]:
        """Return every path that `flat` may have been."""
        found = (
            (template, pattern.fullmatch(flat))
            for template, pattern, _ in self._by_shape.get(_shape(flat), ())
        )
        return tuple(fill(template, match.groups()) for template, match in found if match)

    def match(self, module: str) -> tuple[str, tuple[str, ...]] | None:
        """Return the template of a path and its numbers, or None where it has none."""
        for template, _, pattern in self._by_shape.get(_shape(module), ()):
            match = pattern.fullmatch(module)
            if match:
                return template, match.groups()
        return None


def _expand(pattern: str) -> Iterator[str]:
    group = _GROUP.search(pattern)
    if group is None:
        yield pattern
        return
    for choice in group[1].split("|"):
        yield from _expand(pattern[: group.start()] + choice + pattern[group.end() :])


def _shape(name: str) -> str:
    """Return what all names of the same template have in common, dotted or flat."""
    return _NUMBER.sub("#", flatten(name))
