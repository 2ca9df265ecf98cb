"""An adapter's configuration, `adapter_config.json` as PEFT writes it.

- Parsing is strict about what plait relies on (the type, rank, alpha, patterns, names) and keeps
  every other field as it stands, so that a newer PEFT or an unknown family is no obstacle.
- `canonical()` is the form in which two configurations are compared: PEFT writes sets as lists in
  an order that changes from run to run.

Which tensors belong to a module is for `plait.model.adapter_keys` to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from plait.errors import InvalidInput, TooLarge
from plait.model import canonical
from plait.model.adapter_families import BOTTLENECK, FAMILIES, Effect, Family
from plait.model.adapter_fields import ConfigFields, invalid_config
from plait.model.adapter_scale import AdapterScale, parse_scale

FILE_NAME = "adapter_config.json"
LARGEST_CONFIG = 16_000_000
MOST_SHOWN = 8

_SETS = (
    "target_modules",
    "modules_to_save",
    "exclude_modules",
    "feedforward_modules",
    "layers_to_transform",
)
"""Lists whose order means nothing. Those of `target_parameters` and of token indices does."""
_FLAGS = (
    "use_rslora",
    "use_dora",
    "lora_bias",
    "fan_in_fan_out",
    "use_qalora",
    "use_bdlora",
    "kasa_config",
    "monteclora_config",
    "arrow_config",
    "alora_invocation_tokens",
    "target_parameters",
    "trainable_token_indices",
    "layer_replication",
    "modules_to_save",
    "ensure_weight_tying",
)
_BASE_CHANGING_INITS = ("pissa", "corda", "olora", "loftq", "lora_ga")
"""They take something out of the base weight at the start: the delta belongs to what is left."""
_BOTTLENECK_FIELDS = ("reduction_factor", "non_linearity", "mh_adapter", "output_adapter")
_EXACT = 2**53
"""Beyond it, a whole float names no single integer."""


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """What one `adapter_config.json` says."""

    family: Family
    base_name: str | None
    """The base model as the trainer named it; an empty name counts as none."""
    base_revision: str | None
    task_type: str | None
    target_modules: tuple[str, ...]
    """Names or ends of names, sorted; a single regular expression counts as one."""
    modules_to_save: tuple[str, ...]
    modifiers: tuple[str, ...]
    """The fields that are set and change the effective weights, beside rank and alpha."""
    base_changing_init: str | None
    """The initialisation, where it also changed the base (PiSSA and the like)."""
    scale: AdapterScale | None = field(repr=False)
    """For families whose delta is scaled by alpha and rank."""
    values: Mapping[str, Any] = field(repr=False)
    """Every field as it was parsed, read-only at the top."""

    @property
    def peft_type(self) -> str:
        """The type as the file writes it; `BOTTLENECK` for AdapterHub's, which name none."""
        return self.family.peft_type

    @property
    def is_known(self) -> bool:
        """Whether plait knows the family."""
        return self.family.effect is not Effect.OPAQUE

    @property
    def effect(self) -> Effect:
        """What the adapter does to its base, with its options taken into account."""
        is_bat = self.peft_type in {"MISS", "BONE"} and self.values.get("init_weights") == "bat"
        if is_bat or (self.peft_type == "LORA" and self.use_dora):
            return Effect.FUNCTION_OF_BASE
        return self.family.effect

    @property
    def rank(self) -> int | None:
        """The rank where no pattern says otherwise; None where there is none."""
        if self.scale is not None:
            return self.scale.rank
        return ConfigFields(self.values).find_count(
            "effective_rank" if self.peft_type == "OSF" else "r"
        )

    @property
    def alpha(self) -> float | None:
        """The alpha where no pattern says otherwise; None for families that do not scale by it."""
        return None if self.scale is None else self.scale.alpha

    @property
    def use_rslora(self) -> bool:
        """Whether alpha is divided by the root of the rank."""
        return self.scale is not None and self.scale.use_rslora

    @property
    def use_dora(self) -> bool:
        """Whether the result is rescaled to learned magnitudes, which needs the base."""
        return "use_dora" in self.modifiers

    @property
    def lora_bias(self) -> bool:
        """Whether the B factors have biases, which add to the base's."""
        return "lora_bias" in self.modifiers

    @property
    def fan_in_fan_out(self) -> bool:
        """Whether the base stores its weights as (in, out), so that deltas are transposed."""
        return "fan_in_fan_out" in self.modifiers

    def rank_of(self, module: str) -> int:
        """Return the rank that PEFT gives `module`; raises as `gamma_of` does."""
        return self._get_scale().rank_of(module)

    def alpha_of(self, module: str) -> float:
        """Return the alpha that PEFT gives `module`; raises as `gamma_of` does."""
        return self._get_scale().alpha_of(module)

    def gamma_of(self, module: str) -> float:
        """Return the factor of the module's delta, such as alpha / r.

        Raises:
            InvalidInput: the family has no such factor, or a pattern cannot be matched.
        """
        return self._get_scale().gamma_of(module)

    def canonical(self) -> dict[str, Any]:
        """Return the fields with sets sorted and whole numbers as integers: the form to compare."""
        document = {name: _plain(value) for name, value in self.values.items()}
        for name in _SETS:
            if name in document:
                document[name] = _sorted_set(document[name])
        return document

    def summary(self) -> str:
        """Return one line for people, as `LoRA r=8 alpha=16 on q_proj, v_proj`."""
        tokens = ConfigFields(self.values).find_count("num_virtual_tokens")
        words = (
            _shown(self.family.name),
            "" if self.is_known else "(a type that plait does not know)",
            f"r={self.rank}" if self.rank else "",
            "" if self.alpha is None else f"alpha={self.alpha:g}",
            "rsLoRA" if self.use_rslora else "",
            "DoRA" if self.use_dora else "",
            "bias" if self.lora_bias else "",
            f"init={_shown(self.base_changing_init)}" if self.base_changing_init else "",
            f"with {tokens} virtual tokens" if tokens else "",
            f"on {_listed(self.target_modules)}" if self.target_modules else "",
            f"and all of {_listed(self.modules_to_save)}" if self.modules_to_save else "",
        )
        return " ".join(word for word in words if word)

    def _get_scale(self) -> AdapterScale:
        if self.scale is None:
            raise InvalidInput(
                "invalid-input",
                f"{_shown(self.family.name)} adapters do not scale their delta by alpha and rank.",
            )
        return self.scale


