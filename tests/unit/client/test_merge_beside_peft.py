"""Merged models beside what transformers and PEFT make of them, and threads without denormals."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from plait.merge import MergeOptions, MergeSource, merge
from reference.golden_merges import MERGES, find_data, open_golden
from reference.made_merges import CASES

pytestmark = [
    pytest.mark.torch,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:Unsupported layer type"
    ),
]
FLUSHING = """\
import sys, threading
from pathlib import Path
import torch
from plait.errors import Unavailable
from plait.merge import MergeOptions, MergeSource, merge

base, adapter, norms_base, norms = map(Path, sys.argv[1:])

def try_it(threads, base=base, adapter=adapter):
    source = MergeSource("team/adapter", adapter)
    try:
        merged = merge([source], MergeOptions(base, device="cpu", threads=threads))
    except Unavailable as error:
        print("refused:", error.message)
    else:
        print(merged.digests.root)

assert torch.set_flush_denormal(True)
try_it(1)
try_it(3)
try_it(1, norms_base, norms)
torch.set_flush_denormal(False)
try_it(2)

def switch_off():
    torch.set_flush_denormal(True)
    try_it(2)

thread = threading.Thread(target=switch_off)
thread.start()
thread.join()
"""
ALONE = [
    name
    for name, merge in MERGES.items()
    if len(merge["adapters"]) == 1 and merge["adapters"][0][1] == 1.0
]


def test_merge_is_refused_in_threads_whose_denormals_are_switched_off(
    micro_data: Path, tmp_path: Path
) -> None:
    adapter = micro_data / "adapters" / "cpp" / "v1"
    whole = CASES["ln-tuning"]().write(tmp_path)  # nothing is added, and still it is rounded
    done = subprocess.run(
        [sys.executable, "-c", FLUSHING, *map(str, (micro_data / "base", adapter, *whole))],
        capture_output=True,
        text=True,
        check=True,
    )
    one, three, norms, root, thread = done.stdout.splitlines()
    for refused in (one, three, norms, thread):
        assert refused.startswith("refused: Denormal numbers are switched off in this process")
    assert root == "d3e43059ca6896c3f5a981c1672aadfce34903b41d34d09eda9a26e62dbbdaae"


@pytest.mark.parametrize("name", ALONE)
def test_written_model_loads_and_says_what_peft_says(name: str, tmp_path: Path) -> None:
    if not find_data(MERGES[name]["base"]).exists():
        pytest.skip("needs ../shared/data/zoo beside the checkout")
    import torch
    from peft import PeftModel

    with open_golden(name) as golden:
        ((adapter, _),) = golden.adapters
        options = MergeOptions(golden.base, device="cpu", into=tmp_path / "merged")
        merged = merge([MergeSource("team/adapter", adapter)], options)
        theirs = PeftModel.from_pretrained(load(golden.base), adapter).merge_and_unload()
    ours = load(tmp_path / "merged")
    weights = theirs.state_dict()
    for tensor in merged.changed:
        # PEFT merged in single precision; what was written is rounded to bfloat16.
        expected = weights[tensor]
        error = (ours.state_dict()[tensor] - expected).abs()
        assert (error <= expected.abs() * 2.0**-8 + 1e-6).all(), tensor
    tokens = torch.arange(64).reshape(2, 32) * 31 % 2048
    with torch.no_grad():
        one, other = ours(tokens).logits, theirs(tokens).logits
    assert (one - other).norm() < 0.02 * other.norm()


def load(folder: Path) -> Any:
    """Return the model in a folder, in single precision."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
