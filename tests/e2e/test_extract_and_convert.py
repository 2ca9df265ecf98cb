"""Full fine-tunes become adapters, and adapters of any family and layout plain LoRAs."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2e.conftest import MakeClient
from e2e.programs import Client, digest_tree, read_refusal
from plait.compose import ARITHMETIC
from reference.safetensors_writer import Content, read_by_library, write

pytestmark = pytest.mark.timeout(300)

LIMIT = 240.0
"""Seconds: kernels are compiled the first time that anything is computed on a machine."""
BASE_NAME = "zoo/base"
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
QUICK = ("--leave-out", "embed_tokens", "--leave-out", "layers.[1-5].*")
"""One layer is enough, and quick."""

PLAIN = ["cpp-lora-r8/v4", "prose-lora-r16-bf16/v3"]
WITHOUT_BASE = ["cpp-adalora", "cpp-vblora", "prose-lora-rankpattern", "tests-rslora-r32"]
OF_THE_SHAPE = ["cpp-fourierft", "cpp-vera"]
DENSE = ["cpp-loha", "cpp-lokr"]
OF_THE_BASE = ["cpp-boft", "cpp-dora-r8", "cpp-hra", "cpp-ia3", "cpp-oft"]
WITHOUT_DELTA = {
    "cpp-ln-tuning": "whole tensors alone",
    "prose-p-tuning": "virtual tokens",
    "prose-pissa": "init",
    "prose-prefix-tuning": "keys and values",
    "prose-prompt-tuning": "virtual tokens",
}
FULL = 256
"""The rank of every square module of the zoo's base: nothing is cut."""
ROUNDING = 2e-6
"""Of PEFT's merge in float32, and of factors in float32, relative to the weights."""


@dataclass
class Bench:
    """A person with the zoo."""

    client: Client
    name: str
    zoo: Path

    def extract(self, *words: object, to: str | None = None) -> Any:
        """Extract the zoo's fine-tune, into `to` or the repository."""
        target = ("-o", self.name, "--create") if to is None else ("--to", to)
        tuned, base = self.zoo / "full-ft-cpp", self.zoo / "base"
        command = ("extract", tuned, "--base-dir", base, "--base", BASE_NAME, *words, *target)
        return self.client.facts(*command, limit=LIMIT)

    def push(self, adapter: str) -> None:
        """Push an adapter of the zoo."""
        folder = self.zoo / "adapters" / adapter
        self.client.run("push", folder, self.name, "-m", adapter, "--create")

    def refusal(self, *words: object) -> dict[str, Any]:
        """Return the error of what is refused."""
        outcome = self.client.try_run(*words, "--json", limit=LIMIT)
        assert outcome.status != 0, outcome
        return read_refusal(outcome)


@pytest.fixture
def bench(client: Client, name: str, zoo_data: Path) -> Bench:
    """One person at the shared registry."""
    return Bench(client, name, zoo_data)


# --- extract --------------------------------------------------------------------------------------


def test_extraction_is_a_version_that_knows_both_models_and_its_options(bench: Bench) -> None:
    made = bench.extract("--rank", "4", *QUICK)
    shown = bench.client.facts("show", bench.name)
    commit = shown["commit"]
    assert shown["id"] == made["commit"]
    assert commit["parents"] == []
    origin = commit["origin"]
    assert (origin["kind"], origin["arithmetic"]) == ("extraction", ARITHMETIC)
    assert commit["base"] == {
        "name": BASE_NAME,
        "revision": None,
        "fingerprint": origin["base"],
    }
    assert origin["base"] != origin["tuned"]
    assert origin["options"]["rank"] == 4
    assert origin["options"]["tied_heads"] == {"lm_head": "model.embed_tokens"}
    (note,) = bench.client.facts("note", "list", bench.name)["notes"]
    assert note["kind"] == "extraction"
    assert note["body"] == made["report"]


def test_more_rank_keeps_more_and_each_is_reproduced_on_another_machine(
    bench: Bench, make_client: MakeClient
) -> None:
    models = ("--base-dir", bench.zoo / "base", "--tuned-dir", bench.zoo / "full-ft-cpp")
    kept = []
    for rank in (2, 16, 64):
        made = bench.extract("--rank", rank, "--threads", "2", *QUICK)
        again = make_client().facts("reproduce", bench.name, *models, "--threads", "1", limit=LIMIT)
        assert (again["same"], again["actual"]) == (True, made["manifest"])
        assert again["recipe"]["tuned"] == made["facts"]["tuned"]
        kept.append(made["report"]["kept"])
    assert kept == sorted(set(kept))


