"""kohya's names: `lora_unet_<path with underscores>.lora_down.weight`, `.lora_up.weight`, `.alpha`.

| prefix | component |
|---|---|
| `lora_unet` | the UNet, or the transformer of Flux and SD3 |
| `lora_transformer` | the transformer under diffusers' names; read, never written |
| `lora_te`, `lora_te1` | the first text encoder |
| `lora_te2` | the second one |
| `lora_te3` | T5: the third one of SD3, the second one of Flux |

A path is looked up in a list of the model's modules where there is one, else in the tables.
DoRA's magnitudes, biases and LyCORIS's other families have no meaning that all readers of this
layout agree on: their tensors are refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from plait.errors import InvalidInput
from plait.model.key_layouts import sdxl_unet
from plait.model.key_layouts.components import CLIP, T5, TRANSFORMER, UNET
from plait.model.key_layouts.forms import Architecture, Arrangement, Component, LoraKey, Part
from plait.model.key_layouts.mmdit import TABLES
from plait.model.key_layouts.templates import flatten

MOST_SHOWN = 8

_NAME = re.compile(r"(lora_(?:unet|transformer|te[123]?)_[^.]+)\.(.+)")
_PARTS = {
    "lora_down.weight": Part.A,
    "lora_up.weight": Part.B,
    "alpha": Part.ALPHA,
}
SUFFIXES = {part: suffix for suffix, part in _PARTS.items()}
_TEXT_ENCODERS = {
    Architecture.SD: {Component.TEXT_ENCODER: "lora_te"},
    Architecture.SDXL: {
        Component.TEXT_ENCODER: "lora_te1",
        Component.TEXT_ENCODER_2: "lora_te2",
    },
    Architecture.FLUX: {
        Component.TEXT_ENCODER: "lora_te1",
        Component.TEXT_ENCODER_2: "lora_te3",
    },
    Architecture.SD3: {
        Component.TEXT_ENCODER: "lora_te1",
        Component.TEXT_ENCODER_2: "lora_te2",
        Component.TEXT_ENCODER_3: "lora_te3",
    },
}


@dataclass(frozen=True, slots=True)
class KohyaModule:
    """One adapted module of kohya's, and the modules of a pipeline that it stands for."""

    name: str
    """Before the dot, as `lora_unet_mid_block_attentions_0_proj_in`."""
    component: Component
    modules: tuple[str, ...]
    """Several where kohya's model has them as one matrix; in the order of its rows."""
    arrangement: Arrangement = Arrangement.PLAIN


def split_name(name: str) -> LoraKey | None:
    """Return a tensor's module (prefix and all) and part, or None where the name is not kohya's.

    Raises:
        InvalidInput: the part is one that PEFT has no agreed counterpart for.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    part = _PARTS.get(match[2])
    if part is None:
        raise InvalidInput(
            "delta-missing",
            f"The tensor {name!r:.200} is a part ({match[2]!r:.40}) that plain LoRA does not have: "
            "only lora_down, lora_up and alpha can be converted. Leave the module out.",
            tensor=name,
        )
    return LoraKey(None, match[1], part)


@dataclass(frozen=True, slots=True)
class KohyaReader:
    """Finds the modules behind kohya's names."""

    architecture: Architecture | None
    """None where the names do not tell; then a third text encoder cannot be placed."""
    known: Collection[str] = ()
    """The model's modules, where they are known: paths, with the component in front or without."""
    _by_flat: dict[str, list[str]] = field(init=False, default_factory=dict)
    _every: set[str] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self._every.update(self.known)
        for module in sorted(self._every):
            self._by_flat.setdefault(flatten(module), []).append(module)

    def find(self, name: str) -> KohyaModule:
        """Return what a module's name stands for.

        Raises:
            InvalidInput: no path fits, or several do; the message lists them.
        """
        prefix, flat = _split_prefix(name)
        found = self._known(name, prefix, flat) or self._look_up(name, prefix, flat)
        if len(found) == 1:
            return self._verified(found[0])
        if found:
            paths = sorted(" + ".join(module.modules) for module in found)
            raise InvalidInput(
                "invalid-safetensors",
                f"The name {name!r:.200} may stand for any of {', '.join(paths[:MOST_SHOWN])}: "
                "name the file with the model's modules (--modules FILE), one of them alone.",
                name=name,
                candidates=paths[:MOST_SHOWN],
            )
        raise InvalidInput(
            "invalid-safetensors",
            f"The name {name!r:.200} is no known module of SD, SDXL, Flux, SD3 or their text "
            "encoders: name a file with the model's modules (--modules FILE).",
            name=name,
        )

    def _known(self, name: str, prefix: str, flat: str) -> list[KohyaModule]:
        component = self._component(name, prefix) if self._by_flat else Component.UNET
        with_component = self._by_flat.get(f"{flatten(component.value)}_{flat}", ())
        paths = {path.removeprefix(f"{component}.") for path in with_component}
        paths.update(self._by_flat.get(flat, ()))
        return [KohyaModule(name, component, (path,)) for path in sorted(paths)]

    def _look_up(self, name: str, prefix: str, flat: str) -> list[KohyaModule]:
        if prefix.startswith("lora_te"):
            component = self._component(name, prefix)
            paths = (*CLIP.unflatten(flat), *T5.unflatten(flat))
            return [KohyaModule(name, component, (path,)) for path in paths]
        if prefix == "lora_transformer":
            paths = TRANSFORMER.unflatten(flat)
            return [KohyaModule(name, Component.TRANSFORMER, (path,)) for path in paths]
        originals = (sdxl_unet.to_diffusers(path) for path in sdxl_unet.ORIGINAL.unflatten(flat))
        unets = {*UNET.unflatten(flat), *(path for path in originals if path is not None)}
        rows = {
            (row.modules, row.arrangement)
            for architecture, table in TABLES.items()
            if self.architecture in {None, architecture}
            for row in table.read(flat)
        }
        return [
            *(KohyaModule(name, Component.UNET, (path,)) for path in sorted(unets)),
            *(KohyaModule(name, Component.TRANSFORMER, *row) for row in sorted(rows)),
        ]

    def _component(self, name: str, prefix: str) -> Component:
        if prefix == "lora_unet":
            is_transformer = self.architecture in {Architecture.FLUX, Architecture.SD3}
            return Component.TRANSFORMER if is_transformer else Component.UNET
        if prefix == "lora_transformer":
            return Component.TRANSFORMER
        if prefix == "lora_te2":
            return Component.TEXT_ENCODER_2
        if prefix != "lora_te3":
            return Component.TEXT_ENCODER
        if self.architecture is None:
            raise InvalidInput(
                "invalid-safetensors",
                f"The name {name!r:.200} is T5, which is Flux's second and SD3's third text "
                "encoder: say which of them the file is for (--architecture flux or sd3).",
                name=name,
            )
        is_flux = self.architecture is Architecture.FLUX
        return Component.TEXT_ENCODER_2 if is_flux else Component.TEXT_ENCODER_3

    def _verified(self, module: KohyaModule) -> KohyaModule:
        """Check a path of the tables against the list of modules, where there is one."""
        for path in module.modules if self._by_flat else ():
            if not {path, f"{module.component}.{path}"} & self._every:
                raise InvalidInput(
                    "invalid-safetensors",
                    f"The name {module.name!r:.200} would be {path}, which is not in the list of "
                    "the model's modules: is it the list of this model?",
                    name=module.name,
                )
        return module