def parse_adapter_config(data: bytes) -> AdapterConfig:
    """Read the bytes of an `adapter_config.json`.

    Raises:
        InvalidInput: it is not strict JSON, or a field that plait relies on is not well-formed.
        TooLarge: it is over the limit.
    """
    if len(data) > LARGEST_CONFIG:
        raise TooLarge(
            "file-too-large",
            f"{FILE_NAME} has {len(data)} bytes; at most {LARGEST_CONFIG} are allowed.",
            size=len(data),
            limit=LARGEST_CONFIG,
        )
    try:
        document = canonical.loads(data)
    except InvalidInput as error:
        raise invalid_config(f"cannot be read. {error.message.removesuffix('.')}") from error
    if not isinstance(document, dict):
        raise invalid_config("must hold a JSON object")
    fields = ConfigFields(document)
    family = _find_family(fields, document)
    is_known = family.effect is not Effect.OPAQUE
    base_field = "model_name" if family.peft_type == BOTTLENECK else "base_model_name_or_path"
    return AdapterConfig(
        family=family,
        base_name=fields.text(base_field),
        base_revision=fields.text("revision"),
        task_type=fields.text("task_type"),
        target_modules=fields.names("target_modules", strict=is_known),
        modules_to_save=fields.names("modules_to_save", strict=is_known),
        modifiers=_find_modifiers(fields, document),
        base_changing_init=_find_base_changing_init(document),
        scale=parse_scale(fields, family),
        values=MappingProxyType(document),
    )


def _find_family(fields: ConfigFields, document: dict[str, Any]) -> Family:
    peft_type = fields.text("peft_type")
    if peft_type is not None:
        return FAMILIES.get(peft_type, Family(peft_type, peft_type, Effect.OPAQUE))
    # AdapterHub keeps its fields flat or under `config`.
    inner = document.get("config", document)
    if isinstance(inner, dict) and sum(name in inner for name in _BOTTLENECK_FIELDS) > 1:
        return FAMILIES[BOTTLENECK]
    raise invalid_config("must have a string as 'peft_type': was it written by PEFT?")


def _find_modifiers(fields: ConfigFields, document: dict[str, Any]) -> tuple[str, ...]:
    flags = tuple(name for name in _FLAGS if fields.flag(name))
    is_bias_trained = document.get("bias") not in (None, "none")
    return (*flags, "bias") if is_bias_trained else flags


def _find_base_changing_init(document: dict[str, Any]) -> str | None:
    init = document.get("init_lora_weights")
    is_changing = isinstance(init, str) and init.lower().startswith(_BASE_CHANGING_INITS)
    return init if is_changing else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    return value


def _sorted_set(value: Any) -> Any:
    if not isinstance(value, list) or len({type(item) for item in value}) > 1:
        return value
    return sorted(set(value)) if all(type(item) in {str, int} for item in value) else value


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(_shown(name) for name in names[:MOST_SHOWN])
    more = len(names) - MOST_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _shown(text: str) -> str:
    # The text is a stranger's: it may not move the cursor of who reads it.
    return "".join(character if character.isprintable() else "?" for character in text[:80])
