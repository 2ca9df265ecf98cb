"""Names of tensors in kohya's, diffusers' and PEFT's layouts, one by one."""

import json
from pathlib import Path

import pytest

from plait.errors import InvalidInput
from plait.model.adapter import parse_adapter_config
from plait.model.key_layouts import diffusers, kohya, mmdit, peft, sdxl_unet
from plait.model.key_layouts.components import CLIP, T5, TRANSFORMER, UNET
from plait.model.key_layouts.detect import find_architecture, split_names
from plait.model.key_layouts.forms import (
    Architecture,
    Arrangement,
    Component,
    Layout,
    LoraKey,
    Part,
)
from plait.model.key_layouts.kohya import KohyaReader
from plait.model.key_layouts.templates import ModuleTemplates, flatten

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "key_layouts.json").read_text("utf-8"))
OF_DIFFUSERS = {**GOLDEN["sd and text encoders"], **GOLDEN["sdxl"]}
Q = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.mark.parametrize("name", sorted(OF_DIFFUSERS))
def test_name_of_kohya_means_the_module_that_diffusers_converts_it_to(name: str) -> None:
    key = diffusers.split_name(OF_DIFFUSERS[name])
    assert key is not None
    found = KohyaReader(None).find(name)
    assert (found.component, found.modules) == (key.component, (key.module,))
    assert found.arrangement is Arrangement.PLAIN


@pytest.mark.parametrize("name", sorted(GOLDEN["sdxl"]))
def test_module_of_sdxl_is_written_under_the_name_that_kohya_gives_it(name: str) -> None:
    found = KohyaReader(Architecture.SDXL).find(name)
    (written,) = kohya.write_modules([(found.component, found.modules[0])], Architecture.SDXL)
    assert written == found


@pytest.mark.parametrize("name", sorted(GOLDEN["sd and text encoders"]))
def test_module_of_sd_is_written_under_the_name_that_kohya_gives_it(name: str) -> None:
    found = KohyaReader(Architecture.SD).find(name)
    is_sdxl = name.startswith(("lora_te1", "lora_te2"))
    architecture = Architecture.SDXL if is_sdxl else Architecture.SD
    (written,) = kohya.write_modules([(found.component, found.modules[0])], architecture)
    assert written == found


@pytest.mark.parametrize("table", [UNET, TRANSFORMER, CLIP, T5, sdxl_unet.ORIGINAL])
def test_every_template_comes_back_from_its_flat_name_alone(table: ModuleTemplates) -> None:
    for template in table.templates:
        path = template.replace("#", "12")
        assert table.unflatten(flatten(path)) == (path,)
        found = table.match(path)
        assert found is not None
        assert found[0] == template


@pytest.mark.parametrize(
    ("architecture", "rows"),
    [(Architecture.FLUX, mmdit.FLUX), (Architecture.SD3, mmdit.SD3)],
)
def test_every_row_of_a_transformer_is_found_from_both_sides(
    architecture: Architecture, rows: tuple[mmdit.Row, ...]
) -> None:
    modules = [module for row in rows for module in row.modules]
    assert len(set(modules)) == len(modules)
    for row in rows:
        name = f"lora_unet_{flatten(row.original.replace('#', '7'))}"
        found = KohyaReader(architecture).find(name)
        assert found.modules == tuple(module.replace("#", "7") for module in row.modules)
        assert found.arrangement is row.arrangement
        assert all(TRANSFORMER.match(module) for module in found.modules)
        for module in found.modules:
            assert kohya.write_modules([(Component.TRANSFORMER, module)], architecture) == [found]


def test_modules_at_the_top_of_flux_and_sd3_mean_the_same_without_an_architecture() -> None:
    found = KohyaReader(None).find("lora_unet_final_layer_adaLN_modulation_1")
    assert found.modules == ("norm_out.linear",)
    assert found.arrangement is Arrangement.SWAPPED


@pytest.mark.parametrize(
    ("architecture", "component"),
    [
        (Architecture.FLUX, Component.TEXT_ENCODER_2),
        (Architecture.SD3, Component.TEXT_ENCODER_3),
    ],
)
def test_t5_is_the_text_encoder_that_the_architecture_has_it_as(
    architecture: Architecture, component: Component
) -> None:
    name = "lora_te3_encoder_block_0_layer_0_SelfAttention_q"
    found = KohyaReader(architecture).find(name)
    assert found.component is component
    assert found.modules == ("encoder.block.0.layer.0.SelfAttention.q",)
    assert kohya.write_modules([(component, found.modules[0])], architecture)[0].name == name


