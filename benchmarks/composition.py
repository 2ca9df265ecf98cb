"""How long compositions take and what they hold in memory, beside PEFT in the same run.

    python benchmarks/composition.py [--runs 5] [--layers 8] [--quick]

Every figure comes from a child process of its own, with one thread and with two:

- `sum` at rank 16 beside PEFT's `add_weighted_adapter(svd)`: two adapters of rank 16, hidden size
  2048, q, k, v and o of 8 layers. PEFT is run once, since it takes a minute; plait so often that
  the median means something, after one run that warms the caches.
- the error of both against the best approximation of that rank, in double precision by LAPACK;
- `concat` beside copying the same bytes;
- `ties` and `dare_ties` beside PEFT's `ties_svd` and `dare_ties_svd`, on one layer;
- the cost of `sum` against the number of inputs and against the rank.

Extra memory is the highest resident size less what was resident before the call.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe
from numpy.typing import NDArray

HIDDEN = 2048
RANK = 16
ALPHA = 32
WEIGHTS = (0.7, 0.3)
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
DENSITY = 0.5
MEBIBYTE = 1 << 20
LIMITS = {"speed": 1_000.0, "memory": 1 / 20, "dense": 3.0}

Factors = dict[str, NDArray[np.float32]]


def main() -> None:
    """Measure and print the tables; or, as a child, measure one thing and print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--quick", action="store_true", help="leave the tables of growth out")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        print(json.dumps(CHILDREN[arguments.child](arguments)))
        return
    print(describe("plait", "numpy", "numba", "peft", "torch"))
    report_sum(arguments)
    report_concat(arguments)
    report_dense(arguments)
    if not arguments.quick:
        report_growth(arguments)


def report_sum(arguments: argparse.Namespace) -> None:
    """Print how the weighted sum at a rank compares."""
    print(
        f"\nsum at rank {RANK}: {arguments.layers} layers of {len(TARGETS)} matrices "
        f"{HIDDEN} x {HIDDEN}, two inputs of rank {RANK}\n"
        "| threads | PEFT svd | plait sum | times faster (limit 1000) | extra memory PEFT, plait, "
        "ratio (limit 0.05) | relative error PEFT, plait |\n|---|---|---|---|---|---|"
    )
    for threads in (1, 2):
        peer = run_child("peft-svd", arguments, threads)
        own = run_child("plait-sum", arguments, threads)
        print(
            f"| {threads} | {peer['seconds']:.1f} s | {own['seconds'] * 1e3:.1f} ms | "
            f"{peer['seconds'] / own['seconds']:.0f} | {peer['extra'] / MEBIBYTE:.0f} MiB, "
            f"{own['extra'] / MEBIBYTE:.1f} MiB, {own['extra'] / peer['extra']:.4f} | "
            f"{peer['error']:.12f}, {own['error']:.12f} |"
        )


def report_concat(arguments: argparse.Namespace) -> None:
    """Print how stacking compares with copying."""
    found = run_child("plait-concat", arguments, 1)
    print(
        f"\nconcat of the same two inputs: {found['seconds'] * 1e3:.1f} ms for "
        f"{found['bytes'] / MEBIBYTE:.0f} MiB of factors; copying them takes "
        f"{found['copy'] * 1e3:.1f} ms: {found['seconds'] / found['copy']:.1f} times as long"
    )


def report_dense(arguments: argparse.Namespace) -> None:
    """Print how methods on dense deltas compare."""
    print(
        f"\nElementwise methods at density {DENSITY}, rank {RANK}: one layer\n"
        "| threads | method | PEFT | plait | times faster (limit 3) |\n|---|---|---|---|---|"
    )
    for threads in (1, 2):
        for name in ("ties", "dare_ties"):
            peer = run_child(f"peft-{name}", arguments, threads)["seconds"]
            own = run_child(f"plait-{name}", arguments, threads)["seconds"]
            print(f"| {threads} | {name} | {peer:.2f} s | {own:.2f} s | {peer / own:.1f} |")


def report_growth(arguments: argparse.Namespace) -> None:
    """Print the cost against the number of inputs and the rank."""
    found = run_child("plait-growth", arguments, 1)
    for title, name in (
        (f"inputs (each of rank {RANK}, to rank {RANK})", "inputs"),
        ("rank (two inputs, to that rank)", "ranks"),
    ):
        print(
            f"\nsum, one matrix {HIDDEN} x {HIDDEN}, one thread, by {title}\n"
            "| value | columns R | time | times the one before |\n|---|---|---|---|"
        )
        before = None
        for value, columns, seconds in found[name]:
            growth = "" if before is None else f"{seconds / before:.2f}"
            print(f"| {value} | {columns} | {seconds * 1e3:.2f} ms | {growth} |")
            before = seconds


