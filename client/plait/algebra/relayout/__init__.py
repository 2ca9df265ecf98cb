"""A LoRA's file in another tool's layout: names change, and the bytes of the factors stay.

To PEFT's layout and from it; between two others in two steps. What the names mean is in
`plait.model.key_layouts`.

- The factor of scale is kept: PEFT has it in the configuration (gamma = alpha / r), kohya as one
  tensor `alpha` a module (gamma = alpha / rows of lora_down; alpha = r where there is none), and
  diffusers as metadata. kohya's alpha is written in F32; `Relayout.rounded` names the modules
  whose gamma changes by that.
- Flux's and SD3's q, k and v are one matrix for kohya: see `stacked_factors`.
- Whatever a layout cannot hold is refused by name, never dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from plait.algebra.outcome import EncodedTensor
from plait.algebra.relayout.lora_module import Relayout, RelayoutOptions, sort_tensors
from plait.algebra.relayout.reading import read_diffusers, read_kohya, read_peft
from plait.algebra.relayout.writing import write_diffusers, write_kohya
from plait.errors import InvalidInput
from plait.model.adapter import AdapterConfig
from plait.model.key_layouts import peft
from plait.model.key_layouts.detect import split_names
from plait.model.key_layouts.forms import Layout, Part

_PLAIN_MODIFIERS = frozenset({"use_rslora", "use_dora", "lora_bias", "modules_to_save", "bias"})
"""What a configuration may say: the tensors tell whether the layout can hold it."""


def to_peft(
    tensors: Sequence[EncodedTensor],
    *,
    metadata: Mapping[str, str] | None = None,
    options: RelayoutOptions | None = None,
) -> Relayout:
    """Return a file of kohya's or diffusers' layout in PEFT's.

    Raises:
        InvalidInput: the names are of no known layout, fit several modules or none, or say what a
            LoRA in PEFT cannot hold; the message names the tensor.
    """
    options = options or RelayoutOptions()
    layout, keys = split_names(tensor.name for tensor in tensors)
    if layout is Layout.PEFT:
        raise InvalidInput("invalid-input", "The tensors have PEFT's names already.")
    if layout is Layout.KOHYA:
        modules, use_rslora = read_kohya(tensors, keys, options), False
    else:
        modules, use_rslora = read_diffusers(tensors, keys, metadata or {}, options=options)
    if options.component is not None:
        modules = [module for module in modules if module.component is options.component]
        if not modules:
            raise InvalidInput("adapter-empty", f"The file adapts nothing in {options.component}.")
    several = len({module.component for module in modules}) > 1
    paths = {
        f"{module.component}.{module.path}" if several else module.path: module
        for module in modules
    }
    written = [
        replace(tensor, name=f"{peft.PREFIX}{path}.{peft.SUFFIXES[part]}")
        for path, module in paths.items()
        for part, tensor in module.tensors.items()
    ]
    parts = {part for module in modules for part in module.others}
    config = peft.write_config(
        {path: module.scale for path, module in paths.items()},
        use_rslora=use_rslora,
        use_dora=Part.MAGNITUDE in parts,
        lora_bias=Part.BIAS in parts,
    )
    return Relayout(tensors=sort_tensors(written), config=config)


def from_peft(
    config: AdapterConfig,
    tensors: Sequence[EncodedTensor],
    layout: Layout,
    *,
    options: RelayoutOptions | None = None,
) -> Relayout:
    """Return a LoRA as PEFT saves it in one of the other layouts.

    Raises:
        InvalidInput: it is no plain LoRA, has tensors that the layout cannot hold, or the names do
            not tell the component or the architecture; the message says what to name.
    """
    options = options or RelayoutOptions()
    _verify_plain(config)
    modules = read_peft(config, tensors, options)
    if layout is Layout.KOHYA:
        return write_kohya(modules, options, use_rslora=config.use_rslora)
    if not layout.is_diffusers:
        raise InvalidInput("invalid-input", "The tensors have PEFT's names already.")
    return write_diffusers(modules, layout, use_rslora=config.use_rslora)


def _verify_plain(config: AdapterConfig) -> None:
    unknown = [name for name in config.modifiers if name not in _PLAIN_MODIFIERS]
    if config.peft_type != "LORA" or unknown or config.base_changing_init is not None:
        what = config.base_changing_init or ", ".join(unknown) or config.family.name
        raise InvalidInput(
            "delta-missing",
            f"Only plain LoRA has a form in this layout, and this adapter is {what}: convert it "
            "first (plait convert NS/NAME).",
        )
