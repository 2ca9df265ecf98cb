"""Push and pull of whole adapters on the embedded registry, against `sha256sum` plus `cp`.

    python benchmarks/transfer.py [--sizes 84 336 1000] [--runs 3]

For each size an adapter of random bf16 factors is made. In turn, several times, so that the
machine's moods meet all alike: `sha256sum` and `cp` of the file; `plait push` of the folder to an
empty repository; `plait pull` of it into an empty cache. Every push and pull is a process of its
own, start-up included. What was pulled is compared with what was pushed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from machine import describe
from programs import Samples, Server, measure, running_registry

from plait.model.safetensors_layout import TensorRange, build_header

CONFIG = {
    "peft_type": "LORA",
    "base_model_name_or_path": "benchmark/base",
    "r": 16,
    "lora_alpha": 32,
    "target_modules": ["q_proj", "v_proj"],
    "task_type": "CAUSAL_LM",
}
MODULE_BYTES = 2**20
"""One factor of rank 16 over 32,768 bf16 values."""
TARGET_RATIO = 2.0
TARGET_MB = 150.0


@dataclass(slots=True)
class Row:
    """What was measured at one size."""

    baseline: Samples = field(default_factory=Samples)
    push: Samples = field(default_factory=Samples)
    pull: Samples = field(default_factory=Samples)
    server_mb: float = 0.0


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[84, 336, 1000], metavar="MB")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    print(describe("plait", "httpx", "uvicorn", "sqlalchemy"))
    print(f"medians of {arguments.runs} runs; ratios against sha256sum + cp of the same file\n")
    print("| size | sha256sum + cp | push | ratio | pull | ratio | client peak | server peak |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="plait-bench-") as name:
        for size in arguments.sizes:
            row = measure_size(Path(name) / str(size), size * 1_000_000, arguments.runs)
            print(format_row(size, row), flush=True)
    print(f"\naims: ratios <= {TARGET_RATIO}, peaks <= {TARGET_MB:.0f} MB")


def measure_size(folder: Path, size: int, runs: int) -> Row:
    """Measure one size."""
    adapter = folder / "adapter"
    write_adapter(adapter, size)
    weights = adapter / "adapter_model.safetensors"
    row = Row()
    for run in range(runs):
        # A registry and a cache of its own each time: nothing is known before.
        with running_registry(folder / f"registry-{run}") as server:
            measure_once(row, server, folder / f"client-{run}", weights)
            row.server_mb = max(row.server_mb, server.peak_mb)
        remove(folder / f"registry-{run}", folder / f"client-{run}")
    remove(folder)
    return row


def measure_once(row: Row, server: Server, home: Path, weights: Path) -> None:
    """Measure the baseline, a push and a pull, once each."""
    copy = weights.with_suffix(".copy")
    row.baseline.add(measure(["sh", "-c", f"sha256sum '{weights}' && cp '{weights}' '{copy}'"]))
    copy.unlink()
    environment = server.environment(home)
    row.push.add(
        measure(
            ["plait", "push", weights.parent, "bench/adapter", "-m", "measured", "--create"],
            environment,
        )
    )
    pulled = measure(["plait", "pull", "bench/adapter"], environment)
    row.pull.add(pulled)
    verify_equal(weights, Path(pulled.output.strip()) / weights.name)


def write_adapter(folder: Path, size: int) -> None:
    """Write an adapter of about `size` bytes: random bf16 of ordinary magnitudes, no NaN."""
    folder.mkdir(parents=True)
    tensors = [
        TensorRange(
            f"base_model.model.model.layers.{index // 2}.self_attn.q_proj.lora_{side}.weight",
            "BF16",
            (16, MODULE_BYTES // 32) if side == "A" else (MODULE_BYTES // 32, 16),
            0,
            MODULE_BYTES,
        )
        for index in range(size // MODULE_BYTES)
        for side in ("AB"[index % 2],)
    ]
    header, _ = build_header(tensors, {"format": "pt"})
    source = random.Random(size)
    with (folder / "adapter_model.safetensors").open("wb") as file:
        file.write(header)
        for _ in tensors:
            data = bytearray(source.randbytes(MODULE_BYTES))
            # High bytes of 0x3c to 0x3f: bf16 between about 0.008 and 1.99.
            data[1::2] = bytes(data[1::2]).translate(bytes(0x3C | (b & 0x83) for b in range(256)))
            file.write(data)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG))


def verify_equal(left: Path, right: Path) -> None:
    """Check that two files have the same bytes."""
    digests = []
    for path in (left, right):
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    if digests[0] != digests[1]:
        raise SystemExit("benchmark: what was pulled is not what was pushed")


def format_row(size: int, row: Row) -> str:
    """Return a row of the table."""
    base = row.baseline.median
    client = max(row.push.peak_mb, row.pull.peak_mb)
    return (
        f"| {size} MB | {base:.2f} s | {row.push.median:.2f} s | {row.push.median / base:.2f} "
        f"| {row.pull.median:.2f} s | {row.pull.median / base:.2f} "
        f"| {client:.0f} MB | {row.server_mb:.0f} MB |"
    )


def remove(*folders: Path) -> None:
    """Remove folders, read-only ones included."""
    for top in folders:
        for folder, _, _ in os.walk(top):
            Path(folder).chmod(0o700)
        shutil.rmtree(top)


if __name__ == "__main__":
    main()
