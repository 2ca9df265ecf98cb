"""What `config.json` tells about heads and transposed weights."""

from typing import Any

import pytest

from plait.model.base_layout import find_task_type, find_tied_heads, find_transposed

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True}
TENSORS = ["model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "model.norm.weight"]


def test_head_without_a_tensor_is_tied_to_the_embedding() -> None:
    assert find_tied_heads(LLAMA, TENSORS) == {"lm_head": "model.embed_tokens"}
    silent = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}
    of_gpt2 = ["transformer.wte.weight", "transformer.wpe.weight", "transformer.ln_f.weight"]
    assert find_tied_heads(silent, of_gpt2) == {"lm_head": "transformer.wte"}


@pytest.mark.parametrize(
    ("config", "tensors"),
    [
        ({**LLAMA, "tie_word_embeddings": False}, TENSORS),
        (LLAMA, [*TENSORS, "lm_head.weight"]),
        ({**LLAMA, "architectures": ["LlamaModel"]}, TENSORS),
        ({**LLAMA, "architectures": None}, TENSORS),
        (LLAMA, [*TENSORS, "encoder.embed_tokens.weight"]),
        (LLAMA, ["model.norm.weight"]),
    ],
)
def test_other_models_have_no_tied_head(config: dict[str, Any], tensors: list[str]) -> None:
    assert find_tied_heads(config, tensors) == {}


def test_only_models_with_conv1d_store_linear_weights_transposed() -> None:
    assert "c_attn" in find_transposed({"model_type": "gpt2"})
    assert find_transposed({"model_type": "gpt_bigcode"}) == ()
    assert find_transposed({}) == ()


@pytest.mark.parametrize(
    ("config", "task"),
    [
        (LLAMA, "CAUSAL_LM"),
        ({"architectures": ["GPT2LMHeadModel"]}, "CAUSAL_LM"),
        ({"architectures": ["BertForSequenceClassification"]}, "SEQ_CLS"),
        (
            {"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True},
            "SEQ_2_SEQ_LM",
        ),
        # Models of images and text end so as well, and are no pair of encoder and decoder.
        ({"architectures": ["LlavaForConditionalGeneration"]}, None),
        ({"architectures": ["LlamaModel"]}, None),
        ({"architectures": "LlamaForCausalLM"}, None),
        ({}, None),
    ],
)
def test_task_is_told_by_the_head(config: dict[str, Any], task: str | None) -> None:
    assert find_task_type(config) == task