def test_transformer_under_diffusers_names_is_read() -> None:
    found = KohyaReader(None).find("lora_transformer_single_transformer_blocks_3_attn_to_k")
    assert found.component is Component.TRANSFORMER
    assert found.modules == ("single_transformer_blocks.3.attn.to_k",)
    reader = KohyaReader(None, ["transformer.single_transformer_blocks.3.attn.to_k"])
    assert reader.find(found.name) == found


def test_name_that_is_not_kohyas_is_no_module() -> None:
    with pytest.raises(InvalidInput, match="is not kohya's"):
        KohyaReader(None).find("lora_vae_encoder")


def test_t5_without_an_architecture_is_refused() -> None:
    with pytest.raises(InvalidInput, match="--architecture flux or sd3"):
        KohyaReader(None).find("lora_te3_encoder_block_0_layer_0_SelfAttention_q")


def test_name_that_fits_two_modules_of_the_list_is_refused_with_both() -> None:
    reader = KohyaReader(None, ["blocks.0.a_b.c", "blocks.0.a.b_c", "blocks.0.a.d"])
    with pytest.raises(InvalidInput, match=r"blocks\.0\.a\.b_c, blocks\.0\.a_b\.c") as caught:
        reader.find("lora_unet_blocks_0_a_b_c")
    assert caught.value.kind == "invalid-safetensors"
    assert caught.value.details["candidates"] == ["blocks.0.a.b_c", "blocks.0.a_b.c"]
    assert reader.find("lora_unet_blocks_0_a_d").modules == ("blocks.0.a.d",)


def test_list_of_modules_may_have_the_component_in_front() -> None:
    reader = KohyaReader(None, ["unet.my_block.0.proj", "text_encoder.my_block.0.proj"])
    found = reader.find("lora_te_my_block_0_proj")
    assert (found.component, found.modules) == (Component.TEXT_ENCODER, ("my_block.0.proj",))


def test_list_of_modules_of_another_model_is_noticed() -> None:
    reader = KohyaReader(None, ["mid_block.attentions.0.proj_in"])
    with pytest.raises(InvalidInput, match="not in the list"):
        reader.find("lora_unet_middle_block_1_proj_out")
    assert reader.find("lora_unet_middle_block_1_proj_in").modules == (
        "mid_block.attentions.0.proj_in",
    )


@pytest.mark.parametrize(
    "name",
    [
        "lora_unet_down_blocks_0_attentions_0_proj_sideways",
        "lora_unet_input_blocks_1_1_proj_in",  # SDXL has no attention there
        "lora_te_text_model_encoder_layers_x_mlp_fc1",
        "lora_unet_down_blocks_0",
    ],
)
def test_unknown_module_is_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(InvalidInput, match="--modules FILE"):
        KohyaReader(None).find(name)


@pytest.mark.parametrize("part", ["dora_scale", "hada_w1_a", "lokr_w1", "lora_mid.weight", "diff"])
def test_part_that_plain_lora_does_not_have_is_refused(part: str) -> None:
    with pytest.raises(InvalidInput, match="lora_down, lora_up and alpha") as caught:
        kohya.split_name(f"lora_unet_mid_block_attentions_0_proj_in.{part}")
    assert caught.value.kind == "delta-missing"


def test_two_modules_with_one_flat_name_cannot_be_written() -> None:
    modules = [(Component.UNET, "a.b_c"), (Component.UNET, "a_b.c")]
    with pytest.raises(InvalidInput, match="cannot hold both"):
        kohya.write_modules(modules, Architecture.SD)


