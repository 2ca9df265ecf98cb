"""LoRAs in kohya's, diffusers' and PEFT's layouts: the same deltas under other names."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plait.algebra.arrays import decode
from plait.algebra.outcome import EncodedTensor
from plait.algebra.relayout import from_peft, to_peft
from plait.algebra.relayout.lora_module import Relayout, RelayoutOptions
from plait.algebra.rounding import encode
from plait.errors import InvalidInput
from plait.model.adapter import AdapterConfig, parse_adapter_config
from plait.model.key_layouts.diffusers import METADATA_KEY
from plait.model.key_layouts.forms import Architecture, Component, Layout

ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
CLIP = "text_model.encoder.layers.0.mlp.fc1"
WIDTH = 6
MLP = 4 * WIDTH


def tensor(name: str, *shape: int, dtype: str = "F32", seed: int = 0) -> EncodedTensor:
    values = np.random.default_rng([seed, *name.encode()]).standard_normal(shape)
    return EncodedTensor(name, dtype, shape, encode(values, dtype))


def scalar(name: str, value: float, dtype: str = "F32") -> EncodedTensor:
    return EncodedTensor(name, dtype, (), encode(np.array(value), dtype))


def kohya(
    name: str, out: int, width: int, *, rank: int = 2, alpha: float | None = 1.0
) -> list[EncodedTensor]:
    parts = [
        tensor(f"{name}.lora_down.weight", rank, width),
        tensor(f"{name}.lora_up.weight", out, rank),
    ]
    return parts if alpha is None else [*parts, scalar(f"{name}.alpha", alpha)]


def peft(
    module: str, out: int, width: int, *, rank: int = 2, **options: Any
) -> list[EncodedTensor]:
    prefix = f"base_model.model.{module}"
    return [
        tensor(f"{prefix}.lora_A.weight", rank, width, **options),
        tensor(f"{prefix}.lora_B.weight", out, rank, **options),
    ]


def config_of(values: Mapping[str, Any] | None, **changes: Any) -> AdapterConfig:
    document = {"peft_type": "LORA", "r": 2, "lora_alpha": 1, **(values or {}), **changes}
    return parse_adapter_config(json.dumps(document).encode())


def named(tensors: Iterable[EncodedTensor]) -> dict[str, EncodedTensor]:
    return {tensor.name: tensor for tensor in tensors}


def values_of(tensor: EncodedTensor) -> NDArray[np.float64]:
    return decode(tensor.data, tensor.dtype, tensor.shape, precision=np.float64)


def delta_of(outcome: Relayout, module: str) -> NDArray[np.float64]:
    tensors = named(outcome.tensors)
    down = values_of(tensors[f"base_model.model.{module}.lora_A.weight"])
    up = values_of(tensors[f"base_model.model.{module}.lora_B.weight"])
    delta: NDArray[np.float64] = up @ down
    return config_of(outcome.config).gamma_of(module) * delta


def delta_in_kohya(tensors: Sequence[EncodedTensor], name: str) -> NDArray[np.float64]:
    by_name = named(tensors)
    down, up = (values_of(by_name[f"{name}.lora_{side}.weight"]) for side in ("down", "up"))
    delta: NDArray[np.float64] = up @ down
    gamma: float = float(values_of(by_name[f"{name}.alpha"])) / down.shape[0]
    return gamma * delta


def test_file_of_kohya_keeps_its_bytes_and_factors_in_peft() -> None:
    name = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    source = kohya(name, 5, 3, rank=2, alpha=0.5)
    outcome = to_peft(source)
    assert [t.name for t in outcome.tensors] == [
        f"base_model.model.{ATTENTION}.to_q.lora_A.weight",
        f"base_model.model.{ATTENTION}.to_q.lora_B.weight",
    ]
    assert [t.data for t in outcome.tensors] == [source[0].data, source[1].data]
    assert config_of(outcome.config).gamma_of(f"{ATTENTION}.to_q") == 0.25
    assert outcome.config is not None
    assert outcome.config["target_modules"] == [f"{ATTENTION}.to_q"]


def test_missing_alpha_counts_as_the_rank() -> None:
    outcome = to_peft(kohya("lora_te_text_model_encoder_layers_0_mlp_fc1", 5, 3, alpha=None))
    assert config_of(outcome.config).gamma_of(CLIP) == 1.0


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_alpha_is_read_from_any_dtype(dtype: str) -> None:
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    source = [*kohya(name, 5, 3, alpha=None), scalar(f"{name}.alpha", 0.75, dtype)]
    assert config_of(to_peft(source).config).alpha_of(CLIP) == 0.75


@pytest.mark.parametrize("alpha", [0.0, float("nan"), float("inf")])
def test_alpha_that_tools_disagree_about_is_refused(alpha: float) -> None:
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    data = np.array(alpha, "<f4").tobytes()
    source = [*kohya(name, 5, 3, alpha=None), EncodedTensor(f"{name}.alpha", "F32", (), data)]
    with pytest.raises(InvalidInput, match="not one number other than zero"):
        to_peft(source)


def test_several_components_stand_in_front_of_their_modules() -> None:
    source = [
        *kohya("lora_unet_mid_block_attentions_0_proj_in", 5, 3, alpha=1.0),
        *kohya("lora_te_text_model_encoder_layers_0_mlp_fc1", 4, 3, rank=4, alpha=4.0),
    ]
    outcome = to_peft(source)
    config = config_of(outcome.config)
    assert config.gamma_of("unet.mid_block.attentions.0.proj_in") == 0.5
    assert config.gamma_of(f"text_encoder.{CLIP}") == 1.0
    alone = to_peft(source, options=RelayoutOptions(component=Component.TEXT_ENCODER))
    assert [t.name for t in alone.tensors] == [
        f"base_model.model.{CLIP}.lora_A.weight",
        f"base_model.model.{CLIP}.lora_B.weight",
    ]
    with pytest.raises(InvalidInput, match="adapts nothing in transformer"):
        to_peft(source, options=RelayoutOptions(component=Component.TRANSFORMER))


def test_convolution_keeps_its_kernel() -> None:
    name = "lora_unet_down_blocks_0_resnets_0_conv1"
    source = [
        tensor(f"{name}.lora_down.weight", 2, 3, 3, 3),
        tensor(f"{name}.lora_up.weight", 5, 2, 1, 1),
    ]
    outcome = to_peft(source)
    assert [t.shape for t in outcome.tensors] == [(2, 3, 3, 3), (5, 2, 1, 1)]
    options = RelayoutOptions(architecture=Architecture.SD)
    back = from_peft(config_of(outcome.config), outcome.tensors, Layout.KOHYA, options=options)
    assert named(source).items() <= named(back.tensors).items()


def flux_file() -> list[EncodedTensor]:
    return [
        *kohya("lora_unet_double_blocks_0_img_attn_qkv", 3 * WIDTH, WIDTH),
        *kohya("lora_unet_double_blocks_0_img_mod_lin", 6 * WIDTH, WIDTH),
        *kohya("lora_unet_single_blocks_3_linear1", 3 * WIDTH + MLP, WIDTH, rank=4),
        *kohya("lora_unet_final_layer_adaLN_modulation_1", 2 * WIDTH, WIDTH),
    ]


def test_fused_matrices_of_flux_come_apart_by_rows() -> None:
    source = flux_file()
    outcome = to_peft(source)
    qkv = delta_in_kohya(source, "lora_unet_double_blocks_0_img_attn_qkv")
    attention = "transformer_blocks.0.attn"
    for index, name in enumerate(["to_q", "to_k", "to_v"]):
        rows = qkv[index * WIDTH : (index + 1) * WIDTH]
        assert np.array_equal(delta_of(outcome, f"{attention}.{name}"), rows)
    linear = delta_in_kohya(source, "lora_unet_single_blocks_3_linear1")
    single = "single_transformer_blocks.3"
    assert np.array_equal(delta_of(outcome, f"{single}.attn.to_v"), linear[2 * WIDTH : 3 * WIDTH])
    assert np.array_equal(delta_of(outcome, f"{single}.proj_mlp"), linear[3 * WIDTH :])
    norm = delta_in_kohya(source, "lora_unet_final_layer_adaLN_modulation_1")
    swapped = np.concatenate([norm[WIDTH:], norm[:WIDTH]])
    assert np.array_equal(delta_of(outcome, "norm_out.linear"), swapped)


def test_fused_matrices_of_flux_come_back_byte_for_byte() -> None:
    source = flux_file()
    outcome = to_peft(source)
    back = from_peft(config_of(outcome.config), outcome.tensors, Layout.KOHYA)
    assert named(back.tensors) == named(source)
    assert back.rounded == {}


@pytest.mark.parametrize("rows", [2, 6])
def test_modulation_of_sd3s_last_block_alone_is_swapped(rows: int) -> None:
    name = "lora_unet_joint_blocks_23_context_block_adaLN_modulation_1"
    source = kohya(name, rows * WIDTH, WIDTH)
    outcome = to_peft(source)
    delta, expected = (
        delta_in_kohya(source, name),
        delta_of(outcome, "transformer_blocks.23.norm1_context.linear"),
    )
    if rows == 2:
        delta = np.concatenate([delta[WIDTH:], delta[:WIDTH]])
    assert np.array_equal(expected, delta)
    options = RelayoutOptions(architecture=Architecture.SD3)
    back = from_peft(config_of(outcome.config), outcome.tensors, Layout.KOHYA, options=options)
    assert named(back.tensors) == named(source)


def test_separate_factors_of_flux_are_stacked_with_zeros_between() -> None:
    attention = "transformer_blocks.0.attn"
    source = [
        *peft(f"{attention}.to_q", WIDTH, WIDTH, rank=2),
        *peft(f"{attention}.to_v", WIDTH, WIDTH, rank=4),
    ]
    config = config_of(None, rank_pattern={"to_v": 4}, alpha_pattern={"to_v": 2})
    options = RelayoutOptions(architecture=Architecture.FLUX)
    outcome = from_peft(config, source, Layout.KOHYA, options=options)
    name = "lora_unet_double_blocks_0_img_attn_qkv"
    assert sorted(named(outcome.tensors)) == [
        f"{name}.alpha",
        f"{name}.lora_down.weight",
        f"{name}.lora_up.weight",
    ]
    delta = delta_in_kohya(outcome.tensors, name)
    by_name = named(source)
    for module, start in ((f"{attention}.to_q", 0), (f"{attention}.to_v", 2 * WIDTH)):
        down = values_of(by_name[f"base_model.model.{module}.lora_A.weight"])
        up = values_of(by_name[f"base_model.model.{module}.lora_B.weight"])
        assert np.allclose(delta[start : start + WIDTH], 0.5 * (up @ down), rtol=1e-12, atol=1e-15)
    assert not np.any(delta[WIDTH : 2 * WIDTH])


def test_mlp_that_is_not_adapted_leaves_rows_of_zeros() -> None:
    source = peft("single_transformer_blocks.0.attn.to_k", WIDTH, WIDTH)
    outcome = from_peft(config_of(None), source, Layout.KOHYA)
    delta = delta_in_kohya(outcome.tensors, "lora_unet_single_blocks_0_linear1")
    assert delta.shape == (3 * WIDTH + MLP, WIDTH)
    assert np.any(delta[WIDTH : 2 * WIDTH])
    assert not np.any(np.delete(delta, np.s_[WIDTH : 2 * WIDTH], axis=0))


def test_factors_of_one_matrix_with_different_scales_are_refused() -> None:
    attention = "transformer_blocks.0.attn"
    source = [*peft(f"{attention}.to_q", WIDTH, WIDTH), *peft(f"{attention}.to_k", WIDTH, WIDTH)]
    options = RelayoutOptions(architecture=Architecture.FLUX)
    config = config_of(None, alpha_pattern={"to_k": 3})
    with pytest.raises(InvalidInput, match=r"to_q.*to_k.*one matrix"):
        from_peft(config, source, Layout.KOHYA, options=options)


def test_factors_of_one_matrix_in_different_dtypes_are_refused() -> None:
    attention = "transformer_blocks.0.attn"
    source = [
        *peft(f"{attention}.to_q", WIDTH, WIDTH),
        *peft(f"{attention}.to_k", WIDTH, WIDTH, dtype="BF16"),
    ]
    options = RelayoutOptions(architecture=Architecture.FLUX)
    with pytest.raises(InvalidInput, match="cast them to one dtype") as caught:
        from_peft(config_of(None), source, Layout.KOHYA, options=options)
    assert caught.value.kind == "shape-mismatch"


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("double_blocks_0_img_attn_qkv", 3 * WIDTH + 1),
        ("single_blocks_0_linear1", 3 * WIDTH),
        ("final_layer_adaLN_modulation_1", 2 * WIDTH + 1),
    ],
)
def test_rows_that_cannot_be_those_of_the_modules_are_refused(name: str, rows: int) -> None:
    with pytest.raises(InvalidInput, match="cannot be those of the modules"):
        to_peft(kohya(f"lora_unet_{name}", rows, WIDTH))


def test_modules_that_do_not_fit_into_one_matrix_are_refused() -> None:
    source = peft("transformer_blocks.0.attn.to_q", WIDTH + 1, WIDTH)
    options = RelayoutOptions(architecture=Architecture.FLUX)
    with pytest.raises(InvalidInput, match=r"\[6, 6, 6\] rows.*\[7, None, None\]"):
        from_peft(config_of(None), source, Layout.KOHYA, options=options)


def test_rank_that_the_configuration_does_not_say_is_refused() -> None:
    with pytest.raises(InvalidInput, match="rank 3, and the configuration says 2"):
        from_peft(config_of(None), peft("conv_in", 5, 3, rank=3), Layout.DIFFUSERS)


def test_metadata_of_another_component_leaves_the_scale_to_the_rank() -> None:
    source = [tensor(f"unet.conv_in.lora_{side}.weight", 2, 2) for side in "AB"]
    metadata = {METADATA_KEY: json.dumps({"text_encoder.r": 8})}
    outcome = to_peft(source, metadata=metadata)
    assert config_of(outcome.config).gamma_of("conv_in") == 1.0


def test_rslora_becomes_an_alpha_whose_rounding_is_reported() -> None:
    source = peft("mid_block.attentions.0.proj_in", 5, 3, rank=2)
    options = RelayoutOptions(architecture=Architecture.SD)
    config = config_of(None, use_rslora=True, lora_alpha=4)
    outcome = from_peft(config, source, Layout.KOHYA, options=options)
    name = "lora_unet_mid_block_attentions_0_proj_in"
    alpha = float(values_of(named(outcome.tensors)[f"{name}.alpha"]))
    assert alpha / 2 == pytest.approx(4 / 2**0.5, rel=2**-24)
    assert set(outcome.rounded) == {name}
    assert 0 < outcome.rounded[name] < 2**-23


def test_rslora_stays_rslora_in_diffusers_metadata() -> None:
    source = peft("mid_block.attentions.0.proj_in", 5, 3)
    config = config_of(None, use_rslora=True, lora_alpha=4)
    outcome = from_peft(config, source, Layout.DIFFUSERS)
    fields = json.loads(outcome.metadata[METADATA_KEY])
    assert fields["unet.use_rslora"] is True
    again = to_peft(outcome.tensors, metadata=outcome.metadata)
    assert config_of(again.config).gamma_of("mid_block.attentions.0.proj_in") == 4 / 2**0.5


def test_dora_and_biases_go_into_diffusers_layout_and_no_other() -> None:
    module = "mid_block.attentions.0.proj_in"
    source = [
        *peft(module, 5, 3),
        tensor(f"base_model.model.{module}.lora_B.bias", 5),
        tensor(f"base_model.model.{module}.lora_magnitude_vector", 5),
    ]
    config = config_of(None, use_dora=True, lora_bias=True)
    outcome = from_peft(config, source, Layout.DIFFUSERS)
    again = to_peft(outcome.tensors, metadata=outcome.metadata)
    assert named(again.tensors) == named(source)
    assert config_of(again.config).use_dora
    assert config_of(again.config).lora_bias
    options = RelayoutOptions(architecture=Architecture.SD)
    for layout in (Layout.KOHYA, Layout.DIFFUSERS_LAYERS):
        with pytest.raises(InvalidInput, match="cannot hold") as caught:
            from_peft(config, source, layout, options=options)
        assert caught.value.kind == "delta-missing"


def test_factor_given_twice_in_diffusers_layout_is_refused() -> None:
    outcome = from_peft(
        config_of(None), peft("mid_block.attentions.0.proj_in", 5, 3), Layout.DIFFUSERS
    )
    source = [*outcome.tensors, scalar("unet.mid_block.attentions.0.proj_in.alpha", 3.0)]
    with pytest.raises(InvalidInput, match="twice"):
        to_peft(source, metadata=outcome.metadata)
    alone = to_peft(source)
    assert config_of(alone.config).alpha_of("mid_block.attentions.0.proj_in") == 3.0


def test_ranks_in_diffusers_metadata_that_the_factors_contradict_are_refused() -> None:
    outcome = from_peft(
        config_of(None), peft("mid_block.attentions.0.proj_in", 5, 3), Layout.DIFFUSERS
    )
    metadata = {METADATA_KEY: json.dumps({"unet.r": 8, "unet.lora_alpha": 8})}
    with pytest.raises(InvalidInput, match="rank 2, and the configuration says 8") as caught:
        to_peft(outcome.tensors, metadata=metadata)
    assert caught.value.kind == "rank-invalid"
    with pytest.raises(InvalidInput, match="is not JSON"):
        to_peft(outcome.tensors, metadata={METADATA_KEY: "{"})


def test_components_that_differ_in_rslora_are_converted_one_by_one() -> None:
    source = [
        tensor(f"{stem}.lora_{side}.weight", *shape)
        for stem in ("unet.conv_in", f"text_encoder.{CLIP}")
        for side, shape in (("A", (2, 3)), ("B", (5, 2)))
    ]
    fields = {"unet.r": 2, "unet.use_rslora": True, "text_encoder.r": 2}
    with pytest.raises(InvalidInput, match="use_rslora"):
        to_peft(source, metadata={METADATA_KEY: json.dumps(fields)})


def test_oldest_layout_of_diffusers_becomes_the_present_one() -> None:
    source = [
        tensor(f"{ATTENTION}.processor.to_out_lora.down.weight", 2, 3),
        tensor(f"{ATTENTION}.processor.to_out_lora.up.weight", 5, 2),
    ]
    outcome = to_peft(source)
    assert [t.name for t in outcome.tensors] == [
        f"base_model.model.{ATTENTION}.to_out.0.lora_A.weight",
        f"base_model.model.{ATTENTION}.to_out.0.lora_B.weight",
    ]
    assert config_of(outcome.config).gamma_of(f"{ATTENTION}.to_out.0") == 1.0


def test_text_encoder_of_transformers_5_gets_the_name_that_kohya_knows() -> None:
    source = peft("encoder.layers.0.mlp.fc1", 5, 3)
    options = RelayoutOptions(architecture=Architecture.SD)
    outcome = from_peft(config_of(None), source, Layout.KOHYA, options=options)
    assert "lora_te_text_model_encoder_layers_0_mlp_fc1.alpha" in named(outcome.tensors)


def test_module_under_two_names_is_refused() -> None:
    source = [
        *kohya("lora_unet_middle_block_1_proj_in", 5, 3),
        *kohya("lora_unet_mid_block_attentions_0_proj_in", 5, 3),
    ]
    with pytest.raises(InvalidInput, match="occurs twice"):
        to_peft(source)
    twice = [
        *(tensor(f"unet.conv_in.lora_{s}.weight", 2, 2) for s in "AB"),
        *(tensor(f"unet.conv_in.lora.{s}.weight", 2, 2) for s in ("down", "up")),
    ]
    with pytest.raises(InvalidInput, match="occurs twice"):
        to_peft(twice)


@pytest.mark.parametrize("layout", list(Layout))
def test_adapter_without_a_form_in_the_layout_is_refused(layout: Layout) -> None:
    source = peft("mid_block.attentions.0.proj_in", 5, 3)
    for config in (
        config_of(None, init_lora_weights="pissa"),
        config_of(None, target_parameters=["experts.weight"]),
        parse_adapter_config(b'{"peft_type": "LOHA", "r": 2, "alpha": 1}'),
    ):
        with pytest.raises(InvalidInput, match="Only plain LoRA"):
            from_peft(config, source, layout)


def test_tensor_that_is_no_factor_is_refused_by_name() -> None:
    source = [*peft("conv_in", 5, 3), tensor("base_model.model.conv_out.weight", 5, 3)]
    with pytest.raises(InvalidInput, match=r"conv_out\.weight") as caught:
        from_peft(config_of(None), source, Layout.DIFFUSERS)
    assert caught.value.kind == "delta-missing"


def test_module_of_an_unknown_model_needs_its_component() -> None:
    source = peft("layers.0.q_proj", 5, 3)
    with pytest.raises(InvalidInput, match="--component"):
        from_peft(config_of(None), source, Layout.DIFFUSERS)
    options = RelayoutOptions(component=Component.TRANSFORMER)
    outcome = from_peft(config_of(None), source, Layout.DIFFUSERS, options=options)
    assert outcome.tensors[0].name == "transformer.layers.0.q_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("tensors", "kind"),
    [
        ([tensor("lora_unet_conv_in.lora_down.weight", 2, 3)], "invalid-safetensors"),
        (
            [
                tensor("lora_unet_conv_in.lora_down.weight", 2, 3),
                tensor("lora_unet_conv_in.lora_up.weight", 5, 3),
            ],
            "shape-mismatch",
        ),
        (peft("conv_in", 5, 3), "invalid-input"),  # PEFT's layout already
    ],
)
def test_malformed_files_are_refused(tensors: list[EncodedTensor], kind: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        to_peft(tensors)
    assert caught.value.kind == kind


def test_peft_to_peft_is_refused() -> None:
    with pytest.raises(InvalidInput, match="already"):
        from_peft(config_of(None), peft("conv_in", 5, 3), Layout.PEFT)


def test_alpha_of_zero_cannot_be_written_for_kohya() -> None:
    options = RelayoutOptions(architecture=Architecture.SD)
    with pytest.raises(InvalidInput, match="take for the rank"):
        from_peft(
            config_of(None, lora_alpha=0), peft("conv_in", 5, 3), Layout.KOHYA, options=options
        )
