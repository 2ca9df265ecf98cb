"""Real models asked through transformers: their losses are those that an H100 measured."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plait import model_probe
from plait.errors import InvalidInput, PlaitError, Unavailable
from plait.language_model import describe, open_model, pick_device
from plait.model import canonical
from plait.model.output_probe import Agreement, OutputProbe, compare_outputs
from plait.model_probe import ModelProbe, ProbeOptions, probe_model
from plait.probe_tokens import ProbeTokens, read_probe_tokens

pytestmark = [pytest.mark.torch, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads of torch wait busily for each other, which is slow beside other programs."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tokens(micro_data: Path) -> ProbeTokens:
    """The held-out text of the demo data."""
    return read_probe_tokens(micro_data / "heldout_tokens.safetensors")


@pytest.fixture(scope="module")
def few(tokens: ProbeTokens) -> ProbeTokens:
    """Two rows of each of two groups."""
    groups = {name: tokens.groups[name][:2] for name in ("cpp", "python")}
    return ProbeTokens(tokens.digest, groups, are_text=True)


@pytest.fixture(scope="module")
def merged(micro_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base with the last version of the C++ adapter merged into it, by PEFT in float32."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("merged")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT uses what this version of transformers warns of
        base: Any = AutoModelForCausalLM.from_pretrained(micro_data / "base", dtype=torch.float32)
        model: Any = PeftModel.from_pretrained(base, str(micro_data / "adapters" / "cpp" / "v3"))
        model.merge_and_unload().save_pretrained(folder)
    return folder


def change_weight(source: Path, folder: Path, change: Callable[[Any], Any]) -> Path:
    """Return a copy of a model in which one projection is changed."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, folder)
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.down_proj.weight"
    tensors[name] = change(tensors[name])
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def ask(merged: Path, base: Path | None, tokens: ProbeTokens, dtype: str = "float32") -> ModelProbe:
    return probe_model(merged, base, ProbeOptions(device="cpu", dtype=dtype, tokens=tokens))


def test_losses_are_those_that_an_h100_measured(
    micro_data: Path, merged: Path, tokens: ProbeTokens
) -> None:
    golden = json.loads((micro_data / "golden-outputs.json").read_text("utf-8"))["eval_loss"]
    health = ask(merged, micro_data / "base", tokens).health
    for name, losses in health["losses"].items():
        assert losses["base"] == pytest.approx(golden["base"][name], abs=1e-4)
        assert losses["merged"] == pytest.approx(golden["cpp/v3"][name], abs=1e-4)
    assert health["not_finite"] == 0
    assert health["divergence"] > 0.1
    assert health["largest_shift"] > 1.0


def test_logits_are_within_a_millionth_of_those_of_an_h100(zoo_data: Path) -> None:
    golden = json.loads((zoo_data / "golden-outputs.json").read_text("utf-8"))["logits"]
    rows = [[(37 * i + 11 * j) % 4096 for j in range(32)] for i in range(4)]
    with open_model(zoo_data / "base", "cpu", "float32") as model:
        for row, expected in zip(rows, golden["values"]["base"], strict=True):
            logits = model.ask(row)[-1]
            error = np.abs(logits[:64] - np.array(expected)).max() / np.abs(logits).max()
            assert error < 2e-6


def test_a_model_does_not_differ_from_itself(micro_data: Path, few: ProbeTokens) -> None:
    base = micro_data / "base"
    first, second = ask(base, base, few), ask(base, None, few)
    assert first.health["divergence"] == pytest.approx(0.0, abs=1e-12)
    assert first.health["largest_shift"] == 0.0
    assert second.health["divergence"] is None
    assert second.health["losses"]["cpp"]["base"] is None
    comparison = compare_outputs(first.outputs, second.outputs)
    assert comparison.agreement is Agreement.EQUAL
    assert comparison.same_environment


def test_a_rounding_error_is_within_tolerance_and_lost_weights_are_drift(
    micro_data: Path, few: ProbeTokens, tmp_path: Path
) -> None:
    base = micro_data / "base"
    expected = ask(base, None, few).outputs
    nearly = change_weight(base, tmp_path / "nearly", lambda weight: weight.float() * (1 + 1e-6))
    other = change_weight(base, tmp_path / "other", lambda weight: weight * 0)
    near = compare_outputs(expected, ask(nearly, None, few).outputs)
    far = compare_outputs(expected, ask(other, None, few).outputs)
    assert near.agreement is Agreement.WITHIN_TOLERANCE
    assert 0.0 < near.largest_error < 1e-5
    assert far.agreement is Agreement.DRIFT


