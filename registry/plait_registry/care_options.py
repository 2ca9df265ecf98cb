"""The arguments of the commands that care for the data; quick to import."""

from __future__ import annotations

import argparse
from typing import Any, Protocol

CARE_COMMANDS = frozenset({"gc", "fsck", "rebuild", "backup", "restore", "quota"})


class Commands(Protocol):
    """What argparse has no public name for: where commands are added."""

    def add_parser(self, name: str, **options: Any) -> argparse.ArgumentParser:
        """Add one."""


def add_care_commands(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add them to the parser."""
    said = argparse.ArgumentParser(add_help=False, parents=[shared])
    said.add_argument("--json", action="store_true", help="print facts as JSON")
    said.add_argument("--quiet", action="store_true", help="show no progress")
    gc = commands.add_parser("gc", parents=[said], help="remove what no ref reaches")
    gc.add_argument("--sweep", action="store_true", help="do it; without, only say what would go")
    gc.add_argument("--grace", metavar="SPAN", help="how long it has been garbage (14d)")
    fsck = commands.add_parser("fsck", parents=[said], help="check the database and the store")
    depth = fsck.add_mutually_exclusive_group()
    depth.add_argument("--full", action="store_true", help="read every byte")
    depth.add_argument("--sample", metavar="N%", help="read so many of the objects")
    fsck.add_argument("--seed", metavar="TEXT", default="", help="chooses another sample")
    fsck.add_argument("--repair", action="store_true", help="repair what can be repaired")
    commands.add_parser("rebuild", parents=[said], help="fill an empty database from the store")
    backup = commands.add_parser("backup", parents=[said], help="back up beside running servers")
    backup.add_argument("folder", metavar="FOLDER", help="a new one, or that of a backup before")
    backup.add_argument("--objects", action="store_true", help="copy the objects as well")
    restore = commands.add_parser("restore", parents=[said], help="restore into an empty registry")
    restore.add_argument("folder", metavar="FOLDER", help="of the backup")
    quota = commands.add_parser("quota", parents=[said], help="what a namespace holds")
    quota.add_argument("namespace", metavar="NAMESPACE")
