"""File paths inside a manifest: safe on every file system and in every URL.

Relative, `/`-separated, UTF-8 in NFC, no empty, `.` or `..` part, no control characters, no
backslash, at most 255 bytes a part, no two that differ only in case (or in one being a folder of
the other). Names that Windows reserves are allowed: they harm only who pulls there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import NewType

from plait.errors import InvalidInput

FilePath = NewType("FilePath", str)

STATE_FOLDER = ".plait"
"""Where a working copy keeps its state; a version that wrote into it could take the copy over."""
LONGEST_PART = 255
LONGEST_PATH = 4096

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
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
    if text.startswith("/") or re.match(r"[A-Za-z]:", text):
        return "is absolute"
    if not unicodedata.is_normalized("NFC", text):
        return "is not in Unicode normal form C"
    if len(text.encode()) > LONGEST_PATH:
        return f"is longer than {LONGEST_PATH} bytes"
    for part in text.split("/"):
        if part == "":
            return "has an empty part"
        if part.strip(". ") == "":
            return "has a part of nothing but dots or spaces"
        if part.rstrip(". ").casefold() == STATE_FOLDER:
            return f"has the part {STATE_FOLDER!r}, which belongs to the working copy"
        if len(part.encode()) > LONGEST_PART:
            return f"has a part of over {LONGEST_PART} bytes"
    return None


def verify_paths_apart(paths: Iterable[FilePath]) -> None:
    """Check that the paths can live side by side on a file system that ignores case.

    Raises:
        InvalidInput: two collide.
    """
    files: dict[str, str] = {}
    for path in paths:
        folded = path.casefold()
        other = files.get(folded)
        files[folded] = path
        if other is not None:
            raise InvalidInput(
                "path-case-collision",
                f"The paths {other!r} and {path!r} are the same on a file system that ignores "
                "case: rename one.",
            )
    for folded, file in files.items():
        parts = folded.split("/")
        for depth in range(1, len(parts)):
            above = files.get("/".join(parts[:depth]))
            if above is not None:
                raise InvalidInput(
                    "path-case-collision",
                    f"{above!r} is a file and also the folder of {file!r}: rename one.",
                )


def is_pickle(path: str) -> bool:
    """Tell whether the name is that of a pickle format, which plait never stores."""
    return path.lower().endswith(PICKLE_SUFFIXES)


def is_safetensors(path: str) -> bool:
    """Tell whether the name is that of a safetensors file."""
    return path.lower().endswith(".safetensors")