def test_energy_gives_each_module_the_least_rank_that_keeps_it(bench: Bench) -> None:
    made = bench.extract("--energy", "0.5", *QUICK, to="out")
    modules = [m for m in made["report"]["modules"] if m["treatment"] == "lora"]
    assert len({module["rank"] for module in modules}) > 1
    assert all(module["kept"] >= 0.5 for module in modules)
    less = {m["module"]: m["rank"] - 1 for m in modules}
    smaller = bench.extract("--rank", max(less.values()), *QUICK, to="smaller")
    widest = max(less, key=lambda module: less[module])
    kept = {m["module"]: m["kept"] for m in smaller["report"]["modules"]}
    assert kept[widest] < 0.5


def test_same_extraction_twice_makes_no_second_version(bench: Bench) -> None:
    first = bench.extract("--rank", "2", *QUICK)
    second = bench.extract("--rank", "2", *QUICK)
    assert (first["new"], second["new"]) == (True, False)
    assert second["commit"] == first["commit"]
    assert bench.extract("--rank", "3", *QUICK)["new"]


def test_folder_and_version_of_an_extraction_have_the_same_files(bench: Bench) -> None:
    bench.extract("--rank", "2", *QUICK)
    bench.extract("--rank", "2", *QUICK, to="out")
    pulled = Path(bench.client.run("pull", bench.name).strip())
    assert digest_tree(pulled) == digest_tree(bench.client.home / "out")


def test_other_models_than_those_of_the_extraction_are_refused(bench: Bench) -> None:
    bench.extract("--rank", "2", *QUICK)
    base, tuned = bench.zoo / "base", bench.zoo / "full-ft-cpp"
    swapped = bench.refusal("reproduce", bench.name, "--base-dir", tuned, "--tuned-dir", base)
    assert swapped["kind"] == "base-mismatch"
    alone = bench.refusal("reproduce", bench.name, "--base-dir", base)
    assert alone["kind"] == "delta-missing"
    assert "--tuned-dir" in alone["message"]


@pytest.mark.parametrize(
    ("words", "kind", "says"),
    [
        ((), "rank-invalid", "--rank"),
        (("--rank", "0"), "rank-invalid", "rank"),
        (("--rank", "1000"), "rank-invalid", "256"),
        (("--energy", "1.5"), "rank-invalid", "energy"),
        (("--energy", "nan"), "rank-invalid", "energy"),
        (("--rank", "2", "--leave-out", "no_such_module"), "invalid-input", "no_such_module"),
        (("--rank", "2", "--tied", "lm_head"), "usage", "HEAD=EMBEDDING"),
    ],
)
def test_what_cannot_be_extracted_is_refused_and_nothing_is_made(
    bench: Bench, words: tuple[str, ...], kind: str, says: str
) -> None:
    tuned, base = bench.zoo / "full-ft-cpp", bench.zoo / "base"
    error = bench.refusal(
        "extract", tuned, "--base-dir", base, "--base", BASE_NAME, *words, "--to", "out"
    )
    assert error["kind"] == kind
    assert says in error["message"]
    assert not (bench.client.home / "out").exists()


def test_base_that_its_config_does_not_name_has_to_be_named(bench: Bench) -> None:
    tuned, base = bench.zoo / "full-ft-cpp", bench.zoo / "base"
    error = bench.refusal("extract", tuned, "--base-dir", base, "--rank", "2", "--to", "out")
    assert error["kind"] == "base-unknown"
    assert "--base" in error["message"]


def test_fine_tune_that_is_its_base_is_refused(bench: Bench) -> None:
    base = bench.zoo / "base"
    error = bench.refusal(
        "extract", base, "--base-dir", base, "--base", BASE_NAME, "--rank", "2", "--to", "out"
    )
    assert error["kind"] == "delta-zero"


# --- convert to a plain LoRA ----------------------------------------------------------------------


@pytest.mark.parametrize("adapter", PLAIN)
def test_plain_lora_stays_byte_for_byte(bench: Bench, adapter: str) -> None:
    bench.push(adapter)
    bench.client.run("convert", bench.name, "--to", "out", limit=LIMIT)
    folder = bench.zoo / "adapters" / adapter
    for file in (WEIGHTS, CONFIG):
        assert (bench.client.home / "out" / file).read_bytes() == (folder / file).read_bytes()


