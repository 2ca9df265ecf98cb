"""The module paths of the models that LoRAs for images adapt, as diffusers names them.

Linear layers and convolutions alone; embeddings and norms are not adapted by kohya's tools.
"""

from __future__ import annotations

from plait.model.key_layouts.forms import Component
from plait.model.key_layouts.templates import ModuleTemplates

ATTENTION = (
    "(proj_in|proj_out|transformer_blocks.#.attn(1|2).(to_q|to_k|to_v|to_out.0)"
    "|transformer_blocks.#.ff.net.(0.proj|2))"
)
"""Inside an attention block of a UNet."""
RESNET = "(conv1|conv2|time_emb_proj|conv_shortcut)"

UNET = ModuleTemplates(
    "conv_(in|out)",
    "(time|add)_embedding.linear_(1|2)",
    f"(down|up)_blocks.#.attentions.#.{ATTENTION}",
    f"(down|up)_blocks.#.resnets.#.{RESNET}",
    "down_blocks.#.downsamplers.#.conv",
    "up_blocks.#.upsamplers.#.conv",
    f"mid_block.attentions.#.{ATTENTION}",
    f"mid_block.resnets.#.{RESNET}",
)

_EMBEDDERS = "time_text_embed.(timestep_embedder|text_embedder|guidance_embedder).linear_(1|2)"
_BLOCK = (
    "(attn.(to_q|to_k|to_v|to_out.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)"
    "|attn2.(to_q|to_k|to_v|to_out.0)"
    "|(ff|ff_context).net.(0.proj|2)|(norm1|norm1_context).linear)"
)

TRANSFORMER = ModuleTemplates(
    "(x_embedder|context_embedder|pos_embed.proj|proj_out|norm_out.linear)",
    _EMBEDDERS,
    f"transformer_blocks.#.{_BLOCK}",
    "single_transformer_blocks.#.(attn.(to_q|to_k|to_v)|norm.linear|proj_mlp|proj_out)",
)
"""Of Flux and of SD3."""

CLIP = ModuleTemplates(
    "text_model.encoder.layers.#.self_attn.(q_proj|k_proj|v_proj|out_proj)",
    "text_model.encoder.layers.#.mlp.(fc1|fc2)",
    "text_projection",
)
T5 = ModuleTemplates(
    "encoder.block.#.layer.#.SelfAttention.(q|k|v|o)",
    "encoder.block.#.layer.#.DenseReluDense.(wi|wi_0|wi_1|wo)",
)

_TABLES = {
    Component.UNET: UNET,
    Component.TRANSFORMER: TRANSFORMER,
    Component.TEXT_ENCODER: CLIP,
}
_CLIP_START = "text_model."


def find_components(path: str) -> list[Component]:
    """Return the components that have a module of this path; of text encoders, the first one."""
    complete = complete_path(path)
    return [component for component, table in _TABLES.items() if table.match(complete)]


def complete_path(path: str) -> str:
    """Return a text encoder's path with the `text_model.` that transformers 5 leaves out."""
    complete = f"{_CLIP_START}{path}"
    return complete if CLIP.match(complete) else path
