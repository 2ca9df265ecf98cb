"""How far PEFT's compositions, and plait's, are from the weighted sum of what their inputs do.

    python benchmarks/peft_errors.py

Inputs are the trained adapters of `examples/micro`, and three made of them: with magnitudes (DoRA),
with biases (`lora_bias`), and with a rank that differs by module (`rank_pattern`). What an adapter
does is the change of the base's weights and biases when PEFT loads its folder and merges it, in
double precision. The wanted change is the weighted sum of the inputs'. Outcomes are saved, loaded
again by PEFT and measured in the same way; the error is the norm of what is wrong, relative to the
norm of what is wanted.
"""

from __future__ import annotations

import json
import math
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from machine import describe
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from plait.compose_folder import ComposedInput, Workplace, compose_folder
from plait.describe import describe_folder
from plait.model.recipe import Recipe

MICRO = Path(__file__).resolve().parents[1] / "examples" / "micro"
BASE = MICRO / "base"
WEIGHTS_FILE, CONFIG_FILE = "adapter_model.safetensors", "adapter_config.json"
Change = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Case:
    """One composition, by PEFT and by plait."""

    what: str
    inputs: tuple[str, ...]
    weights: tuple[float, ...]
    peft: dict[str, Any]
    plait: dict[str, Any] = field(default_factory=lambda: {"method": "concat"})


SIBLINGS, TASKS = ("cpp/v3", "cpp/v2"), ("cpp/v3", "prose/v2")
SUM_16, SUM_128 = ({"method": "sum", "parameters": {"rank": rank}} for rank in (16, 128))
CASES = (
    Case("two versions of one training", SIBLINGS, (0.7, 0.3), {"combination_type": "linear"}),
    Case("their difference", SIBLINGS, (1.0, -1.0), {"combination_type": "linear"}),
    Case("two versions of one training", SIBLINGS, (0.7, 0.3), {"combination_type": "cat"}),
    Case(
        "two versions of one training",
        SIBLINGS,
        (0.7, 0.3),
        {"combination_type": "svd", "svd_rank": 16},
        SUM_16,
    ),
    Case("two tasks, ranks 8 and 4", TASKS, (0.7, 0.3), {"combination_type": "linear"}),
    Case("two tasks, ranks 8 and 4", TASKS, (0.7, 0.3), {"combination_type": "cat"}),
    Case("one adapter, rsLoRA", ("tests",), (1.0,), {"combination_type": "linear"}),
    Case("one adapter, DoRA", ("dora",), (1.0,), {"combination_type": "linear"}, SUM_128),
    Case("one adapter, lora_bias", ("bias",), (1.0,), {"combination_type": "linear"}),
    Case("one adapter, rank_pattern", ("ranks",), (1.0,), {"combination_type": "linear"}),
)
CONCAT = Case("two tasks", TASKS, (0.7, 0.3), {})
"""Has rank 12 where both inputs adapt a module, and 8 elsewhere."""


def main() -> None:
    """Measure and print the table."""
    warnings.filterwarnings("ignore")
    logging.disable_progress_bar()
    print(describe("plait", "numpy", "numba", "peft", "torch"))
    print(
        "\n| inputs | weights | PEFT | its error | plait | its error |\n|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        folders = {item: MICRO / "adapters" / item for item in (*SIBLINGS, *TASKS, "tests")}
        folders |= {"dora": make_dora(place / "dora"), "bias": make_bias(place / "bias")}
        both = [folders[item] for item in TASKS]
        folders["ranks"] = compose_by_plait(CONCAT, both, place / "ranks")
        changes = {item: find_change(folder) for item, folder in folders.items()}
        for number, case in enumerate(CASES):
            wanted = add_up([changes[item] for item in case.inputs], case.weights)
            sources = [folders[item] for item in case.inputs]
            into = place / str(number)
            peft = tell(partial(compose_by_peft, case, sources, into / "peft"), wanted)
            own = tell(partial(compose_by_plait, case, sources, into / "plait"), wanted)
            print(
                f"| {case.what} | {', '.join(map(str, case.weights))} "
                f"| `{case.peft['combination_type']}` | {peft} | `{case.plait['method']}` | {own} |"
            )


def tell(compose: Callable[[], Path], wanted: Change) -> str:
    """Return the error of an outcome, or how making or loading it failed."""
    try:
        found = find_change(compose())
    except (RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]:.50}"
    wrong = add_up([found, wanted], (1.0, -1.0))
    return f"{size(wrong) / size(wanted):.1e}"


