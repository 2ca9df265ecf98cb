"""Which layout a file's names follow, and which architecture they belong to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from plait.errors import InvalidInput
from plait.model.key_layouts import diffusers, kohya, peft
from plait.model.key_layouts.components import T5
from plait.model.key_layouts.forms import Architecture, Component, Layout, LoraKey

_SPLITTERS: Mapping[Layout, Callable[[str], LoraKey | None]] = {
    Layout.KOHYA: kohya.split_name,
    Layout.PEFT: peft.split_name,
    Layout.DIFFUSERS: diffusers.split_name,
}
"""diffusers' older layouts are read by the same function."""


def split_names(names: Iterable[str]) -> tuple[Layout, dict[str, LoraKey]]:
    """Return the layout that every name follows, and what each name means.

    The layout is PEFT, KOHYA, or DIFFUSERS for any of diffusers' three.

    Raises:
        InvalidInput: there are no names, or they follow none or several layouts.
    """
    every = list(names)
    for layout, split in _SPLITTERS.items():
        keys = {name: key for name in every if (key := split(name)) is not None}
        strangers = [name for name in every if name not in keys]
        if keys and not strangers:
            return layout, keys
        if keys:
            raise InvalidInput(
                "invalid-safetensors",
                f"Some tensors have {layout}'s names, and {strangers[0]!r:.200} has not: keep one "
                "naming convention in a file, and only tensors of the LoRA.",
                tensor=strangers[0],
            )
    raise InvalidInput(
        "invalid-safetensors",
        "The tensors' names are neither PEFT's nor kohya's nor diffusers': is it a LoRA?",
    )


def find_architecture(modules: Iterable[tuple[Component, str]]) -> Architecture:
    """Return the architecture that the modules of a pipeline, under diffusers' names, tell.

    Raises:
        InvalidInput: they fit several; the message says to name one.
    """
    every = list(modules)
    components = {component for component, _ in every}
    candidates = set(Architecture)
    if Component.UNET in components:
        candidates &= {Architecture.SD, Architecture.SDXL}
    if Component.TRANSFORMER in components:
        candidates &= {Architecture.FLUX, Architecture.SD3}
    if Component.TEXT_ENCODER_3 in components:
        candidates &= {Architecture.SD3}
    for component, path in every:
        candidates &= _fitting(component, path)
    if len(candidates) == 1:
        return next(iter(candidates))
    raise InvalidInput(
        "invalid-input",
        "The modules' names do not tell what pipeline the LoRA is for: say which "
        f"(--architecture {' or '.join(sorted(candidates or set(Architecture)))}).",
    )


def _fitting(component: Component, path: str) -> set[Architecture]:
    """Return the architectures that can have a module; all where it tells nothing."""
    every = set(Architecture)
    if component is Component.TEXT_ENCODER_2:
        # SDXL's and SD3's second text encoder is a CLIP.
        return {Architecture.FLUX} if T5.match(path) else {Architecture.SDXL, Architecture.SD3}
    if component is Component.TRANSFORMER:
        is_flux = path.startswith("single_transformer_blocks.") or "guidance_embedder" in path
        is_sd3 = ".attn2." in path or path.startswith("pos_embed.")
        return {Architecture.FLUX} if is_flux else {Architecture.SD3} if is_sd3 else every
    if component is Component.UNET:
        numbers = path.split(".")
        # SD has four blocks a side, of one transformer layer each, and attention in the first one.
        is_sd = path.startswith(("down_blocks.3.", "up_blocks.3.", "down_blocks.0.attentions."))
        is_deep = "transformer_blocks" in numbers and (
            numbers[numbers.index("transformer_blocks") + 1] != "0"
        )
        is_sdxl = is_deep or path.startswith(("add_embedding.", "up_blocks.0.attentions."))
        return {Architecture.SD} if is_sd else {Architecture.SDXL} if is_sdxl else every
    return every
