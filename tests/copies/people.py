"""People who share a registry: each with a folder, a cache and a name."""

from pathlib import Path
from typing import Any

from copies.prompt import Prompt
from copies.workshop import CONFIG, WEIGHTS, config_bytes, weight_bytes


class Person(Prompt):
    """Somebody with a folder and a cache, who trains adapters."""

    def train(self, value: int, **config: object) -> None:
        """Write an adapter as a training would."""
        (self.folder / CONFIG).write_bytes(config_bytes(**config))
        (self.folder / WEIGHTS).write_bytes(weight_bytes(value))

    def commit(self, value: int) -> str:
        """Train and commit, and return the commit."""
        self.train(value)
        return str(self.ask("commit", "-m", f"version {value}")["commit"])

    def note(self, name: str, text: str) -> str:
        """Write a file beside the adapter and commit it."""
        (self.folder / name).write_text(text)
        return str(self.ask("commit", "-m", f"{name} says {text}")["commit"])

    def head(self) -> str:
        """Return what is checked out."""
        return str(self.ask("status")["commit"])


def make_person(server: Any, folder: Path) -> Person:
    """Return somebody with an empty folder; the folder's name is theirs."""
    folder.mkdir(parents=True, exist_ok=True)
    return Person(
        folder,
        PLAIT_URL=server.url,
        PLAIT_TOKEN=server.token,
        PLAIT_CACHE_DIR=str(folder.parent / f"{folder.name}-cache"),
        PLAIT_AUTHOR_NAME=folder.name,
        PLAIT_AUTHOR_EMAIL=f"{folder.name}@example.org",
    )
