import pytest

from plait.errors import InvalidInput
from plait.model.adapter_keys import KeyForm, group_by_module, split_tensor_name

Q = "model.layers.0.self_attn.q_proj"
PREFIX = "base_model.model."


@pytest.mark.parametrize(
    ("name", "module", "part", "form"),
    [
        (f"{PREFIX}{Q}.lora_A.weight", Q, "lora_A.weight", "peft"),
        (f"{PREFIX}{Q}.lora_B.bias", Q, "lora_B.bias", "peft"),
        (f"{PREFIX}{Q}.lora_E", Q, "lora_E", "peft"),
        (f"{PREFIX}{Q}.lora_magnitude_vector", Q, "lora_magnitude_vector", "peft"),
        (f"{PREFIX}{Q}.hada_w1_a", Q, "hada_w1_a", "peft"),
        (f"{PREFIX}{Q}.oft_R.weight", Q, "oft_R.weight", "peft"),
        (f"{PREFIX}{Q}.vera_lambda_b", Q, "vera_lambda_b", "peft"),
        (f"{PREFIX}{Q}.osf_svd_params.U_low", Q, "osf_svd_params.U_low", "peft"),
        (f"{PREFIX}{Q}.base_layer.bias", Q, "base_layer.bias", "peft"),
        (
            f"{PREFIX}{Q}.lora_monteclora_sampler.std_prior",
            Q,
            "lora_monteclora_sampler.std_prior",
            "peft",
        ),
        (f"{PREFIX}model.norm.weight", "model.norm", "weight", "peft"),
        (
            f"{PREFIX}model.norm.ln_tuning_layers.weight",
            "model.norm",
            "ln_tuning_layers.weight",
            "peft",
        ),
        (f"{PREFIX}model.emb.lora_embedding_A", "model.emb", "lora_embedding_A", "peft"),
        (f"{PREFIX}model.emb.base_layer.weight", "model.emb", "base_layer.weight", "peft"),
        (
            f"{PREFIX}model.emb.token_adapter.trainable_tokens_delta",
            "model.emb",
            "token_adapter.trainable_tokens_delta",
            "peft",
        ),
        (f"{PREFIX}mlp.experts.lora_A.weight", "mlp.experts", "lora_A.weight", "peft"),
        (
            f"{PREFIX}mlp.experts.base_layer.lora_A.weight",
            "mlp.experts.base_layer",
            "lora_A.weight",
            "peft",
        ),
        (f"{PREFIX}classifier", "", "classifier", "peft"),
        ("base_model.vera_A", "", "vera_A", "shared"),
        ("base_model.tinylora_v.0", "", "tinylora_v.0", "shared"),
        ("prompt_embeddings", "", "prompt_embeddings", "bare"),
        ("prefix_task_cols", "", "prefix_task_cols", "bare"),
        (
            "transformer.blocks.0.to_q.lora_A.weight",
            "transformer.blocks.0.to_q",
            "lora_A.weight",
            "bare",
        ),
        (
            "lora_unet_down_blocks_0_q.lora_down.weight",
            "lora_unet_down_blocks_0_q",
            "lora_down.weight",
            "kohya",
        ),
        ("lora_te1_text_model_q.alpha", "lora_te1_text_model_q", "alpha", "kohya"),
        ("", "", "", "bare"),
    ],
)
def test_a_name_is_taken_apart(name: str, module: str, part: str, form: str) -> None:
    key = split_tensor_name(name)
    assert (key.module, key.part, key.form) == (module, part, KeyForm(form))


def test_names_are_grouped_by_module() -> None:
    names = [f"{PREFIX}{Q}.lora_B.weight", f"{PREFIX}{Q}.lora_A.weight", "base_model.vera_A"]
    assert group_by_module(names) == {
        "": {"vera_A": "base_model.vera_A"},
        Q: {"lora_A.weight": names[1], "lora_B.weight": names[0]},
    }


def test_two_names_of_one_part_are_refused() -> None:
    with pytest.raises(InvalidInput, match="one naming convention"):
        group_by_module([f"{PREFIX}{Q}.lora_A.weight", f"{Q}.lora_A.weight"])
