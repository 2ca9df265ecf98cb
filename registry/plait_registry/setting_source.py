"""Where settings come from, in order: flags, the environment, defaults.

What is wrong is refused by a sentence that names the setting, and never shows a secret.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from plait.errors import InvalidInput

FLAGS: Mapping[str, str] = {
    "DATA": "--data",
    "HOST": "--host",
    "PORT": "--port",
    "BEHIND_TLS": "--behind-tls",
    "LOG_LEVEL": "--log-level",
    "WORKERS": "--workers",
    "WORKER_URL": "--url",
    "ENGINE": "--engine",
    "RAY_ADDRESS": "--address",
    "BASES": "--bases",
    "DEVICE": "--device",
    "VALIDATOR_KEY": "--key",
    "ASK_MODEL": "--ask-model",
}
"""The settings that have a flag as well, by the part of their variable's name after `PLAIT_`."""

T = TypeVar("T", bound=StrEnum)

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", ""})
# Of the client, which often runs in the same environment.
_OF_CLIENT = frozenset(
    {"URL", "TOKEN", "CACHE_DIR", "AUTHOR_NAME", "AUTHOR_EMAIL", "CONFIG", "DEBUG"}
)


class Source:
    """Where values come from, in order."""

    def __init__(self, flags: Mapping[str, str | None], environ: Mapping[str, str]) -> None:
        self._flags = flags
        self._environ = environ
        self._asked: set[str] = set()

    def text(self, name: str, default: str) -> str:
        """Return the setting as it was given."""
        self._asked.add(name)
        flag = self._flags.get(name)
        if flag is not None:
            return flag
        # An empty variable counts as unset: that is how people switch one off.
        return self._environ.get(f"PLAIT_{name}") or default

    def secret(self, name: str) -> str | None:
        """Return the variable, or what is in the file that `NAME_FILE` names; None without both."""
        given, path = self.text(name, ""), self.text(f"{name}_FILE", "")
        if not path:
            return given or None
        if given:
            raise InvalidInput("usage", f"PLAIT_{name} and PLAIT_{name}_FILE are both set.")
        try:
            secret = Path(path).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise refuse(f"{name}_FILE", path, f"the file cannot be read ({reason})") from None
        if not secret:
            raise refuse(f"{name}_FILE", path, "the file is empty")
        return secret

    def number(self, name: str, default: int, *, lowest: int, highest: int) -> int:
        """Return a whole number from a range."""
        text = self.text(name, str(default))
        digits = text.isascii() and text.isdecimal() and len(text) < 20
        if not digits or not lowest <= int(text) <= highest:
            raise refuse(name, text, f"expected a whole number from {lowest} to {highest}")
        return int(text)

    def switch(self, name: str, default: str = "") -> bool:
        """Return whether something is on."""
        text = self.text(name, default).lower()
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
        raise refuse(name, text, "expected 1 or 0")

    def choice(self, name: str, default: T) -> T:
        """Return one of a few words, in any case."""
        text = self.text(name, default.value).lower()
        try:
            return type(default)(text)
        except ValueError:
            choices = ", ".join(type(default))
            raise refuse(name, text, f"expected one of {choices}") from None

    def find_misspelt(self) -> tuple[str, ...]:
        """Return a sentence for each variable that looks like a setting and is none."""
        known = self._asked | _OF_CLIENT
        given = {
            variable.removeprefix("PLAIT_")
            for variable in self._environ
            if variable.startswith("PLAIT_")
        }
        return tuple(
            f"PLAIT_{name} is no setting: did you mean PLAIT_{close}?"
            for name in sorted(given - known)
            for close in difflib.get_close_matches(name, self._asked, 1, cutoff=0.8)
        )


def refuse(name: str, text: str, expected: str) -> InvalidInput:
    """Return the error that a setting cannot work."""
    flag = f"{FLAGS[name]} or " if name in FLAGS else ""
    return InvalidInput("usage", f"{text!r:.80} as {flag}PLAIT_{name}: {expected}.")
