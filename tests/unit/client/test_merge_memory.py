"""What a merge needs beside the model: less than 64 MB, however large the model is."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reference.made_merges import PREFIX, lora, write_folder
from reference.safetensors_writer import assemble, entry

SIDE, LAYERS = 4_096, 30
MOST = 64 << 20
MEASURE = """\
import re, sys
from pathlib import Path
from plait.algebra import merge_devices
from plait.merge import MergeOptions, MergeSource, merge

def peak():
    return int(re.search(r"VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1]) << 10

small, large, adapter, into = map(Path, sys.argv[1:5])
options = dict(device="cpu", threads=2, allow_other_base=True)
# Compiled kernels and imports are no part of it: a small merge takes them along.
merge([MergeSource("a", small / "adapter")], MergeOptions(small / "base", **options))
before = peak()
merged = merge([MergeSource("a", adapter)], MergeOptions(large, into=into, **options))
print(peak() - before, len(merged.changed))
"""


def write_large(folder: Path) -> int:
    """Write a base of zeros that takes no room on the disk, and return its size."""
    folder.mkdir()
    size = SIDE * SIDE * 2
    header = {
        f"layers.{i}.q.weight": entry("BF16", [SIDE, SIDE], i * size, (i + 1) * size)
        for i in range(LAYERS)
    }
    path = folder / "model.safetensors"
    path.write_bytes(assemble(header))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + LAYERS * size)
    (folder / "config.json").write_text("{}")
    return path.stat().st_size


def write_adapter(folder: Path, *, side: int, layers: int) -> None:
    ones = np.ones((16, side), np.float32)
    write_folder(
        folder,
        {
            f"{PREFIX}layers.{i}.q.lora_{k}.weight": part
            for i in range(layers)
            for k, part in (("A", ones), ("B", ones.T.copy()))
        },
        "BF16",
    )
    (folder / "adapter_config.json").write_text(json.dumps(lora(16)))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_model_of_a_gigabyte_is_merged_in_less_than_64_megabytes(tmp_path: Path) -> None:
    small = tmp_path / "small"
    write_folder(small / "base", {"layers.0.q.weight": np.zeros((64, 64), np.float32)}, "BF16")
    write_adapter(small / "adapter", side=64, layers=1)
    assert write_large(tmp_path / "large") > 1_000_000_000
    write_adapter(tmp_path / "adapter", side=SIDE, layers=LAYERS)
    folders = [small, tmp_path / "large", tmp_path / "adapter", tmp_path / "merged"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, folders)],
        capture_output=True,
        text=True,
        check=True,
    )
    extra, changed = map(int, done.stdout.split())
    assert changed == LAYERS
    assert extra < MOST
