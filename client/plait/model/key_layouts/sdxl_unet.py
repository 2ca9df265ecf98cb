"""SDXL's UNet under the names of its first publication, which kohya's tools keep, and diffusers'.

    input_blocks.4.1.transformer_blocks.0.attn1.to_q  =  down_blocks.1.attentions.0.transf...
    input_blocks.4.0.in_layers.2                      =  down_blocks.1.resnets.0.conv1
    output_blocks.2.2.conv                            =  up_blocks.0.upsamplers.0.conv

Two layers a block in the first half and three in the second; attention in the last two blocks of
the first half and the first two of the second.
"""

from __future__ import annotations

from plait.model.key_layouts.components import ATTENTION
from plait.model.key_layouts.templates import ModuleTemplates

_RESNET = {
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_WHOLE = {
    "input_blocks.0.0": "conv_in",
    "out.2": "conv_out",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.3.0.op": "down_blocks.0.downsamplers.0.conv",
    "input_blocks.6.0.op": "down_blocks.1.downsamplers.0.conv",
    "output_blocks.2.2.conv": "up_blocks.0.upsamplers.0.conv",
    "output_blocks.5.2.conv": "up_blocks.1.upsamplers.0.conv",
}
_RESNETS = {
    **{
        f"input_blocks.{3 * b + 1 + i}.0": f"down_blocks.{b}.resnets.{i}"
        for b in range(3)
        for i in range(2)
    },
    "middle_block.0": "mid_block.resnets.0",
    "middle_block.2": "mid_block.resnets.1",
    **{
        f"output_blocks.{3 * b + i}.0": f"up_blocks.{b}.resnets.{i}"
        for b in range(3)
        for i in range(3)
    },
}
_ATTENTIONS = {
    **{
        f"input_blocks.{3 * b + 1 + i}.1": f"down_blocks.{b}.attentions.{i}"
        for b in (1, 2)
        for i in range(2)
    },
    "middle_block.1": "mid_block.attentions.0",
    **{
        f"output_blocks.{3 * b + i}.1": f"up_blocks.{b}.attentions.{i}"
        for b in (0, 1)
        for i in range(3)
    },
}
_BLOCKS = {
    **_ATTENTIONS,
    **{
        f"{block}.{inner}": f"{other}.{name}"
        for block, other in _RESNETS.items()
        for inner, name in _RESNET.items()
    },
    **_WHOLE,
}
_BACK = {other: block for block, other in _BLOCKS.items()}

ORIGINAL = ModuleTemplates(
    *_WHOLE,
    *(f"{block}.({'|'.join(_RESNET)})" for block in _RESNETS),
    *(f"{block}.{ATTENTION}" for block in _ATTENTIONS),
)


def to_diffusers(module: str) -> str | None:
    """Return diffusers' name of a module of SDXL's UNet; None where it has no such module."""
    return _translate(module, _BLOCKS) if ORIGINAL.match(module) else None


def from_diffusers(module: str) -> str | None:
    """Return the first name of a module that diffusers names so; None where SDXL has none."""
    found = _translate(module, _BACK)
    return found if found is not None and ORIGINAL.match(found) else None


def _translate(module: str, blocks: dict[str, str]) -> str | None:
    """Replace the beginning that `blocks` knows; a beginning ends at a dot."""
    end = len(module)
    while end > 0:
        block = blocks.get(module[:end])
        if block is not None:
            return block + module[end:]
        end = module.rfind(".", 0, end)
    return None