@pytest.mark.parametrize(
    ("component", "path", "architecture"),
    [
        (Component.UNET, Q, Architecture.FLUX),
        (Component.TRANSFORMER, "transformer_blocks.0.attn.to_q", Architecture.SDXL),
        (Component.TRANSFORMER, "transformer_blocks.0.attn.to_x", Architecture.SD3),
        (Component.TEXT_ENCODER_2, "text_projection", Architecture.SD),
        (Component.UNET, "down_blocks.3.resnets.0.conv1", Architecture.SDXL),
    ],
)
def test_module_that_the_architecture_lacks_cannot_be_written(
    component: Component, path: str, architecture: Architecture
) -> None:
    with pytest.raises(InvalidInput, match="no module that kohya's tools have a name for"):
        kohya.write_modules([(component, path)], architecture)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (f"unet.{Q}.lora_A.weight", LoraKey(Component.UNET, Q, Part.A)),
        (f"unet.{Q}.lora_B.bias", LoraKey(Component.UNET, Q, Part.BIAS)),
        (f"unet.{Q}.lora_magnitude_vector", LoraKey(Component.UNET, Q, Part.MAGNITUDE)),
        (f"unet.{Q}.alpha", LoraKey(Component.UNET, Q, Part.ALPHA)),
        (f"unet.{Q}.lora.up.weight", LoraKey(Component.UNET, Q, Part.B)),
        (
            f"{Q.removesuffix('.to_q')}.processor.to_out_lora.down.weight",  # no `unet.`
            LoraKey(Component.UNET, Q.replace("to_q", "to_out.0"), Part.A),
        ),
        (
            "text_encoder_2.text_model.encoder.layers.3.self_attn.to_out_lora.up.weight",
            LoraKey(
                Component.TEXT_ENCODER_2,
                "text_model.encoder.layers.3.self_attn.out_proj",
                Part.B,
            ),
        ),
        (
            "text_encoder.text_model.encoder.layers.3.mlp.fc2.lora_linear_layer.down.weight",
            LoraKey(Component.TEXT_ENCODER, "text_model.encoder.layers.3.mlp.fc2", Part.A),
        ),
        (
            "transformer.single_transformer_blocks.3.proj_mlp.lora_B.weight",
            LoraKey(Component.TRANSFORMER, "single_transformer_blocks.3.proj_mlp", Part.B),
        ),
        ("double_blocks.0.processor.qkv_lora1.down.weight", None),
        ("unet.conv_in.weight", None),
    ],
)
def test_name_of_diffusers_is_taken_apart(name: str, key: LoraKey | None) -> None:
    assert diffusers.split_name(name) == key


@pytest.mark.parametrize("layout", [layout for layout in Layout if layout.is_diffusers])
@pytest.mark.parametrize(
    ("component", "module"),
    [
        (Component.UNET, Q),
        (Component.UNET, Q.replace("to_q", "to_out.0")),
        (Component.UNET, "mid_block.attentions.0.proj_in"),
        (Component.TRANSFORMER, "transformer_blocks.0.attn.to_out.0"),
        (Component.TRANSFORMER, "transformer_blocks.0.attn.add_q_proj"),
        (Component.TEXT_ENCODER, "text_model.encoder.layers.0.self_attn.v_proj"),
        (Component.TEXT_ENCODER_2, "text_model.encoder.layers.0.mlp.fc1"),
    ],
)
def test_written_name_is_read_again_as_what_it_was(
    layout: Layout, component: Component, module: str
) -> None:
    for part in (Part.A, Part.B):
        name = diffusers.write_name(component, module, part, layout)
        assert diffusers.split_name(name) == LoraKey(component, module, part)


def test_old_layouts_write_the_names_of_their_time() -> None:
    old = Layout.DIFFUSERS_PROCESSORS
    stem = Q.removesuffix(".to_q")
    assert diffusers.write_name(Component.UNET, f"{stem}.to_out.0", Part.B, old) == (
        f"unet.{stem}.processor.to_out_lora.up.weight"
    )
    layer = "text_model.encoder.layers.0.self_attn.q_proj"
    assert diffusers.write_name(Component.TEXT_ENCODER, layer, Part.A, old) == (
        "text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.down.weight"
    )
    layers = Layout.DIFFUSERS_LAYERS
    assert diffusers.write_name(Component.UNET, Q, Part.A, layers) == f"unet.{Q}.lora.down.weight"
    with pytest.raises(InvalidInput, match="cannot hold"):
        diffusers.write_name(Component.UNET, Q, Part.BIAS, layers)


