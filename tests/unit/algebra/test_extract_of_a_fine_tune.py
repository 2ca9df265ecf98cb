"""Extraction from a real full fine-tune: what the factors keep, and what the model then says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plait.adapter_folder import open_base
from plait.algebra.extract import ExtractOptions, Treatment, plan_extraction
from plait.algebra.extract_module import extract_module
from plait.algebra.extraction_report import ExtractedAdapter, assemble
from plait.model.base_layout import find_tied_heads, find_transposed
from plait.model.lora_config import write_lora_config
from reference.safetensors_writer import write

TOLERANCE = 0.03  # the golden losses were measured in bf16 on a GPU


def extract(zoo: Path, **options: Any) -> ExtractedAdapter:
    base, tuned = open_base(zoo / "base"), open_base(zoo / "full-ft-cpp")
    config = json.loads((zoo / "base" / "config.json").read_text("utf-8"))
    extraction = plan_extraction(
        base,
        tuned,
        ExtractOptions(
            transposed=find_transposed(config),
            tied_heads=find_tied_heads(config, base.kinds),
            **options,
        ),
    )
    return assemble(extraction, [extract_module(extraction, m) for m in extraction.modules])


@pytest.mark.slow
def test_more_of_the_change_is_kept_the_higher_the_rank(zoo_data: Path) -> None:
    skipped = ("embed_tokens", "mlp.*")  # the attention alone, to be quick
    kept = []
    for rank in (1, 4, 16, 64, 256):
        outcome = extract(zoo_data, rank=rank, left_out=skipped)
        adapted = [m for m in outcome.modules if m.treatment is Treatment.LORA]
        assert len(adapted) == 24
        kept.append(sum(m.kept_energy for m in adapted) / sum(m.energy for m in adapted))
    assert kept == sorted(kept)
    assert kept[0] < 0.3
    assert kept[-1] == pytest.approx(1.0, abs=1e-12)


@pytest.mark.slow
def test_full_rank_gives_back_the_tuned_weights_to_rounding(zoo_data: Path) -> None:
    outcome = extract(zoo_data, rank=256, left_out=("embed_tokens",))
    base, tuned = open_base(zoo_data / "base"), open_base(zoo_data / "full-ft-cpp")
    adapted = [module for module in outcome.outcomes if module.placement is not None]
    assert len(adapted) == 42
    for module in adapted:
        A, B = (  # noqa: N806
            np.frombuffer(tensor.data, "<f4").reshape(tensor.shape).astype(np.float64)
            for tensor in module.tensors
        )
        name = f"{module.module}.weight"
        error = base.read(name) + B @ A - tuned.read(name)
        assert np.linalg.norm(error) < 1e-6 * np.linalg.norm(tuned.read(name))
    for saved in (module for module in outcome.outcomes if module.placement is None):
        (tensor,) = saved.tensors
        whole = np.frombuffer(tensor.data, "<u2").astype(np.uint32) << np.uint32(16)
        assert tensor.dtype == "BF16"
        assert np.array_equal(whole.view(np.float32), tuned.read(f"{saved.module}.weight"))


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:Model has `tie_word_embeddings")
def test_extracted_adapter_approaches_the_losses_of_the_full_fine_tune(
    zoo_data: Path, micro_data: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    golden = json.loads((zoo_data / "golden-outputs.json").read_text("utf-8"))["eval_loss"]
    tokens = load_file(micro_data / "heldout_tokens.safetensors")["cpp"].long()
    before, after = golden["base"]["cpp"], golden["full-ft-cpp"]["cpp"]
    losses = []
    for rank in (4, 32, 256):
        folder = tmp_path / str(rank)
        folder.mkdir()
        save(extract(zoo_data, rank=rank), folder)
        losses.append(compute_loss(zoo_data / "base", folder, tokens))
    assert before > losses[0] > losses[1] > losses[2]
    assert losses[2] == pytest.approx(after, abs=TOLERANCE)


def save(outcome: ExtractedAdapter, folder: Path) -> None:
    tensors = {
        tensor.name: (tensor.dtype, tensor.shape, tensor.data)
        for module in outcome.outcomes
        for tensor in module.tensors
    }
    (folder / "adapter_model.safetensors").write_bytes(write(tensors, {"format": "pt"}))
    (folder / "adapter_config.json").write_bytes(write_lora_config(outcome.description))


def compute_loss(base: Path, adapter: Path, tokens: Any) -> float:
    import torch
    from peft import PeftModel
    from torch.nn.functional import cross_entropy
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(adapter)).eval()
    with torch.no_grad():
        logits = model(input_ids=tokens).logits[:, :-1]
    flat = logits.reshape(-1, logits.shape[-1])
    return float(cross_entropy(flat, tokens[:, 1:].reshape(-1)))
