"""LoRAs in the layouts that plait writes, loaded by diffusers: a small UNet says the same.

diffusers is no dependency of the tests; where it is not installed they are skipped, and the golden
names in tests/golden/key_layouts.json stand for it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plait.algebra.outcome import EncodedTensor
from plait.algebra.relayout import from_peft, to_peft
from plait.algebra.relayout.lora_module import Relayout, RelayoutOptions
from plait.model.adapter import AdapterConfig, parse_adapter_config
from plait.model.key_layouts.forms import Architecture, Layout
from reference.safetensors_writer import write

diffusers: Any = pytest.importorskip("diffusers", reason="needs diffusers")
conversions: Any = pytest.importorskip("diffusers.loaders.lora_conversion_utils")

pytestmark = [pytest.mark.torch, pytest.mark.slow]


def make_unet() -> Any:
    import torch

    torch.manual_seed(0)
    return diffusers.UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
    )


def run(unet: Any) -> Any:
    import torch

    generator = torch.Generator().manual_seed(1)
    image = torch.randn(1, 4, 16, 16, generator=generator)
    text = torch.randn(1, 5, 32, generator=generator)
    with torch.no_grad():
        return unet(image, torch.tensor([3]), text).sample


@pytest.fixture(scope="module")
def lora() -> tuple[AdapterConfig, list[EncodedTensor], Any]:
    """A LoRA of several ranks and scales as PEFT made it, and what the UNet says with it."""
    import torch
    from peft import LoraConfig, get_peft_model_state_dict

    unet = make_unet()
    config = LoraConfig(
        r=4,
        lora_alpha=6,
        rank_pattern={"attn2.to_k": 2},
        alpha_pattern={"conv1": 1},
        target_modules=["to_q", "to_k", "to_out.0", "conv1", "proj_in", "ff.net.2"],
    )
    unet.add_adapter(config)
    for name, parameter in unet.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    tensors = [
        EncodedTensor(
            f"base_model.model.{name}", "F32", tuple(tensor.shape), tensor.numpy().tobytes()
        )
        for name, tensor in get_peft_model_state_dict(unet).items()
    ]
    values = {**config.to_dict(), "target_modules": sorted(config.target_modules or ())}
    parsed = parse_adapter_config(json.dumps(values, default=str).encode())
    return parsed, tensors, run(unet)


def save(outcome: Relayout, folder: Path) -> None:
    tensors = {tensor.name: (tensor.dtype, tensor.shape, tensor.data) for tensor in outcome.tensors}
    (folder / "lora.safetensors").write_bytes(write(tensors, outcome.metadata))


@pytest.mark.parametrize("layout", [layout for layout in Layout if layout.is_diffusers])
def test_diffusers_loads_its_layouts_with_every_rank_and_scale(
    lora: tuple[AdapterConfig, list[EncodedTensor], Any], layout: Layout, tmp_path: Path
) -> None:
    config, tensors, expected = lora
    save(from_peft(config, tensors, layout), tmp_path)
    unet = make_unet()
    assert float((run(unet) - expected).abs().max()) > 0.1
    unet.load_lora_adapter(str(tmp_path), weight_name="lora.safetensors", prefix="unet")
    assert float((run(unet) - expected).abs().max()) < 1e-5


def test_diffusers_loads_kohyas_layout_with_every_rank_and_scale(
    lora: tuple[AdapterConfig, list[EncodedTensor], Any],
) -> None:
    import torch

    config, tensors, expected = lora
    options = RelayoutOptions(architecture=Architecture.SD)
    outcome = from_peft(config, tensors, Layout.KOHYA, options=options)
    state = {
        tensor.name: torch.from_numpy(np.frombuffer(tensor.data, "<f4").copy()).reshape(
            tensor.shape
        )
        for tensor in outcome.tensors
    }
    converted, alphas = conversions._convert_non_diffusers_lora_to_diffusers(state)
    unet = make_unet()
    unet.load_lora_adapter(converted, network_alphas=alphas, prefix="unet")
    assert float((run(unet) - expected).abs().max()) < 1e-5


def test_flux_of_kohya_has_the_deltas_that_diffusers_makes_of_it() -> None:
    import torch

    generator = torch.Generator().manual_seed(2)
    shapes = {
        "double_blocks_0_img_attn_qkv": (9216, 3072),
        "double_blocks_1_txt_mlp_2": (3072, 12288),
        "single_blocks_0_linear1": (21504, 3072),
        "final_layer_adaLN_modulation_1": (6144, 3072),
    }
    state = {}
    for name, (out, width) in shapes.items():
        state[f"lora_unet_{name}.lora_down.weight"] = torch.randn(2, width, generator=generator)
        state[f"lora_unet_{name}.lora_up.weight"] = torch.randn(out, 2, generator=generator)
        # diffusers takes no notice of an alpha of final_layer.
        state[f"lora_unet_{name}.alpha"] = torch.tensor(2.0 if "final" in name else 0.5)
    source = [
        EncodedTensor(name, "F32", tuple(tensor.shape), tensor.numpy().tobytes())
        for name, tensor in state.items()
    ]
    outcome = to_peft(source)
    config = parse_adapter_config(json.dumps(outcome.config).encode())
    ours = {
        tensor.name.removeprefix("base_model.model."): np.frombuffer(tensor.data, "<f4").reshape(
            tensor.shape
        )
        for tensor in outcome.tensors
    }
    theirs = {
        name.removeprefix("transformer."): tensor.numpy()
        for name, tensor in conversions._convert_kohya_flux_lora_to_diffusers(state).items()
    }
    assert ours.keys() == theirs.keys()
    for name in (name for name in ours if name.endswith(".lora_A.weight")):
        module = name.removesuffix(".lora_A.weight")
        up = f"{module}.lora_B.weight"
        delta = config.gamma_of(module) * (ours[up][:64] @ ours[name])
        assert np.allclose(delta, theirs[up][:64] @ theirs[name], rtol=1e-4, atol=1e-5)
