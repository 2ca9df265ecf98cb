"""What exact merges cost beside PEFT, BLAS and sha256, in the same run on the same machine.

    python benchmarks/merge.py [gpu] [cpu] [end-to-end] [memory]      (default: what is here)

- gpu: one weight of 4096 x 14336 by rank and dtype, beside PEFT's own arithmetic, `torch.addmm` and
  the floor (copying W on the GPU, which reads and writes it once); then the 224 matrices of a
  Llama-3-8B beside PEFT's `merge_and_unload`. Timed by device events; medians.
- cpu: one weight beside torch's BLAS, with one thread and with all.
- end-to-end: reading a base from the disk, merging, hashing; beside `sha256` of the same files with
  as many threads (which hashlib runs without the GIL).
- memory: the highest resident size of a merge less what was resident before, by the base's size.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe

LAYER = (4096, 14336)
RANKS = (4, 8, 16, 32, 64, 128, 256)
G = 0.5
LLAMA = {"hidden": 4096, "intermediate": 14336, "kv": 1024, "layers": 32}
MEBIBYTE = 1 << 20
PARTS = ("gpu", "cpu", "end-to-end", "memory")


def main() -> None:
    """Measure and print the tables that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--size", type=int, default=1024, help="MiB of the base end to end")
    parser.add_argument("--device", default="cpu", help="of the merge end to end")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        print(json.dumps(_measure_memory(Path(arguments.child))))
        return
    print(describe("torch", "triton", "numba", "numpy", "peft", "transformers"))
    chosen = arguments.parts or [part for part in PARTS if part != "gpu" or _has_gpu()]
    for part in chosen:
        print(f"\n## {part}\n")
        MEASURE[part](arguments)


# --- gpu ------------------------------------------------------------------------------------------


def measure_gpu(arguments: argparse.Namespace) -> None:
    """Print the table of one layer, and the row of a whole model."""
    import torch

    from plait.algebra.merge_on_cuda import CudaMerge

    gpu = CudaMerge.find()
    print(f"{gpu.name}, driver {_driver()}; tensor cores: {gpu.uses_tensor_cores}\n")
    print("| dtype | r | plait us | PEFT us | addmm us | copy us | to PEFT | to the copy |")
    print("|---|---|---|---|---|---|---|---|")
    for dtype in (torch.bfloat16, torch.float32):
        # Six weights in turn: together they are larger than the cache.
        weights = [torch.empty(LAYER, dtype=dtype, device="cuda").normal_() for _ in range(6)]
        _print_layer(gpu, weights)
        del weights
    print()
    _print_model(gpu, arguments.runs)


def _print_layer(gpu: Any, weights: list[Any]) -> None:
    import torch

    from plait.algebra.merge_on_cuda import TileMerge

    turn = itertools.cycle(weights)
    out = torch.empty_like(weights[0])
    is_bad = torch.zeros(1, dtype=torch.int32, device="cuda")
    copy = _time_gpu(lambda: out.copy_(next(turn)))
    for rank in RANKS:
        B = torch.empty((LAYER[0], rank), dtype=out.dtype, device="cuda").normal_()
        A = torch.empty((rank, LAYER[1]), dtype=out.dtype, device="cuda").normal_()
        merge = TileMerge([B], [A], [G], uses_tensor_cores=gpu.uses_tensor_cores)

        def run(merge: Any = merge) -> None:
            merge(next(turn), out, 0, is_bad)

        def run_peft(B: Any = B, A: Any = A) -> None:
            # As peft.tuners.lora.layer.Linear.merge does it: the delta first, then in place.
            next(turn).add_((B @ A) * 1e-9)

        ours, theirs = _time_gpu(run), _time_gpu(run_peft)
        fused = _time_gpu(lambda B=B, A=A: torch.addmm(next(turn), B, A, alpha=G, out=out))
        print(
            f"| {str(out.dtype).removeprefix('torch.')} | {rank} | {ours:.1f} | {theirs:.1f} | "
            f"{fused:.1f} | {copy:.1f} | {ours / theirs:.2f} | {ours / copy:.2f} |",
            flush=True,
        )


