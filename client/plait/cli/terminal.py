"""What goes to the terminal: text, tables, colour and JSON.

- Facts go to stdout, remarks and progress to stderr, so that a pipe gets facts alone.
- Colour and progress only where a terminal reads them; NO_COLOR (https://no-color.org) is kept.
- Text that others wrote (messages, names, tensor names) is made harmless: it cannot move the
  cursor or change colours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from plait.cli.progress_bar import ProgressBar

_CODES = {"bold": "1", "red": "31", "green": "32", "yellow": "33", "cyan": "36", "dim": "2"}
_UNITS = ("B", "kB", "MB", "GB", "TB")


class Terminal:
    """The two streams of a command."""

    def __init__(self, out: TextIO, err: TextIO, *, environ: Mapping[str, str]) -> None:
        self._out = out
        self._err = err
        is_plain = bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
        self._has_colour = out.isatty() and not is_plain
        self._is_dumb = environ.get("TERM") == "dumb"
        self._progress: ProgressBar | None = None

    @property
    def progress(self) -> ProgressBar:
        """The progress bar, which counts also where it is not shown."""
        if self._progress is None:
            from plait.cli.progress_bar import ProgressBar

            is_shown = self._err.isatty() and not self._is_dumb
            self._progress = ProgressBar(self._err if is_shown else None)
        return self._progress

    def print(self, text: str = "", *, flush: bool = False) -> None:
        """Print a line of facts, which is harmless already or made so by `printable`."""
        print(text, file=self._out, flush=flush)

    def remark(self, text: str) -> None:
        """Print a line for people, aside from the facts."""
        print(text, file=self._err)

    def json(self, document: Any) -> None:
        """Print a JSON document."""
        print(json.dumps(document, indent=2), file=self._out)

    def style(self, text: str, style: str) -> str:
        """Return text in a colour or weight, where the terminal shows it."""
        return f"\033[{_CODES[style]}m{text}\033[0m" if self._has_colour else text

    def table(self, rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> None:
        """Print rows in columns; those numbered in `right` are aligned to the right."""
        for line in format_table(rows, right=right):
            self.print(line)


def format_table(
    rows: Iterable[Sequence[str]], *, right: Iterable[int] = (), indent: str = "  "
) -> list[str]:
    """Return rows as lines of aligned columns."""
    filled = [[printable(cell) for cell in row] for row in rows]
    count = max((len(row) for row in filled), default=0)
    widths = [max(len(row[i]) for row in filled if i < len(row)) for i in range(count)]
    aligned = frozenset(right)
    return [
        (
            indent
            + "  ".join(
                cell.rjust(widths[i]) if i in aligned else cell.ljust(widths[i])
                for i, cell in enumerate(row)
            )
        ).rstrip()
        for row in filled
    ]


def printable(text: str) -> str:
    """Return text that others wrote with `?` for whatever could control a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def format_size(size: float) -> str:
    """Return bytes for people, as `84.0 MB`."""
    unit = 0
    while abs(size) >= 999.95 and unit < len(_UNITS) - 1:  # 999.95 would be shown as 1000.0
        size, unit = size / 1000, unit + 1
    return f"{size:.{min(unit, 1)}f} {_UNITS[unit]}"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun, as `1 commit` or `2 commits`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