def test_answers_in_another_dtype_or_to_other_tokens_are_not_compared(
    micro_data: Path, few: ProbeTokens
) -> None:
    base = micro_data / "base"
    expected = ask(base, None, few).outputs
    rounded = ask(base, None, few, "bfloat16").outputs
    drawn = probe_model(base, None, ProbeOptions(device="cpu"))
    assert compare_outputs(expected, rounded).agreement is Agreement.NOT_COMPARABLE
    assert compare_outputs(expected, drawn.outputs).agreement is Agreement.NOT_COMPARABLE
    assert drawn.health["losses"] == {}
    assert drawn.health["tokens"] == 256


def test_bfloat16_is_within_its_tolerance_of_itself_with_a_rounding_error(
    micro_data: Path, few: ProbeTokens, tmp_path: Path
) -> None:
    base = micro_data / "base"
    noisy = change_weight(base, tmp_path / "noisy", lambda weight: weight * (1 + 2**-7))
    comparison = compare_outputs(
        ask(base, None, few, "bfloat16").outputs, ask(noisy, None, few, "bfloat16").outputs
    )
    assert comparison.agreement is Agreement.WITHIN_TOLERANCE


def test_a_stored_answer_is_compared_with_after_it_was_read_back(
    micro_data: Path, merged: Path, few: ProbeTokens
) -> None:
    stored = canonical.loads(canonical.dumps(ask(merged, None, few).outputs.to_json()))
    expected = OutputProbe.from_json(stored)
    again = compare_outputs(expected, ask(merged, micro_data / "base", few).outputs)
    other = compare_outputs(expected, ask(micro_data / "base", None, few).outputs)
    assert again.agreement is Agreement.EQUAL
    assert other.agreement is Agreement.DRIFT


def test_rows_beyond_the_spool_are_asked_and_not_compared(
    micro_data: Path, merged: Path, few: ProbeTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ask(merged, micro_data / "base", few)
    monkeypatch.setattr(model_probe, "LARGEST_SPOOL", 128 * 2048 * 4)  # one row
    partial = ask(merged, micro_data / "base", few)
    assert partial.outputs == whole.outputs
    assert partial.health["losses"] == whole.health["losses"]
    assert partial.health["divergence"] != whole.health["divergence"]
    monkeypatch.setattr(model_probe, "LARGEST_SPOOL", 0)
    assert ask(merged, micro_data / "base", few).health["divergence"] is None


def test_numbers_that_are_not_finite_are_counted(
    micro_data: Path, few: ProbeTokens, tmp_path: Path
) -> None:
    spoilt = change_weight(micro_data / "base", tmp_path / "nan", lambda weight: weight * np.nan)
    probe = ask(spoilt, micro_data / "base", few)
    assert probe.health["not_finite"] == few.count * 2048
    assert probe.health["divergence"] is None
    assert probe.health["losses"]["cpp"]["merged"] is None
    assert all(place.tokens == () for place in probe.outputs.places)


def test_a_missing_weight_is_refused_where_transformers_would_draw_one(
    micro_data: Path, few: ProbeTokens, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(micro_data / "base", folder)
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.down_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InvalidInput, match=r"lack 1 weights, first 'model\.layers\.1\.mlp\.down"):
        ask(folder, None, few)


def test_what_is_no_language_model_is_refused(few: ProbeTokens, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}', "utf-8")
    with pytest.raises(InvalidInput, match="cannot load it as a language model"):
        ask(tmp_path, None, few)


@pytest.mark.parametrize(
    ("row", "message"),
    [((1, 2048), "token 2048 is beyond its vocabulary of 2048"), ((1,) * 513, "longer than its")],
)
def test_tokens_that_do_not_fit_the_model_are_refused(
    micro_data: Path, row: tuple[int, ...], message: str, few: ProbeTokens
) -> None:
    tokens = ProbeTokens(few.digest, {"x": (row,)}, are_text=True)
    with pytest.raises(InvalidInput, match=message):
        ask(micro_data / "base", None, tokens)


@pytest.mark.parametrize(("device", "error"), [("tpu", InvalidInput), ("cuda", Unavailable)])
def test_a_device_that_is_not_there_is_refused(device: str, error: type[PlaitError]) -> None:
    import torch

    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(error):
        pick_device(device)


def test_the_description_has_what_bits_depend_on_and_nothing_of_the_machine_itself() -> None:
    import platform

    facts = describe("cpu")
    assert {"device", "machine", "torch", "transformers", "threads", "attention"} <= facts.keys()
    assert not any(platform.node() in text for text in facts.values())