def _print_model(gpu: Any, runs: int) -> None:
    """Print what all matrices of a Llama-3-8B cost, by device events."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    from plait.algebra.merge_on_cuda import TileMerge

    config = LlamaConfig(
        hidden_size=LLAMA["hidden"],
        intermediate_size=LLAMA["intermediate"],
        num_hidden_layers=LLAMA["layers"],
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=1024,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model = model.to_empty(device="cuda")
    for parameter in model.parameters():
        parameter.data.normal_(std=0.02)
    lora = LoraConfig(
        r=16,
        lora_alpha=16,
        target_modules=[f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")],
    )
    # Factors in bfloat16, which is the faster way for PEFT.
    wrapped = get_peft_model(model, lora, autocast_adapter_dtype=False)
    triples = _find_factors(wrapped)
    is_bad = torch.zeros(1, dtype=torch.int32, device="cuda")

    def merge_all() -> None:
        for W, B, A in triples:
            out = torch.empty_like(W)
            TileMerge([B], [A], [1.0], uses_tensor_cores=gpu.uses_tensor_cores)(W, out, 0, is_bad)

    def merge_peft() -> None:
        wrapped.merge_adapter()

    def unmerge_peft() -> None:
        wrapped.unmerge_adapter()

    merge_all()
    ours = [_time_once(merge_all) for _ in range(runs)]
    theirs = []
    for _ in range(runs):
        theirs.append(_time_once(merge_peft))
        unmerge_peft()
    last = _time_once(wrapped.merge_and_unload)
    one, other = statistics.median(ours), statistics.median(theirs)
    print(
        f"Llama-3-8B, {len(triples)} matrices, r=16, bf16: plait {one:.1f} ms (factors widened, "
        f"outcome beside W); PEFT merge_adapter {other:.1f} ms, merge_and_unload (once, with "
        f"taking the wrappers off) {last:.1f} ms; plait to merge_adapter {one / other:.2f}, to "
        f"merge_and_unload {one / last:.2f}"
    )


def _find_factors(model: Any) -> list[tuple[Any, Any, Any]]:
    """Return W, B and A of each LoRA in a model, with B drawn anew."""
    found = []
    for layer in model.modules():
        if hasattr(layer, "lora_A"):
            B, A = (getattr(layer, name)["default"].weight.data for name in ("lora_B", "lora_A"))
            B.normal_(std=0.01)
            found.append((layer.base_layer.weight.data, B, A))
    return found


def _time_gpu(run: Callable[[], object]) -> float:
    """Return microseconds: the median by device events, after a warm-up."""
    from triton.testing import do_bench

    return float(do_bench(run, warmup=50, rep=200, return_mode="median")) * 1e3


def _time_once(run: Callable[[], object]) -> float:
    """Return milliseconds by device events."""
    import torch

    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end))


def _has_gpu() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def _driver() -> str:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]


# --- cpu ------------------------------------------------------------------------------------------


def measure_cpu(arguments: argparse.Namespace) -> None:
    """Print what one weight costs beside BLAS."""
    import torch

    from plait.algebra.exact_merge import ProductTerm, WeightKind
    from plait.algebra.merge_on_cpu import CpuMerge

    rng = np.random.default_rng(0)
    device = CpuMerge()
    print("| weight | dtype | r | threads | plait ms | W + g (B A) ms | addmm ms | to the faster |")
    print("|---|---|---|---|---|---|---|---|")
    for shape, dtype, rank, threads in itertools.product(
        ((4096, 4096), LAYER), ("F32", "BF16"), (8, 16), sorted({1, os.cpu_count() or 1})
    ):
        L, R = (
            rng.standard_normal(size).astype(np.float32)
            for size in ((shape[0], rank), (rank, shape[1]))
        )
        W = torch.from_numpy(rng.standard_normal(shape).astype(np.float32))
        W = W if dtype == "F32" else W.bfloat16()
        codes = memoryview(W.view(torch.uint8).numpy().reshape(-1))
        kind = WeightKind("W", dtype, *shape)
        rows = max(1, device.block_size // kind.row_size)

        def run_part(
            part: range, kind: Any = kind, L: Any = L, R: Any = R, codes: Any = codes
        ) -> None:
            merge = device.open(kind, [ProductTerm(L, R, G)])
            for first in part:
                merge(codes[first * kind.row_size : (first + part.step) * kind.row_size], first)

        blocks = range(0, shape[0], rows)
        middle = len(blocks) // 2
        parts = [blocks] if threads == 1 else [blocks[:middle], blocks[middle:]]
        torch.set_num_threads(threads)
        left, right = (torch.from_numpy(part).to(W.dtype) for part in (L, R))
        with ThreadPoolExecutor(len(parts)) as pool:
            ours = _time(partial(_run_all, pool, run_part, parts), arguments.runs)
        plain = _time(partial(_merge_plainly, W, left, right), arguments.runs)
        fused = _time(partial(torch.addmm, W, left, right, alpha=G), arguments.runs)
        print(
            f"| {shape[0]} x {shape[1]} | {dtype} | {rank} | {threads} | {ours * 1e3:.1f} | "
            f"{plain * 1e3:.1f} | {fused * 1e3:.1f} | {ours / min(plain, fused):.2f} |",
            flush=True,
        )


def _merge_plainly(W: Any, B: Any, A: Any) -> Any:
    return W + G * (B @ A)


def _run_all(pool: ThreadPoolExecutor, work: Callable[[Any], object], items: Sequence[Any]) -> None:
    for _ in pool.map(work, items):
        pass


def _time(run: Callable[[], object], runs: int) -> float:
    """Return seconds: the median after one run that warms up."""
    run()
    taken = []
    for _ in range(runs):
        begin = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


# --- end to end -----------------------------------------------------------------------------------


def measure_end_to_end(arguments: argparse.Namespace) -> None:
    """Print what a merge costs beside sha256 of the base's files."""
    from plait.merge import MergeOptions, MergeSource, merge

    print(
        "| base MiB | touched | device | threads | sha256 s | first s | known s | known to sha256 |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for touched in ("all linear", "q and v"):
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            make_base(root / "base", arguments.size)
            make_adapter(root / "adapter", root / "base", touched)
            files = sorted((root / "base").glob("*.safetensors"))
            for threads in sorted({1, os.cpu_count() or 1}):
                sources = [MergeSource("adapter", root / "adapter")]
                options = MergeOptions(
                    root / "base",
                    device=arguments.device,
                    threads=threads,
                    cache_dir=root / f"cache{threads}",
                )
                with ThreadPoolExecutor(threads) as pool:
                    hashed = _time(partial(_run_all, pool, _hash_file, files), arguments.runs)
                begin = time.perf_counter()
                merge(sources, options)
                first = time.perf_counter() - begin
                known = _time(partial(merge, sources, options), arguments.runs)
                print(
                    f"| {arguments.size} | {touched} | {arguments.device} | {threads} | "
                    f"{hashed:.2f} | {first:.2f} | {known:.2f} | {known / hashed:.2f} |",
                    flush=True,
                )


def make_base(folder: Path, mebibytes: int) -> None:
    """Write a made-up base in bfloat16, of eight files."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(1)
    folder.mkdir(parents=True)
    layers = max(8, mebibytes // 32)
    for shard in range(8):
        tensors = {}
        for layer in range(shard, layers, 8):
            for name, shape in _list_modules(layer):
                values = rng.standard_normal(shape, np.float32)
                tensors[f"{name}.weight"] = (values.view(np.uint32) >> 16).astype(np.uint16)
        _save_bf16(folder / f"model-{shard}.safetensors", tensors, save_file)
    (folder / "config.json").write_text(json.dumps({"tie_word_embeddings": False}))


def _list_modules(layer: int) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the modules of a layer of 32 MiB."""
    for name in ("q", "k", "v", "o"):
        yield f"model.layers.{layer}.self_attn.{name}_proj", (1024, 1024)
    for name in ("gate", "up", "down"):
        yield (
            f"model.layers.{layer}.mlp.{name}_proj",
            (4096, 1024) if name != "down" else (1024, 4096),
        )


def _save_bf16(path: Path, tensors: dict[str, Any], save: Callable[..., None]) -> None:
    """Write codes as BF16, a dtype that numpy does not have."""
    save(tensors, path)
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size].replace(b'"U16"', b'"BF16"')
    header = header.rstrip(b" ")
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + size :])


