"""Parsing a command's arguments: argparse, with plait's errors and no exit of its own."""

from __future__ import annotations

import argparse
from typing import NoReturn

from plait.errors import InvalidInput

Namespace = argparse.Namespace


class ShownHelp(Exception):
    """Raised when `--help` was given and answered."""


class Parser(argparse.ArgumentParser):
    """The parser of one command; raises InvalidInput `usage` where argparse would exit."""

    def __init__(self, name: str, summary: str, *, usage: str, examples: str) -> None:
        lines = usage.strip().splitlines()
        super().__init__(
            prog=f"plait {name}",
            usage="\n       ".join(line.strip() for line in lines),
            description=f"{summary[:1].upper()}{summary[1:]}.",
            epilog=f"examples:\n{examples.rstrip()}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise the error that the arguments are wrong."""
        raise InvalidInput("usage", f"{message}. See `{self.prog} --help`.")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Say that help was printed; argparse calls this for nothing else here."""
        raise ShownHelp(status, message)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def add_url(parser: argparse.ArgumentParser) -> None:
    """Add `--url`, for commands that name a repository."""
    parser.add_argument(
        "--url",
        metavar="URL",
        help="the registry, instead of PLAIT_URL or the one of `plait login`",
    )


def add_message(parser: argparse.ArgumentParser) -> None:
    """Add `-m` and `--author`."""
    parser.add_argument("-m", "--message", metavar="MESSAGE", help="what changed")
    parser.add_argument("--author", metavar="'NAME <EMAIL>'", help="who made the version")


def add_base(parser: argparse.ArgumentParser) -> None:
    """Add `--base` and `--base-dir`."""
    parser.add_argument(
        "--base", metavar="NAME[@REVISION]", help="the base model, where the config does not say"
    )
    parser.add_argument(
        "--base-dir", metavar="DIR", help="the base model's folder, to record its fingerprint"
    )


def add_discard(parser: argparse.ArgumentParser) -> None:
    """Add `--discard-changes`."""
    parser.add_argument(
        "--discard-changes", action="store_true", help="give up changes that are in no commit"
    )


def add_sides(parser: argparse.ArgumentParser, *, ours: str, theirs: str) -> None:
    """Add `--ours` and `--theirs`, of which one may be given."""
    sides = parser.add_mutually_exclusive_group()
    sides.add_argument("--ours", action="store_const", const="ours", dest="prefer", help=ours)
    sides.add_argument("--theirs", action="store_const", const="theirs", dest="prefer", help=theirs)


def parse_metrics(pairs: list[str]) -> dict[str, float | int | str | bool]:
    """Return `name=value` pairs; numbers and true/false become such, all else stays text.

    Raises:
        InvalidInput: `usage`, a pair has no name or no value.
    """
    metrics: dict[str, float | int | str | bool] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name or not text:
            raise InvalidInput("usage", f"{pair!r:.200} is no metric: expected NAME=VALUE.")
        metrics[name] = _parse_value(text)
    return metrics


def _parse_value(text: str) -> float | int | str | bool:
    if text in {"true", "false"}:
        return text == "true"
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        # NaN and infinity have no JSON; as text they are kept as they were written.
        return value if value - value == 0 else text
    return text