def find_architecture(names: Iterable[str]) -> Architecture | None:
    """Return the architecture that kohya's module names tell, or None where they fit several."""
    flats = {flat for prefix, flat in map(_split_prefix, names) if prefix == "lora_unet"}
    first = {
        architecture
        for architecture, table in TABLES.items()
        if any(table.read(flat) for flat in flats)
    }
    # Modules at the top, as final_layer, have the same name in both.
    blocks = {"double_blocks": Architecture.FLUX, "single_blocks": Architecture.FLUX}
    blocks["joint_blocks"] = Architecture.SD3
    by_block = {blocks[start] for start in blocks if any(flat.startswith(start) for flat in flats)}
    for found in (by_block, first):
        if len(found) == 1:
            return next(iter(found))
    if any(sdxl_unet.ORIGINAL.unflatten(flat) for flat in flats):
        return Architecture.SDXL
    return Architecture.SD if any(UNET.unflatten(flat) for flat in flats) else None


def write_modules(
    modules: Iterable[tuple[Component, str]], architecture: Architecture
) -> list[KohyaModule]:
    """Return kohya's modules for those of a pipeline, in the order in which they come first.

    Of a module that stands for several, all are named, also those that are not among `modules`.

    Raises:
        InvalidInput: the architecture has no such module, or two paths get the same name.
    """
    written: dict[str, KohyaModule] = {}
    for component, path in modules:
        module = _write(component, path, architecture)
        other = written.setdefault(module.name, module)
        if other.modules != module.modules:
            raise InvalidInput(
                "invalid-safetensors",
                f"{other.modules[0]} and {path} would both be named {module.name!r:.200}: kohya's "
                "layout cannot hold both.",
                name=module.name,
            )
    return list(written.values())


def _write(component: Component, path: str, architecture: Architecture) -> KohyaModule:
    if component.is_text_encoder:
        prefix = _TEXT_ENCODERS[architecture].get(component)
        if prefix is None:
            raise _no_module(component, path, architecture)
        return KohyaModule(f"{prefix}_{flatten(path)}", component, (path,))
    table = TABLES.get(architecture)
    if (component is Component.TRANSFORMER) != (table is not None):
        raise _no_module(component, path, architecture)
    if table is not None:
        row = table.find(path)
        if row is None:
            raise _no_module(component, path, architecture)
        name = f"lora_unet_{flatten(row.original)}"
        return KohyaModule(name, component, row.modules, row.arrangement)
    original = sdxl_unet.from_diffusers(path) if architecture is Architecture.SDXL else path
    if original is None:
        raise _no_module(component, path, architecture)
    return KohyaModule(f"lora_unet_{flatten(original)}", component, (path,))


def _split_prefix(name: str) -> tuple[str, str]:
    match = re.fullmatch(r"(lora_(?:unet|transformer|te[123]?))_(.+)", name)
    if match is None:
        raise InvalidInput("invalid-safetensors", f"The name {name!r:.200} is not kohya's.")
    return match[1], match[2]


def _no_module(component: Component, path: str, architecture: Architecture) -> InvalidInput:
    return InvalidInput(
        "invalid-safetensors",
        f"{component}.{path} is no module that kohya's tools have a name for in {architecture}: "
        "name another architecture (--architecture), or leave the module out.",
        module=path,
    )
