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

SKIPPED = ("embed_tokens", "layers.[1-5].*")  # one layer is enough, and quick
TOLERANCE = 0.05  # of the golden logits, computed on a GPU


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


def test_more_of_the_change_is_kept_the_higher_the_rank(zoo_data: Path) -> None:
    kept = []
    for rank in (2, 32, 256):
        outcome = extract(zoo_data, rank=rank, left_out=SKIPPED)
        adapted = [m for m in outcome.modules if m.treatment is Treatment.LORA]
        assert len(adapted) == 7
        kept.append(sum(m.kept_energy for m in adapted) / sum(m.energy for m in adapted))
    assert kept == sorted(kept)
    assert kept[0] < 0.3
    assert kept[-1] == pytest.approx(1.0, abs=1e-12)


def test_full_rank_gives_back_the_tuned_weights_to_rounding(zoo_data: Path) -> None:
    outcome = extract(zoo_data, rank=256, left_out=SKIPPED)
    base, tuned = open_base(zoo_data / "base"), open_base(zoo_data / "full-ft-cpp")
    adapted = [module for module in outcome.outcomes if module.placement is not None]
    assert len(adapted) == 7
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
def test_extracted_adapter_approaches_the_logits_of_the_full_fine_tune(
    zoo_data: Path, tmp_path: Path
) -> None:
    import torch

    golden = json.loads((zoo_data / "golden-outputs.json").read_text("utf-8"))["logits"]["values"]
    before, after = compute_logits(zoo_data / "base"), compute_logits(zoo_data / "full-ft-cpp")
    assert float((after - torch.tensor(golden["full-ft-cpp"])).abs().max()) < TOLERANCE
    distances = [float((before - after).norm() / after.norm())]
    for rank in (32, 256):
        folder = tmp_path / str(rank)
        folder.mkdir()
        save(extract(zoo_data, rank=rank), folder)
        logits = compute_logits(zoo_data / "base", folder)
        distances.append(float((logits - after).norm() / after.norm()))
    assert distances == sorted(distances, reverse=True)
    assert distances[1] < distances[0] / 2
    assert distances[2] < 1e-5


def save(outcome: ExtractedAdapter, folder: Path) -> None:
    tensors = {
        tensor.name: (tensor.dtype, tensor.shape, tensor.data)
        for module in outcome.outcomes
        for tensor in module.tensors
    }
    (folder / "adapter_model.safetensors").write_bytes(write(tensors, {"format": "pt"}))
    (folder / "adapter_config.json").write_bytes(write_lora_config(outcome.description))


def compute_logits(base: Path, adapter: Path | None = None) -> Any:
    """Return the logits that the golden ones were taken from, (4, 64)."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    tokens = torch.tensor([[(37 * i + 11 * j) % 4096 for j in range(32)] for i in range(4)])
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    with torch.no_grad():
        return model.eval()(input_ids=tokens).logits[:, -1, :64]