@pytest.mark.torch
@pytest.mark.parametrize("adapter", [*WITHOUT_BASE, *OF_THE_SHAPE, *DENSE, *OF_THE_BASE])
def test_converted_adapter_merges_to_the_weights_that_peft_makes_of_the_original(
    bench: Bench, adapter: str
) -> None:
    bench.push(adapter)
    base = bench.zoo / "base"
    words: list[object] = ["convert", bench.name, "--to", "out", "--dtype", "F32"]
    if adapter not in WITHOUT_BASE:
        words += ["--base-dir", base]
    if adapter not in [*WITHOUT_BASE, "cpp-vera"]:
        words += ["--rank", FULL]
    bench.client.run(*words, limit=LIMIT)
    expected = merge(base, bench.zoo / "adapters" / adapter)
    merged = merge(base, bench.client.home / "out")
    config = json.loads((bench.client.home / "out" / CONFIG).read_text("utf-8"))
    assert (config["peft_type"], config["use_dora"], config["use_rslora"]) == ("LORA", False, False)
    changed = 0
    for name, weight in merge(base).items():
        size = float(np.linalg.norm(expected[name]))
        assert float(np.linalg.norm(merged[name] - expected[name])) <= ROUNDING * size, name
        changed += not np.array_equal(weight, expected[name])
    assert changed > 0


def merge(base: Path, adapter: Path | None = None) -> dict[str, Any]:
    """Return the weights of the base, with what PEFT makes of an adapter merged into them."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        if adapter is not None:
            model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    return {name: weight.double().numpy() for name, weight in model.state_dict().items()}


@pytest.mark.parametrize("adapter", [*OF_THE_SHAPE, *OF_THE_BASE])
def test_family_that_depends_on_the_base_says_so(bench: Bench, adapter: str) -> None:
    bench.push(adapter)
    error = bench.refusal("convert", bench.name, "--rank", "8", "--to", "out")
    assert error["kind"] == "delta-missing"
    assert "--base-dir" in error["message"]


@pytest.mark.parametrize("adapter", WITHOUT_DELTA)
def test_family_without_a_delta_is_refused_with_the_reason(bench: Bench, adapter: str) -> None:
    bench.push(adapter)
    base = bench.zoo / "base"
    error = bench.refusal("convert", bench.name, "--base-dir", base, "--rank", "8", "--to", "out")
    assert error["kind"] == "delta-missing"
    assert WITHOUT_DELTA[adapter] in error["message"]


def test_cut_of_a_dense_delta_is_told_and_noted(bench: Bench, name: str) -> None:
    bench.push("cpp-loha")
    target = f"{name}-lora"
    said = bench.client.run(
        "convert", bench.name, "--rank", "4", "-o", target, "--create", limit=LIMIT
    )
    assert "The rank keeps" in said
    (note,) = bench.client.facts("note", "list", target)["notes"]
    assert 0.0 < note["body"]["kept"] < 1.0
    shown = bench.client.facts("show", target)["commit"]
    assert shown["parents"] == [bench.client.facts("show", bench.name)["id"]]
    assert bench.client.facts("reproduce", target, limit=LIMIT)["same"]


# --- other tools' layouts -------------------------------------------------------------------------

SDXL = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
PATH = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
TEXT = "lora_te1_text_model_encoder_layers_3_mlp_fc1"
TEXT_PATH = "text_model.encoder.layers.3.mlp.fc1"


def matrix(*shape: int, seed: int = 1, dtype: str = "F16") -> Content:
    """Return a tensor of random numbers."""
    kind = {"F16": "<f2", "F32": "<f4"}[dtype]
    values = np.random.default_rng(seed).standard_normal(shape).astype(kind)
    return dtype, shape, values.tobytes()


def scalar(value: float) -> Content:
    """Return a number as a tensor."""
    return "F32", (), np.float32(value).tobytes()


def write_kohya(path: Path) -> dict[str, Content]:
    """Write a LoRA of SDXL as kohya's tools do, and return its tensors."""
    tensors = {}
    for number, (name, width) in enumerate(((SDXL, 64), (TEXT, 48))):
        tensors[f"{name}.lora_down.weight"] = matrix(4, width, seed=number)
        tensors[f"{name}.lora_up.weight"] = matrix(width, 4, seed=number + 10)
        tensors[f"{name}.alpha"] = scalar(2.0)
    path.write_bytes(write(tensors, {"ss_network_dim": "4", "ss_tag_frequency": "{}"}))
    return tensors