def make_adapter(folder: Path, base: Path, touched: str, rank: int = 16) -> None:
    """Write a LoRA for all linear modules of a base, or for two in each layer."""
    from safetensors.numpy import save_file

    from plait.adapter_folder import open_tensors

    rng = np.random.default_rng(2)
    folder.mkdir(parents=True)
    tensors = {}
    for name, (_, tensor) in open_tensors(base).places.items():
        module = name.removesuffix(".weight")
        if touched != "all linear" and not module.endswith((".q_proj", ".v_proj")):
            continue
        out, columns = tensor.shape
        prefix = f"base_model.model.{module}"
        tensors[f"{prefix}.lora_A.weight"] = rng.standard_normal((rank, columns), np.float32)
        tensors[f"{prefix}.lora_B.weight"] = rng.standard_normal((out, rank), np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 16, "target_modules": "all-linear"}
    (folder / "adapter_config.json").write_text(json.dumps(config))


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        memory = memoryview(bytearray(MEBIBYTE))
        while count := file.readinto(memory):
            digest.update(memory[:count])
    return digest.hexdigest()


# --- memory ---------------------------------------------------------------------------------------


def measure_memory(_: argparse.Namespace) -> None:
    """Print what a merge holds, by the size of the base."""
    print("| base MiB | threads | extra MiB |")
    print("|---|---|---|")
    for size in (256, 1024):
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            make_base(root / "base", size)
            make_adapter(root / "adapter", root / "base", "all linear")
            # Not in the process that is measured: making a base holds a whole file.
            make_base(root / "warm" / "base", 8)
            make_adapter(root / "warm" / "adapter", root / "warm" / "base", "all linear")
            command = [sys.executable, __file__, "--child", str(root)]
            answer = subprocess.run(command, capture_output=True, text=True, check=True)
            held = json.loads(answer.stdout)
            print(f"| {size} | {held['threads']} | {held['extra'] / MEBIBYTE:.1f} |", flush=True)


def _measure_memory(root: Path) -> dict[str, int]:
    from plait.merge import MergeOptions, MergeSource, merge

    threads = os.cpu_count() or 1
    warm = root / "warm"
    sources, device = [MergeSource("adapter", warm / "adapter")], "cpu"
    # One thread: what more threads hold is part of what is measured.
    merge(sources, MergeOptions(warm / "base", device=device))
    _peak()
    before = _peak()
    sources = [MergeSource("adapter", root / "adapter")]
    merge(sources, MergeOptions(root / "base", device=device, threads=threads))
    return {"threads": threads, "extra": _peak() - before}


def _peak() -> int:
    """Return the highest resident size in bytes, and begin to look for it anew.

    Not `ru_maxrss`, which a process inherits from who started it.
    """
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    Path("/proc/self/clear_refs").write_text("5")
    return int(peak.split()[1]) * 1024


MEASURE: dict[str, Callable[[argparse.Namespace], None]] = {
    "gpu": measure_gpu,
    "cpu": measure_cpu,
    "end-to-end": measure_end_to_end,
    "memory": measure_memory,
}


if __name__ == "__main__":
    main()