def compose_by_peft(case: Case, folders: Sequence[Path], into: Path) -> Path:
    """Return the folder of what `add_weighted_adapter` makes."""
    names = [f"input{number}" for number in range(len(folders))]
    model = PeftModel.from_pretrained(load_base(torch.float32), str(folders[0]), names[0])
    for name, folder in zip(names[1:], folders[1:], strict=True):
        model.load_adapter(str(folder), name)
    model.add_weighted_adapter(names, list(case.weights), "outcome", **case.peft)
    model.save_pretrained(str(into), selected_adapters=["outcome"])
    return into / "outcome"


def compose_by_plait(case: Case, folders: Sequence[Path], into: Path) -> Path:
    """Return the folder of what plait makes, in float32."""
    inputs = [
        {"adapter": f"micro/{number}", "commit": f"{number:064x}", "weight": weight}
        for number, weight in enumerate(case.weights)
    ]
    document = {"format": "plait.recipe/1", "inputs": inputs, "dtype": "F32", **case.plait}
    into.mkdir(parents=True)
    compose_folder(
        Recipe.from_json(document),
        [
            ComposedInput(folder.name, folder, describe_folder(folder).manifest)
            for folder in folders
        ],
        Workplace(into, BASE),
    )
    return into


def make_dora(folder: Path) -> Path:
    """Return cpp/v3 with magnitudes a tenth above those of the changed weights."""
    base = load_base(torch.float64).state_dict()
    tensors = copy_config(folder, use_dora=True)
    for name in [name for name in tensors if name.endswith("lora_A.weight")]:
        path = name.removesuffix(".lora_A.weight")
        down, up = (tensors[f"{path}.lora_{part}.weight"].double() for part in "AB")
        weight = base[f"{path.removeprefix('base_model.model.')}.weight"] + 2.0 * up @ down
        magnitude = 1.1 * weight.norm(dim=1)
        tensors[f"{path}.lora_magnitude_vector"] = magnitude.to(torch.float32)
    save_file(tensors, folder / WEIGHTS_FILE, {"format": "pt"})
    return folder


def make_bias(folder: Path) -> Path:
    """Return cpp/v3 with biases of the size of a hundredth."""
    tensors = copy_config(folder, lora_bias=True)
    generator = torch.Generator().manual_seed(3)
    for name in [name for name in tensors if name.endswith("lora_B.weight")]:
        bias = torch.randn(len(tensors[name]), generator=generator) * 0.01
        tensors[name.replace(".weight", ".bias")] = bias
    save_file(tensors, folder / WEIGHTS_FILE, {"format": "pt"})
    return folder


def copy_config(folder: Path, **changes: Any) -> dict[str, torch.Tensor]:
    """Write the config of cpp/v3 with changes, and return its tensors."""
    source = MICRO / "adapters/cpp/v3"
    folder.mkdir()
    config = json.loads((source / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps({**config, **changes}))
    return dict(load_file(source / WEIGHTS_FILE))


def find_change(folder: Path) -> Change:
    """Return what an adapter changes of the base's weights and biases, merged by PEFT."""
    before = load_base(torch.float64).state_dict()
    model = PeftModel.from_pretrained(load_base(torch.float64), str(folder)).double()
    merged = model.merge_and_unload()
    return {name: value - before[name] for name, value in merged.state_dict().items()}


def load_base(dtype: torch.dtype) -> Any:
    """Return the base model with biases of zero, without which PEFT merges no `lora_bias`."""
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=dtype)
    for module in model.model.modules():
        if isinstance(module, torch.nn.Linear):
            module.bias = torch.nn.Parameter(torch.zeros(module.out_features, dtype=dtype))
    return model


def add_up(changes: Sequence[Change], weights: Sequence[float]) -> Change:
    """Return the weighted sum of changes; what one of them lacks counts as zero."""
    total: Change = {}
    for change, weight in zip(changes, weights, strict=True):
        for name, value in change.items():
            total[name] = total[name] + weight * value if name in total else weight * value
    return total


def size(change: Change) -> float:
    """Return the norm of all changes as one vector."""
    return math.sqrt(math.fsum(float((value**2).sum()) for value in change.values()))


if __name__ == "__main__":
    main()
