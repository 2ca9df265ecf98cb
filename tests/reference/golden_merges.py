"""Which merges have golden digests, and the bases that some of them need.

`python tests/reference/golden_merges.py` computes them anew by the plain reference alone and prints
what differs from `tests/golden/merges/digests.json`; with `--add` it adds what is missing there. A
digest that is there is never changed: another one would be another definition.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))

from reference import exact_merges, safetensors_writer  # noqa: E402
from reference.made_merges import CASES  # noqa: E402

FOLDER = TESTS / "golden" / "merges"
MERGES: dict[str, dict[str, Any]] = json.loads((FOLDER / "merges.json").read_text())
"""By name: the folder of the base, what is made of it, and the adapters with their weights."""


@dataclass(frozen=True)
class Golden:
    """A merge of folders that are there."""

    base: Path
    adapters: tuple[tuple[Path, float], ...]


def find_data(name: str) -> Path:
    """Return a folder `micro/...` of the checkout or `zoo/...` beside it, there or not."""
    checkout = TESTS.parent
    root = checkout / "examples" if name.startswith("micro/") else checkout.parent / "shared/data"
    return root / name


@contextmanager
def open_golden(name: str) -> Iterator[Golden]:
    """Give the folders of a merge; what had to be made is gone afterwards."""
    with tempfile.TemporaryDirectory() as made:
        if name.startswith("made/"):
            case = CASES[name.removeprefix("made/")]()
            base, adapter = case.write(Path(made))
            yield Golden(base, ((adapter, case.weight),))
            return
        merge = MERGES[name]
        base = find_data(merge["base"])
        if merge["change"] is not None:
            base = derive(base, merge["change"], Path(made))
        yield Golden(base, tuple((find_data(path), weight) for path, weight in merge["adapters"]))


def derive(base: Path, change: str, into: Path) -> Path:
    """Write a base with other tensors beside its own: a head, or biases of attention.

    The head is the embedding's copy; element i of a bias is ((i mod 7) - 3) / 8.
    """
    shutil.copytree(base, into, dirs_exist_ok=True)
    config = json.loads((into / "config.json").read_text())
    contents = {
        name: (tensor.dtype, tensor.shape, tensor.data)
        for name, tensor in exact_merges.read_folder(into).items()
    }
    if change == "untied":
        config["tie_word_embeddings"] = False
        contents["lm_head.weight"] = contents["model.embed_tokens.weight"]
    else:
        config["attention_bias"] = True
        for name in [name for name in contents if ".self_attn." in name]:
            size = contents[name][1][0]
            data = exact_merges.round_to(np.arange(size) % 7 / 8.0 - 0.375, "BF16")
            contents[name.replace("weight", "bias")] = ("BF16", (size,), data)
    (into / "config.json").write_text(json.dumps(config))
    (into / "model.safetensors").write_bytes(safetensors_writer.write(contents))
    return into


def compute(name: str) -> dict[str, Any]:
    """Return the root, and the digests of what the merge changed, by the reference."""
    with open_golden(name) as golden:
        root, digests = exact_merges.merge(golden.base, golden.adapters)
        kept = exact_merges.merge(golden.base, ())[1]
    return {"root": root, "tensors": {n: d for n, d in sorted(digests.items()) if d != kept[n]}}


def names() -> list[str]:
    """Return the names of all merges that have golden digests."""
    return [*MERGES, *(f"made/{case}" for case in CASES)]


def main() -> None:
    """Compare, and add what is missing."""
    path = FOLDER / "digests.json"
    held = json.loads(path.read_text()) if path.exists() else {}
    for name in names():
        found = compute(name)
        if held.setdefault(name, found) != found:
            sys.stdout.write(f"{name}: {found['root']} and not {held[name]['root']}\n")
    if "--add" in sys.argv:
        path.write_text(json.dumps(held, indent=1) + "\n")


if __name__ == "__main__":
    main()
