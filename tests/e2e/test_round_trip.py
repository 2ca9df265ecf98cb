"""Every family of adapters comes back byte for byte, and PEFT computes the same with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2e.made_adapters import WEIGHTS, lora_tensors, write_adapter
from e2e.programs import Client, digest_tree
from plait_registry.domain.dedup import SALT_SIZE

FAMILIES = (
    "cpp-adalora",
    "cpp-boft",
    "cpp-dora-r8",
    "cpp-fourierft",
    "cpp-hra",
    "cpp-ia3",
    "cpp-ln-tuning",
    "cpp-loha",
    "cpp-lokr",
    "cpp-lora-embed",
    "cpp-lora-modules-to-save",
    "cpp-lora-r8/v4",
    "cpp-oft",
    "cpp-vblora",
    "cpp-vera",
    "prose-lora-bias",
    "prose-lora-r16-bf16/v3",
    "prose-lora-rankpattern",
    "prose-p-tuning",
    "prose-pissa",
    "prose-prefix-tuning",
    "prose-prompt-tuning",
    "tests-rslora-r32",
)
TOLERANCE = 0.02
# PEFT 0.21 asks transformers 5 by an older name.
QUIET = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.mark.parametrize("family", FAMILIES)
def test_family_comes_back_byte_for_byte(
    client: Client, name: str, zoo_data: Path, family: str
) -> None:
    verify_round_trip(client, name, zoo_data / "adapters" / family)


@pytest.mark.parametrize("adapter", ["cpp/v1", "cpp/v3", "prose/v2", "tests"])
def test_demo_adapter_comes_back_byte_for_byte(
    client: Client, name: str, micro_data: Path, adapter: str
) -> None:
    verify_round_trip(client, name, micro_data / "adapters" / adapter)


def verify_round_trip(client: Client, name: str, folder: Path) -> Path:
    """Push a folder and pull it into the cache; return the path there."""
    expected = digest_tree(folder)
    pushed = client.facts("push", folder, name, "-m", "First", "--create")
    assert pushed["bytes_sent"] <= sum(len(data) + SALT_SIZE for data in expected.values())
    path = Path(client.run("pull", name).strip())
    assert digest_tree(path) == expected
    assert path.name == pushed["manifest"]
    assert path.is_relative_to(client.cache)
    for found in [path, *path.rglob("*")]:
        assert not found.stat().st_mode & 0o222
    return path


def test_copy_is_writable_and_the_cache_does_not_change_with_it(
    client: Client, name: str, tmp_path: Path
) -> None:
    folder = write_adapter(tmp_path / "adapter")
    client.run("push", folder, name, "-m", "First", "--create")
    cached = Path(client.run("pull", name).strip())
    client.run("pull", name, tmp_path / "copy")
    weights = tmp_path / "copy" / WEIGHTS
    weights.write_bytes(b"mine now")
    assert digest_tree(cached) == digest_tree(folder)
    assert client.refusal("pull", name, tmp_path / "copy")["kind"] == "destination-exists"
    client.run("pull", name, tmp_path / "copy", "--force")
    assert digest_tree(tmp_path / "copy") == digest_tree(folder)


def test_second_pull_receives_nothing(client: Client, name: str, tmp_path: Path) -> None:
    client.run("push", write_adapter(tmp_path / "adapter"), name, "-m", "First", "--create")
    first, second = client.facts("pull", name), client.facts("pull", name)
    assert first["bytes_received"] > 0
    assert second == {**first, "bytes_received": 0}


def test_push_of_the_same_files_sends_nothing_and_makes_no_commit(
    client: Client, name: str, tmp_path: Path
) -> None:
    folder = write_adapter(tmp_path / "adapter")
    first = client.facts("push", folder, name, "-m", "First", "--create")
    again = client.facts("push", folder, name, "-m", "Again")
    assert (again["commit"], again["new"], again["bytes_sent"]) == (first["commit"], False, 0)
    other = client.facts("push", folder, f"{name}@other", "-m", "Elsewhere")
    assert (other["new"], other["bytes_sent"]) == (True, 0)


@pytest.mark.torch
def test_chosen_tensors_come_as_a_valid_file(client: Client, name: str, tmp_path: Path) -> None:
    import torch
    from safetensors import safe_open

    tensors = lora_tensors()
    folder = write_adapter(tmp_path / "adapter", tensors)
    client.run("push", folder, name, "-m", "First", "--create")
    client.run("pull", name, tmp_path / "part", "--only", "*layers.0.*")
    wanted = {tensor.name: tensor.data for tensor in tensors if ".layers.0." in tensor.name}
    with safe_open(tmp_path / "part" / WEIGHTS, framework="pt") as file:
        found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    assert found.keys() == wanted.keys()
    for key, tensor in found.items():
        assert tensor.flatten().view(torch.uint8).numpy().tobytes() == wanted[key]


@pytest.mark.torch
@pytest.mark.slow
@QUIET
@pytest.mark.parametrize(
    "family", ["cpp-lora-r8/v4", "cpp-dora-r8", "cpp-ia3", "prose-prefix-tuning"]
)
def test_peft_computes_the_golden_logits_from_the_pulled_folder(
    client: Client, name: str, zoo_data: Path, family: str
) -> None:
    import torch

    golden = json.loads((zoo_data / "golden-outputs.json").read_text("utf-8"))
    expected = torch.tensor(golden["logits"]["values"][family])
    path = verify_round_trip(client, name, zoo_data / "adapters" / family)
    tokens = torch.tensor([[(37 * i + 11 * j) % 4096 for j in range(32)] for i in range(4)])
    logits = compute_logits(zoo_data / "base", path, tokens)[:, -1, :64]
    assert float((logits - expected).abs().max()) < TOLERANCE


@pytest.mark.torch
@pytest.mark.slow
@QUIET
def test_peft_computes_the_golden_losses_from_the_pulled_folder(
    client: Client, name: str, micro_data: Path
) -> None:
    from safetensors.torch import load_file

    golden = json.loads((micro_data / "golden-outputs.json").read_text("utf-8"))
    path = verify_round_trip(client, name, micro_data / "adapters" / "cpp" / "v3")
    for domain, tokens in load_file(micro_data / "heldout_tokens.safetensors").items():
        loss = compute_loss(micro_data / "base", path, tokens)
        assert loss == pytest.approx(golden["eval_loss"]["cpp/v3"][domain], abs=TOLERANCE)


def compute_logits(base: Path, adapter: Path, tokens: Any) -> Any:
    """Load an adapter as anybody would, from the read-only folder, and run it in fp32."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(adapter)).eval()
    with torch.no_grad():
        return model(input_ids=tokens).logits


def compute_loss(base: Path, adapter: Path, tokens: Any) -> float:
    """Return the mean loss of the next token."""
    from torch.nn.functional import cross_entropy

    ids = tokens.long()
    logits = compute_logits(base, adapter, ids)
    flat = logits[:, :-1].reshape(-1, logits.shape[-1])
    return float(cross_entropy(flat, ids[:, 1:].reshape(-1)))
