"""What a base model's configuration (`config.json` of transformers) tells about its tensors.

- A head that shares the embedding's weight has no tensor of its own in the file.
- GPT-2 and its like store their linear layers as (in, out).
- The head says what the model is for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

EMBEDDINGS = (
    "embed_in",
    "embed_tokens",
    "shared",
    "tok_embeddings",
    "word_embeddings",
    "wpe",
    "wte",
)
"""Ends of the names of embeddings, whose weight is (vocabulary, width)."""

_HEAD = "lm_head"
_OF_TOKENS = frozenset(EMBEDDINGS) - {"wpe"}
_CONV1D_MODELS = frozenset({"decision_transformer", "gpt2", "imagegpt", "openai-gpt"})
_CONV1D_MODULES = ("c_attn", "c_fc", "c_proj", "q_attn")
_TASKS = {
    "ForCausalLM": "CAUSAL_LM",
    "LMHeadModel": "CAUSAL_LM",
    "ForQuestionAnswering": "QUESTION_ANS",
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
}
"""Ends of the names of classes in transformers, and what PEFT calls their tasks."""


def find_tied_heads(config: Mapping[str, Any], tensors: Collection[str]) -> dict[str, str]:
    """Return, by the path of a language model's head, the embedding whose weight it shares.

    Empty where the head has a tensor of its own, the configuration says that it is not tied, or
    several embeddings could be meant.
    """
    architectures = config.get("architectures")
    names = architectures if isinstance(architectures, list) else []
    has_head = any(str(name).endswith(("ForCausalLM", "LMHeadModel")) for name in names)
    # transformers ties them where nothing is said.
    is_tied = config.get("tie_word_embeddings", True) is True
    embeddings = [
        module
        for module, dot, part in (name.rpartition(".") for name in sorted(tensors))
        if dot and part == "weight" and module.rpartition(".")[2] in _OF_TOKENS
    ]
    if not (has_head and is_tied) or len(embeddings) != 1 or f"{_HEAD}.weight" in tensors:
        return {}
    return {_HEAD: embeddings[0]}


def find_tied_weights(config: Mapping[str, Any], tensors: Collection[str]) -> dict[str, str]:
    """Return the modules of a language model that share a weight: by module, the other one.

    Beside a head without a tensor of its own, that is one whose tensor transformers replaces by the
    embedding's, since the configuration says that they are tied.
    """
    if config.get("tie_word_embeddings", True) is not True:
        return {}
    heads = find_tied_heads(config, [name for name in tensors if name != f"{_HEAD}.weight"])
    if config.get("tie_word_embeddings") is not True and f"{_HEAD}.weight" in tensors:
        return {}  # nothing is said, and the head has its own
    return {**heads, **{embedding: head for head, embedding in heads.items()}}


def find_model_name(config: Mapping[str, Any]) -> str | None:
    """Return the name that a model's configuration gives it; None for a path of some machine."""
    name = config.get("_name_or_path")
    if not isinstance(name, str) or not name:
        return None
    return None if name.startswith(("/", ".", "~")) or "\\" in name else name


def find_transposed(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the ends of the names of linear modules whose weight is (in, out)."""
    return _CONV1D_MODULES if config.get("model_type") in _CONV1D_MODELS else ()


def find_task_type(config: Mapping[str, Any]) -> str | None:
    """Return what PEFT calls the task of a model; None where the configuration does not tell."""
    architectures = config.get("architectures")
    names = [str(name) for name in architectures] if isinstance(architectures, list) else []
    found = {task for end, task in _TASKS.items() if any(name.endswith(end) for name in names)}
    is_pair = config.get("is_encoder_decoder") is True
    if is_pair and any(name.endswith("ForConditionalGeneration") for name in names):
        found.add("SEQ_2_SEQ_LM")
    return found.pop() if len(found) == 1 else None