def run_child(name: str, arguments: argparse.Namespace, threads: int) -> dict[str, Any]:
    """Return the figures that a process of its own measured."""
    environment = {
        **os.environ,
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
        "BENCH_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
    }
    if name.startswith("peft"):
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    done = subprocess.run(
        [
            *(sys.executable, __file__, "--child", name),
            *("--runs", str(arguments.runs), "--layers", str(arguments.layers)),
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


# --- children -----------------------------------------------------------------------------------


def make_adapter(seed: int, layers: int, rank: int = RANK) -> Factors:
    """Return random factors of an adapter, as PEFT names them."""
    generator = np.random.default_rng(seed)
    tensors: Factors = {}
    for layer in range(layers):
        for target in TARGETS:
            stem = f"base_model.model.layers.{layer}.{target}"
            for part, shape in (("A", (rank, HIDDEN)), ("B", (HIDDEN, rank))):
                values = generator.standard_normal(shape, np.float32) * np.float32(0.02)
                tensors[f"{stem}.lora_{part}.weight"] = values
    return tensors


def threads() -> int:
    """Return how many threads this child was given."""
    return int(os.environ["BENCH_THREADS"])


def measure_peft(method: str, layers: int) -> tuple[float, int, Any]:
    """Return the seconds, the extra bytes, and the model of PEFT's own composition."""
    import torch
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

    torch.set_num_threads(threads())

    class Layer(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            for target in TARGETS:
                setattr(self, target, torch.nn.Linear(HIDDEN, HIDDEN, bias=False))

    class Model(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList(Layer() for _ in range(layers))

        def forward(self, x: Any) -> Any:
            return x

    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(TARGETS))
    model = get_peft_model(Model(), config, adapter_name="a0")
    model.add_adapter("a1", config)
    for index in range(2):
        state = {k: torch.from_numpy(v) for k, v in make_adapter(index, layers).items()}
        set_peft_model_state_dict(model, state, adapter_name=f"a{index}")
    options: dict[str, Any] = {"svd_rank": RANK}
    if method != "svd":
        options |= {"density": DENSITY}
    torch.manual_seed(0)
    before = start_memory()
    begin = time.perf_counter()
    model.add_weighted_adapter(
        ["a0", "a1"], list(WEIGHTS), "out", combination_type=method, **options
    )
    seconds = time.perf_counter() - begin
    return seconds, peak_memory() - before, model


def peft_svd(arguments: argparse.Namespace) -> dict[str, float]:
    """Measure PEFT's svd, with its error."""
    seconds, extra, model = measure_peft("svd", arguments.layers)
    module = model.base_model.model.layers[0].q_proj
    delta = module.get_delta_weight("out").double().numpy()
    return {"seconds": seconds, "extra": extra, "error": relative_error(delta, arguments.layers)}


def relative_error(delta: NDArray[np.float64], layers: int) -> float:
    """Return how far a delta of the first module is from the exact weighted sum."""
    exact = np.zeros((HIDDEN, HIDDEN))
    for index, weight in enumerate(WEIGHTS):
        tensors = make_adapter(index, layers)
        right, left = (
            tensors[f"base_model.model.layers.0.q_proj.lora_{part}.weight"].astype(np.float64)
            for part in "AB"
        )
        exact += weight * ALPHA / RANK * (left @ right)
    return float(np.linalg.norm(delta - exact) / np.linalg.norm(exact))


def make_composition(method: str, inputs: Sequence[Factors], **parameters: Any) -> Any:
    """Return a composition of adapters in memory."""
    from plait.algebra.adapter_tensors import AdapterTensors, TensorKind
    from plait.algebra.composition import plan_composition
    from plait.model.adapter import parse_adapter_config
    from plait.model.ids import CommitId
    from plait.model.recipe import Recipe
    from plait.model.recipe_input import RecipeInput

    adapters = []
    for index, tensors in enumerate(inputs):
        rank = next(iter(tensors.values())).shape[0]
        config = {
            "peft_type": "LORA",
            "r": rank,
            "lora_alpha": ALPHA * rank // RANK,
            "target_modules": list(TARGETS),
        }
        adapters.append(
            AdapterTensors(
                label=f"a{index}",
                config=parse_adapter_config(json.dumps(config).encode()),
                kinds={name: TensorKind("F32", array.shape) for name, array in tensors.items()},
                read=tensors.__getitem__,
                read_bytes=lambda name, tensors=tensors: tensors[name].tobytes(),
            )
        )
    weights = WEIGHTS if len(inputs) == 2 else [1 / len(inputs)] * len(inputs)
    recipe = Recipe(
        method=method,
        inputs=tuple(
            RecipeInput(adapter=f"bench/a{index}", weight=weight)
            for index, weight in enumerate(weights)
        ),
        parameters=parameters,
    )
    return plan_composition(
        recipe.pin([CommitId(f"{index:064x}") for index in range(len(inputs))]), adapters
    )


def carry_out(composition: Any) -> list[Any]:
    """Return the outcome of every module, by the threads of this child."""
    from plait.algebra.compose_module import compose_module

    def work(outline: Any) -> Any:
        return compose_module(composition, outline, measure=False)

    if threads() == 1:
        return [work(outline) for outline in composition.modules]
    with ThreadPoolExecutor(threads()) as pool:
        return list(pool.map(work, composition.modules))


def plait_sum(arguments: argparse.Namespace) -> dict[str, float]:
    """Measure plait's sum, from the plan to the encoded factors, with its error."""
    inputs = [make_adapter(index, arguments.layers) for index in range(2)]

    def compose() -> list[Any]:
        return carry_out(make_composition("sum", inputs, rank=RANK))

    compose()
    before = start_memory()
    outcome = compose()
    extra = peak_memory() - before
    seconds = median_of(compose, max(arguments.runs, 10))
    module = next(item for item in outcome if item.module == "layers.0.q_proj")
    right, left = (
        np.frombuffer(tensor.data, np.float32).reshape(tensor.shape).astype(np.float64)
        for tensor in module.tensors
    )
    return {
        "seconds": seconds,
        "extra": extra,
        "error": relative_error(left @ right, arguments.layers),
    }


def plait_concat(arguments: argparse.Namespace) -> dict[str, float]:
    """Measure stacking, and copying as many bytes."""
    inputs = [make_adapter(index, arguments.layers) for index in range(2)]
    composition = make_composition("concat", inputs)
    arrays = [array for tensors in inputs for array in tensors.values()]
    carry_out(composition)
    return {
        "seconds": median_of(lambda: carry_out(composition), arguments.runs),
        "copy": median_of(lambda: [array.copy() for array in arrays], arguments.runs),
        "bytes": sum(array.nbytes for array in arrays),
    }


def plait_elementwise(method: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Measure a method on dense deltas of one layer."""
    inputs = [make_adapter(index, 1) for index in range(2)]
    parameters: dict[str, Any] = {"rank": RANK, "density": DENSITY}
    composition = make_composition(method, inputs, **parameters)
    carry_out(composition)
    return {"seconds": median_of(lambda: carry_out(composition), min(arguments.runs, 3))}


def plait_growth(arguments: argparse.Namespace) -> dict[str, list[tuple[int, int, float]]]:
    """Measure the sum of one module by the number of inputs and by the rank."""

    def one(count: int, rank: int) -> tuple[int, float]:
        inputs = [keep_one(make_adapter(index, 1, rank)) for index in range(count)]
        composition = make_composition("sum", inputs, rank=rank)
        carry_out(composition)
        return count * rank, median_of(lambda: carry_out(composition), arguments.runs)

    return {
        "inputs": [(count, *one(count, RANK)) for count in (2, 4, 8, 16, 32, 64)],
        "ranks": [(rank, *one(2, rank)) for rank in (8, 16, 32, 64, 128, 256)],
    }


def keep_one(tensors: Factors) -> Factors:
    """Return the factors of the first module alone."""
    return {name: array for name, array in tensors.items() if ".q_proj." in name}


def median_of(function: Callable[[], object], runs: int) -> float:
    """Return the median of a function's seconds."""
    samples = []
    for _ in range(runs):
        begin = time.perf_counter()
        function()
        samples.append(time.perf_counter() - begin)
    return statistics.median(samples)


def start_memory() -> int:
    """Forget the peak so far, and return the bytes that are resident now."""
    Path("/proc/self/clear_refs").write_text("5")
    return read_status("VmRSS")


def peak_memory() -> int:
    """Return the most bytes that were resident since."""
    return read_status("VmHWM")


def read_status(field: str) -> int:
    """Return a figure of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


CHILDREN: dict[str, Callable[[argparse.Namespace], Any]] = {
    "peft-svd": peft_svd,
    "peft-ties": lambda _: {"seconds": measure_peft("ties_svd", 1)[0]},
    "peft-dare_ties": lambda _: {"seconds": measure_peft("dare_ties_svd", 1)[0]},
    "plait-sum": plait_sum,
    "plait-concat": plait_concat,
    "plait-ties": lambda arguments: plait_elementwise("ties", arguments),
    "plait-dare_ties": lambda arguments: plait_elementwise("dare_ties", arguments),
    "plait-growth": plait_growth,
}


if __name__ == "__main__":
    main()