def test_kohya_file_becomes_a_version_and_comes_back_bit_for_bit(
    bench: Bench, tmp_path: Path
) -> None:
    source = tmp_path / "pixel art.safetensors"
    tensors = write_kohya(source)
    said = bench.client.try_run(
        "convert", source, "--base", "example/sdxl", "-o", bench.name, "--create"
    )
    assert said.status == 0, said
    assert "metadata ss_network_dim, metadata ss_tag_frequency" in said.err
    commit = bench.client.facts("show", bench.name)["commit"]
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    assert commit["origin"] == {"kind": "import", "layout": "kohya", "sha256": sha256}
    assert commit["base"]["name"] == "example/sdxl"

    pulled = Path(bench.client.run("pull", bench.name).strip())
    held = read_by_library((pulled / WEIGHTS).read_bytes())
    prefix = "base_model.model."
    assert held[f"{prefix}unet.{PATH}.lora_A.weight"] == tensors[f"{SDXL}.lora_down.weight"]
    assert (
        held[f"{prefix}text_encoder.{TEXT_PATH}.lora_B.weight"]
        == (tensors[f"{TEXT}.lora_up.weight"])
    )
    config = json.loads((pulled / CONFIG).read_text("utf-8"))
    assert (config["r"], config["lora_alpha"]) == (4, 2)

    words = ("convert", bench.name, "--layout", "kohya", "--architecture", "sdxl", "--to", "back")
    made = bench.client.facts(*words)
    assert made["file"] == f"{bench.name.partition('/')[2]}.safetensors"
    back = (bench.client.home / "back" / made["file"]).read_bytes()
    assert read_by_library(back) == tensors


def test_same_import_twice_makes_no_second_version(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "style.safetensors"
    write_kohya(source)
    words = ("convert", source, "--base", "example/sdxl", "-o", bench.name, "--create")
    first, second = (bench.client.facts(*words) for _ in range(2))
    assert (first["new"], second["new"]) == (True, False)


def test_kohya_and_diffusers_layouts_turn_into_each_other_bit_for_bit(
    client: Client, tmp_path: Path
) -> None:
    source = tmp_path / "style.safetensors"
    tensors = write_kohya(source)
    made = client.facts("convert", source, "--layout", "diffusers", "--to", "diffusers")
    file = client.home / "diffusers" / "pytorch_lora_weights.safetensors"
    held = read_by_library(file.read_bytes())
    assert made["file"] == file.name
    assert held[f"unet.{PATH}.lora_A.weight"] == tensors[f"{SDXL}.lora_down.weight"]
    client.run(
        "convert", file.parent, "--layout", "kohya", "--architecture", "sdxl", "--to", "kohya"
    )
    back = read_by_library((client.home / "kohya" / "diffusers.safetensors").read_bytes())
    assert back == tensors


def test_layout_is_told_by_the_names_and_one_component_can_be_taken(
    client: Client, tmp_path: Path
) -> None:
    source = tmp_path / "style.safetensors"
    write_kohya(source)
    made = client.facts("convert", source, "--component", "unet", "--to", "unet")
    assert (made["from"], made["to"], made["tensors"]) == ("kohya", "peft", 2)
    held = read_by_library((client.home / "unet" / WEIGHTS).read_bytes())
    assert sorted(held) == [f"base_model.model.{PATH}.lora_{part}.weight" for part in "AB"]


def test_list_of_modules_tells_names_that_no_table_knows(client: Client, tmp_path: Path) -> None:
    source = tmp_path / "odd.safetensors"
    name = "lora_unet_my_blocks_0_to_q"
    source.write_bytes(
        write({f"{name}.lora_down.weight": matrix(2, 8), f"{name}.lora_up.weight": matrix(8, 2)})
    )
    error = client.refusal("convert", source, "--to", "out")
    assert "--modules" in error["message"]
    (tmp_path / "modules.txt").write_text("# of my model\nmy_blocks.0.to_q\nmy_blocks.1.to_q\n")
    client.run("convert", source, "--modules", tmp_path / "modules.txt", "--to", "out")
    held = read_by_library((client.home / "out" / WEIGHTS).read_bytes())
    assert "base_model.model.my_blocks.0.to_q.lora_A.weight" in held
    # The model's own files tell the same.
    model = tmp_path / "model" / "unet"
    model.mkdir(parents=True)
    weight = write({"my_blocks.0.to_q.weight": matrix(8, 8)})
    (model / "diffusion_pytorch_model.safetensors").write_bytes(weight)
    client.run("convert", source, "--base-dir", model.parent, "--to", "same")
    assert digest_tree(client.home / "out") == digest_tree(client.home / "same")
