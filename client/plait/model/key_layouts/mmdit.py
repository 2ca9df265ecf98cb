"""Flux and SD3 under the names of their first publications, which kohya's tools keep.

Each row is a module there and the modules of diffusers that it is made of. Where q, k and v are
one matrix there, a LoRA of it has one A for all of them: taken apart, each gets a copy of A and its
rows of B; put together again, equal copies become one A, and different ones are stacked.

Sources: scripts/convert_{flux,sd3}_to_diffusers.py of diffusers, and networks/convert_flux_lora.py
of sd-scripts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from plait.model.key_layouts.forms import Architecture, Arrangement
from plait.model.key_layouts.templates import ModuleTemplates, fill


@dataclass(frozen=True, slots=True)
class Row:
    """One module under its first name, and what diffusers makes of it; `#` are the same numbers."""

    original: str
    modules: tuple[str, ...]
    arrangement: Arrangement = Arrangement.PLAIN


def _stacked(original: str, stem: str, names: str, arrangement: Arrangement) -> Row:
    return Row(original, tuple(f"{stem}.{name}" for name in names.split()), arrangement)


_FINAL = (
    Row("final_layer.linear", ("proj_out",)),
    Row("final_layer.adaLN_modulation.1", ("norm_out.linear",), Arrangement.SWAPPED),
)
_T = "transformer_blocks.#"
_S = "single_transformer_blocks.#"
_EMBED = "time_text_embed"

FLUX: tuple[Row, ...] = (
    _stacked("double_blocks.#.img_attn.qkv", f"{_T}.attn", "to_q to_k to_v", Arrangement.STACKED),
    Row("double_blocks.#.img_attn.proj", (f"{_T}.attn.to_out.0",)),
    Row("double_blocks.#.img_mlp.0", (f"{_T}.ff.net.0.proj",)),
    Row("double_blocks.#.img_mlp.2", (f"{_T}.ff.net.2",)),
    Row("double_blocks.#.img_mod.lin", (f"{_T}.norm1.linear",)),
    _stacked(
        "double_blocks.#.txt_attn.qkv",
        f"{_T}.attn",
        "add_q_proj add_k_proj add_v_proj",
        Arrangement.STACKED,
    ),
    Row("double_blocks.#.txt_attn.proj", (f"{_T}.attn.to_add_out",)),
    Row("double_blocks.#.txt_mlp.0", (f"{_T}.ff_context.net.0.proj",)),
    Row("double_blocks.#.txt_mlp.2", (f"{_T}.ff_context.net.2",)),
    Row("double_blocks.#.txt_mod.lin", (f"{_T}.norm1_context.linear",)),
    _stacked(
        "single_blocks.#.linear1",
        _S,
        "attn.to_q attn.to_k attn.to_v proj_mlp",
        Arrangement.STACKED_WITH_MLP,
    ),
    Row("single_blocks.#.linear2", (f"{_S}.proj_out",)),
    Row("single_blocks.#.modulation.lin", (f"{_S}.norm.linear",)),
    Row("img_in", ("x_embedder",)),
    Row("txt_in", ("context_embedder",)),
    Row("time_in.in_layer", (f"{_EMBED}.timestep_embedder.linear_1",)),
    Row("time_in.out_layer", (f"{_EMBED}.timestep_embedder.linear_2",)),
    Row("vector_in.in_layer", (f"{_EMBED}.text_embedder.linear_1",)),
    Row("vector_in.out_layer", (f"{_EMBED}.text_embedder.linear_2",)),
    Row("guidance_in.in_layer", (f"{_EMBED}.guidance_embedder.linear_1",)),
    Row("guidance_in.out_layer", (f"{_EMBED}.guidance_embedder.linear_2",)),
    *_FINAL,
)

SD3: tuple[Row, ...] = (
    _stacked(
        "joint_blocks.#.x_block.attn.qkv", f"{_T}.attn", "to_q to_k to_v", Arrangement.STACKED
    ),
    Row("joint_blocks.#.x_block.attn.proj", (f"{_T}.attn.to_out.0",)),
    _stacked(
        "joint_blocks.#.x_block.attn2.qkv", f"{_T}.attn2", "to_q to_k to_v", Arrangement.STACKED
    ),
    Row("joint_blocks.#.x_block.attn2.proj", (f"{_T}.attn2.to_out.0",)),
    Row("joint_blocks.#.x_block.mlp.fc1", (f"{_T}.ff.net.0.proj",)),
    Row("joint_blocks.#.x_block.mlp.fc2", (f"{_T}.ff.net.2",)),
    Row("joint_blocks.#.x_block.adaLN_modulation.1", (f"{_T}.norm1.linear",)),
    _stacked(
        "joint_blocks.#.context_block.attn.qkv",
        f"{_T}.attn",
        "add_q_proj add_k_proj add_v_proj",
        Arrangement.STACKED,
    ),
    Row("joint_blocks.#.context_block.attn.proj", (f"{_T}.attn.to_add_out",)),
    Row("joint_blocks.#.context_block.mlp.fc1", (f"{_T}.ff_context.net.0.proj",)),
    Row("joint_blocks.#.context_block.mlp.fc2", (f"{_T}.ff_context.net.2",)),
    Row(
        "joint_blocks.#.context_block.adaLN_modulation.1",
        (f"{_T}.norm1_context.linear",),
        Arrangement.MODULATION,
    ),
    Row("x_embedder.proj", ("pos_embed.proj",)),
    Row("context_embedder", ("context_embedder",)),
    Row("t_embedder.mlp.0", (f"{_EMBED}.timestep_embedder.linear_1",)),
    Row("t_embedder.mlp.2", (f"{_EMBED}.timestep_embedder.linear_2",)),
    Row("y_embedder.mlp.0", (f"{_EMBED}.text_embedder.linear_1",)),
    Row("y_embedder.mlp.2", (f"{_EMBED}.text_embedder.linear_2",)),
    *_FINAL,
)


class Table:
    """The rows of one architecture, to be looked up from both sides."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows: Mapping[str, Row] = {row.original: row for row in rows}
        self._row_of: Mapping[str, Row] = {
            module: row for row in self._rows.values() for module in row.modules
        }
        self._originals = ModuleTemplates(*self._rows)
        self._modules = ModuleTemplates(*self._row_of)

    def read(self, flat: str) -> tuple[Row, ...]:
        """Return what a flattened first name may be, with its numbers filled in."""
        found = (self._originals.match(path) for path in self._originals.unflatten(flat))
        return tuple(_filled(self._rows[match[0]], match[1]) for match in found if match)

    def find(self, module: str) -> Row | None:
        """Return the row that holds a module of diffusers, with its numbers filled in."""
        match = self._modules.match(module)
        return None if match is None else _filled(self._row_of[match[0]], match[1])


def _filled(row: Row, numbers: tuple[str, ...]) -> Row:
    modules = tuple(fill(module, numbers) for module in row.modules)
    return Row(fill(row.original, numbers), modules, row.arrangement)


TABLES = {Architecture.FLUX: Table(FLUX), Architecture.SD3: Table(SD3)}
