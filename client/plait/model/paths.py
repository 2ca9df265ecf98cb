"""File paths inside a manifest: safe on every file system and in every URL.

Relative, `/`-separated, UTF-8 in NFC, no empty, `.` or `..` part, no drive letter, no control
characters, no backslash, at most 255 bytes a part, no two that differ only in case (or in one
being a folder of the other). The state folders of plait and git are refused in every disguise that
a file system sees through. Names that Windows reserves are allowed: they harm only who pulls there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise
from typing import NewType

from plait.errors import InvalidInput

FilePath = NewType("FilePath", str)

STATE_FOLDER = ".plait"
"""Where a working copy keeps its state; a version that wrote into it could take the copy over."""
_STATE_FOLDERS = {
    STATE_FOLDER: "the working copy",
    # A version pulled into a folder that git looks at could make git run a program.
    ".git": "git",
}
LONGEST_PART = 255
LONGEST_PATH = 4096

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_DRIVE = re.compile(r"[A-Za-z]:")
# HFS+ skips these in names: one with them is the one without (git's utf8.c, next_hfs_char).
_SKIPPED_BY_HFS = re.compile(r"[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def parse_path(text: object) -> FilePath:
    """Return `text` as a path.

    Raises:
        InvalidInput: it breaks one of the rules, which the message names.
    """
    if not isinstance(text, str):
        raise InvalidInput("invalid-path", "A path must be a string.")
    reason = _reason_against(text)
    if reason is not None:
        shown = ascii(text)[:300]
        raise InvalidInput("invalid-path", f"The path {shown} {reason}.", path=shown)
    return FilePath(text)


def _reason_against(text: str) -> str | None:
    if not text:
        return "is empty"
    if _CONTROL.search(text):
        return "has a control character or a lone surrogate"
    if "\\" in text:
        return "has a backslash"
    if text.startswith("/") or _DRIVE.match(text):
        return "is absolute"
    if not unicodedata.is_normalized("NFC", text):
        return "is not in Unicode normal form C"
    if len(text.encode()) > LONGEST_PATH:
        return f"is longer than {LONGEST_PATH} bytes"
    reasons = map(_reason_against_part, text.split("/"))
    return next((reason for reason in reasons if reason is not None), None)


def _reason_against_part(part: str) -> str | None:
    if part == "":
        return "has an empty part"
    if part.strip(". ") == "":
        return "has a part of nothing but dots or spaces"
    if _DRIVE.match(part):
        return "has a part that begins with a drive letter"
    if (folder := _find_state_folder(part)) is not None:
        return f"has the part {folder!r}, which belongs to {_STATE_FOLDERS[folder]}"
    if len(part.encode()) > LONGEST_PART:
        return f"has a part of over {LONGEST_PART} bytes"
    return None


def _find_state_folder(part: str) -> str | None:
    """Return the state folder that some file system takes `part` for."""
    # NTFS drops dots and spaces at the end, reads `name:stream` as a stream of `name`, and knows
    # `.git` as `GIT~1` too.
    name = _SKIPPED_BY_HFS.sub("", part).split(":")[0].rstrip(". ").casefold()
    for folder in _STATE_FOLDERS:
        if name in {folder, f"{folder[1:]}~1"}:
            return folder
    return None


def verify_paths_apart(paths: Iterable[FilePath]) -> None:
    """Check that the paths can live side by side on a file system that ignores case.

    Raises:
        InvalidInput: two collide.
    """
    files: dict[str, str] = {}
    for path in paths:
        folded = unicodedata.normalize("NFC", path.casefold())
        other = files.get(folded)
        files[folded] = path
        if other is not None:
            raise InvalidInput(
                "path-case-collision",
                f"The paths {other!r} and {path!r} are the same on a file system that ignores "
                "case: rename one.",
            )
    # Sorted by parts, what lies in a folder follows directly on a file of the folder's name.
    by_parts = sorted((folded.split("/"), file) for folded, file in files.items())
    for (parts, file), (next_parts, next_file) in pairwise(by_parts):
        if next_parts[: len(parts)] == parts:
            raise InvalidInput(
                "path-case-collision",
                f"{file!r} is a file and also the folder of {next_file!r}: rename one.",
            )


def is_pickle(path: str) -> bool:
    """Tell whether the name is that of a pickle format, which plait never stores."""
    return path.lower().endswith(PICKLE_SUFFIXES)


def is_safetensors(path: str) -> bool:
    """Tell whether the name is that of a safetensors file."""
    return path.lower().endswith(".safetensors")