def test_layout_is_told_by_the_names() -> None:
    assert split_names(["lora_unet_x.alpha", "lora_te_y.lora_up.weight"])[0] is Layout.KOHYA
    assert split_names([f"base_model.model.{Q}.lora_A.weight"])[0] is Layout.PEFT
    name = f"unet.{Q}.lora.up.weight"
    assert split_names([name]) == (
        Layout.DIFFUSERS,
        {name: LoraKey(Component.UNET, Q, Part.B)},
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "neither PEFT's nor kohya's nor diffusers'"),
        (["model.embed_tokens.weight"], "neither PEFT's"),
        (["lora_unet_x.alpha", f"unet.{Q}.lora_A.weight"], "keep one naming convention"),
        ([f"base_model.model.{Q}.lora_A.weight", "base_model.model.lm_head.weight"], "keep one"),
    ],
)
def test_names_of_no_layout_or_several_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        split_names(names)


@pytest.mark.parametrize(
    ("modules", "architecture"),
    [
        (["down_blocks.0.attentions.0.proj_in"], Architecture.SD),
        (["mid_block.attentions.0.transformer_blocks.9.ff.net.2"], Architecture.SDXL),
        (["up_blocks.0.attentions.0.proj_in"], Architecture.SDXL),
        (["down_blocks.1.attentions.0.proj_in", "up_blocks.3.resnets.0.conv1"], Architecture.SD),
    ],
)
def test_architecture_of_a_unet_is_told_by_its_modules(
    modules: list[str], architecture: Architecture
) -> None:
    assert find_architecture([(Component.UNET, path) for path in modules]) is architecture


def test_architecture_of_a_transformer_is_told_by_its_modules() -> None:
    single = (Component.TRANSFORMER, "single_transformer_blocks.0.proj_mlp")
    dual = (Component.TRANSFORMER, "transformer_blocks.0.attn2.to_q")
    both = (Component.TRANSFORMER, "transformer_blocks.0.attn.to_q")
    clip = (Component.TEXT_ENCODER_2, "text_model.encoder.layers.0.mlp.fc1")
    assert find_architecture([both, single]) is Architecture.FLUX
    assert find_architecture([both, dual]) is Architecture.SD3
    assert find_architecture([both, clip]) is Architecture.SD3
    t5 = "encoder.block.0.layer.0.SelfAttention.q"
    assert find_architecture([both, (Component.TEXT_ENCODER_3, t5)]) is Architecture.SD3
    assert find_architecture([both, (Component.TEXT_ENCODER_2, t5)]) is Architecture.FLUX
    with pytest.raises(InvalidInput, match="--architecture flux or sd3"):
        find_architecture([both])


def test_architecture_of_kohyas_file_is_told_by_its_blocks() -> None:
    top = "lora_unet_final_layer_linear"
    assert kohya.find_architecture([top]) is None
    assert kohya.find_architecture([top, "lora_unet_joint_blocks_0_x_block_attn_qkv"]) is (
        Architecture.SD3
    )
    assert kohya.find_architecture([top, "lora_unet_single_blocks_0_linear1"]) is Architecture.FLUX
    assert kohya.find_architecture(["lora_unet_middle_block_1_proj_in"]) is Architecture.SDXL
    assert kohya.find_architecture(["lora_unet_mid_block_attentions_0_proj_in"]) is Architecture.SD


def test_configuration_gives_every_module_its_own_rank_and_alpha() -> None:
    scales = {
        "proj_out": peft.Scale(4, 2.0),
        "single_transformer_blocks.0.proj_out": peft.Scale(8, 8.0),
        "single_transformer_blocks.1.proj_out": peft.Scale(8, 8.0),
        "single_transformer_blocks.0.proj_mlp": peft.Scale(16, 0.5),
    }
    values = peft.write_config(scales, use_rslora=False)
    assert (values["r"], values["lora_alpha"]) == (8, 8)
    config = parse_adapter_config(json.dumps(values).encode())
    found = {
        module: peft.Scale(config.rank_of(module), config.alpha_of(module)) for module in scales
    }
    assert found == scales
    assert values["target_modules"] == sorted(scales)


def test_pattern_is_anchored_only_where_it_would_match_another_module() -> None:
    modules = ["proj_out", "blocks.0.proj_out", "blocks.1.proj_out"]
    assert peft.write_pattern("proj_out", modules) == "^proj_out"
    assert peft.write_pattern("blocks.0.proj_out", modules) == "blocks.0.proj_out"
