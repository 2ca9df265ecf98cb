"""Working copies to test with: adapters of a few bytes, commits whose clock ticks by itself."""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path

from plait.model.commit import Person
from plait.model.ids import CommitId
from plait.working_copy.commit import Authorship, NewCommit, commit_folder
from plait.working_copy.copy import WorkingCopy
from plait.working_copy.init import init
from plait.working_copy.layout import Remote
from reference.safetensors_writer import write

ADA = Person("Ada", "ada@example.org")
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def config_bytes(**changes: object) -> bytes:
    """Return a LoRA config as PEFT writes it, with changes."""
    fields = {
        "peft_type": "LORA",
        "base_model_name_or_path": "micro/base",
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ["q_proj"],
        **changes,
    }
    return json.dumps(fields).encode()


def weight_bytes(value: int) -> bytes:
    """Return the weights of a rank 2 adapter of one module; other values, other bytes."""
    factor = bytes([0, 0, value % 64 + 1, 0x3F]) * 6
    return write(
        {
            "base_model.model.layers.0.q_proj.lora_A.weight": ("F32", (2, 3), factor),
            "base_model.model.layers.0.q_proj.lora_B.weight": ("F32", (3, 2), factor),
        },
        {"format": "pt"},
    )


class Workshop:
    """A working copy and somebody who works in it."""

    def __init__(self, folder: Path, *, remote: Remote | None = None) -> None:
        self.folder = folder
        self._seconds = itertools.count(1)
        folder.mkdir(parents=True, exist_ok=True)
        init(folder, remote=remote)

    @property
    def copy(self) -> WorkingCopy:
        """The working copy, opened anew, as each command does."""
        return WorkingCopy.find(self.folder)

    def authorship(self) -> Authorship:
        """Return Ada, a second later than the last time."""
        return Authorship(ADA, f"2026-11-24T06:{next(self._seconds):02}:00Z")

    def write(self, files: Mapping[str, bytes | None]) -> None:
        """Write files, or remove those that are None."""
        for path, data in files.items():
            target = self.folder / path
            if data is None:
                target.unlink()
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)

    def train(self, value: int, **config: object) -> None:
        """Write an adapter as a training would."""
        self.write({CONFIG: config_bytes(**config), WEIGHTS: weight_bytes(value)})

    def commit(self, message: str = "a version") -> CommitId:
        """Commit the folder."""
        return commit_folder(self.copy, NewCommit(message, self.authorship())).id

    def train_and_commit(self, value: int, message: str | None = None) -> CommitId:
        """Write an adapter and commit it."""
        self.train(value)
        return self.commit(message or f"version {value}")

    def files(self) -> dict[str, bytes]:
        """Return everything in the folder but plait's own state."""
        return read_tree(self.folder)


def read_tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder but plait's own state."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".plait" not in path.relative_to(folder).parts
    }
