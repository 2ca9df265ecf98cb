# ruff: noqa: N803, N806 - matrices have the names of the papers
"""merge-fp64-v1, written from `docs/merge-definitions.md` alone, in plain numpy.

Nothing of plait is used here: files are read, patterns matched and digests made anew, so that what
agrees with this was written twice. Each family is a function of an adapter's module that returns
d (out, in): what one adapter adds to the weight, or what a whole tensor is instead.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.exact_svd import approximate, product

Array = NDArray[np.float64]
Digests = dict[str, str]


@dataclass(frozen=True)
class Stored:
    """A tensor as its file has it."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    @property
    def values(self) -> Array:
        """In float64, which is exact."""
        if self.dtype == "BF16":
            codes = np.frombuffer(self.data, "<u2").astype(np.uint32) << 16
            return codes.view(np.float32).astype(np.float64).reshape(self.shape)
        code = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}[self.dtype]
        return np.frombuffer(self.data, code).astype(np.float64).reshape(self.shape)


@dataclass(frozen=True)
class Module:
    """One module of an adapter, and the weight of the base that it belongs to."""

    name: str
    config: Mapping[str, Any]
    parts: Mapping[str, Stored]
    shared: Mapping[str, Stored]
    W: Array
    """(out, in), or (out, in, k...) of a convolution."""
    w: float

    def __getitem__(self, part: str) -> Array:
        return self.parts[part].values

    def look_up(self, pattern: str, default: str, otherwise: float) -> Any:
        """The first key of a pattern that matches the end of the module's name."""
        for key, value in (self.config.get(pattern) or {}).items():
            if re.match(rf"(.*\.)?({key})$", self.name):
                return value
        return self.config.get(default, otherwise)

    @property
    def gamma(self) -> float:
        is_lora = self.config["peft_type"] == "LORA"
        alpha = float(self.look_up("alpha_pattern", "lora_alpha" if is_lora else "alpha", 8))
        rank = self.look_up("rank_pattern", "r", 8)
        return alpha / (math.sqrt(rank) if is_lora and self.config.get("use_rslora") else rank)


def factors(m: Module) -> tuple[Array, Array]:
    """B (out, r) and A (r, in): of an embedding, a linear module, or a convolution."""
    if "lora_embedding_A" in m.parts:
        return m["lora_embedding_B"], m["lora_embedding_A"]
    A, B = m["lora_A.weight"], m["lora_B.weight"]
    return B.reshape(B.shape[0], A.shape[0]), A.reshape(A.shape[0], -1)


def lora(m: Module) -> Array:
    B, A = factors(m)
    return (m.w * m.gamma) * product(B, A)


def lora_bias(m: Module) -> Array:
    return m.w * (m.gamma * m["lora_B.bias"])


def pissa(m: Module) -> Array:
    return m.w * product(*widened(m))


def widened(m: Module) -> tuple[Array, Array]:
    """The factors of rank 2r that PiSSA comes to."""
    (B, A), r = factors(m), m.parts["lora_A.weight"].shape[0]
    top_B, top_A = approximate(m.W, min(2 * r + 16, *m.W.shape))
    return np.hstack([m.gamma * B, -top_B[:, :r]]), np.vstack([A, top_A[:r]])


def kasa(m: Module) -> Array:
    return m.w * (cut_and_add(m) - m.W)


def cut_and_add(m: Module) -> Array:
    B, A = factors(m)
    d = m["lora_diag"].reshape(-1, 1)
    kept = product(*approximate(m.W, max(min(m.W.shape) - A.shape[0], 1)))
    return kept + m.gamma * product(B, d * A)


def dora(m: Module) -> Array:
    W = m.W.reshape(m.W.shape[0], -1)
    if "lora_diag" in m.parts:
        V = cut_and_add(m)
    elif m.config.get("init_lora_weights") == "pissa":
        V = product(*widened(m)) + W
    else:
        V = m.gamma * product(*factors(m)) + W
    magnitudes = m["lora_magnitude_vector"].reshape(-1)
    changed: Array = V * (magnitudes / norms(V))[:, None]
    return m.w * (changed - W)


def norms(V: Array) -> Array:
    lanes = np.zeros((V.shape[0], 128))
    for j in range(V.shape[1]):
        lanes[:, j % 128] += V[:, j] * V[:, j]
    for h in (64, 32, 16, 8, 4, 2, 1):
        lanes = lanes[:, :h] + lanes[:, h : 2 * h]
    return np.sqrt(lanes[:, 0])


def adalora(m: Module) -> Array:
    alpha, r = float(m.config["lora_alpha"]), float(m.config["init_r"])
    gamma = (alpha if alpha > 0 else r) / (r + 1e-5)
    return (m.w * gamma) * product(m["lora_B"], m["lora_A"] * m["lora_E"])


def vera(m: Module) -> Array:
    b, d = m["vera_lambda_b"][:, None], m["vera_lambda_d"][:, None]
    A, B = m.shared["vera_A"].values, m.shared["vera_B"].values
    return m.w * product(b * B[: b.size], d * A[:, : m.W.shape[1]])


def loha(m: Module) -> Array:
    one, two = (spread(m, f"hada_w{n}_a", f"hada_w{n}_b", f"hada_t{n}") for n in (1, 2))
    D = (one * two) * m.gamma
    return m.w * D.reshape(D.shape[0], -1)


def lokr(m: Module) -> Array:
    one = m["lokr_w1"] if "lokr_w1" in m.parts else product(m["lokr_w1_a"], m["lokr_w1_b"])
    factors_of_w2 = ("lokr_w2_a", "lokr_w2_b", "lokr_t2")
    two = m["lokr_w2"] if "lokr_w2" in m.parts else spread(m, *factors_of_w2)
    is_odd = two.ndim == 3
    two = two.reshape(*two.shape[:2], -1)  # (b, d, k)
    D = (one[:, None, :, None, None] * two[None, :, None]) * m.gamma  # (a, b, c, d, k)
    D = D.transpose(1, 0, 3, 2, 4) if is_odd else D
    return m.w * D.reshape(one.shape[0] * two.shape[0], -1)


def spread(m: Module, a: str, b: str, core: str) -> Array:
    """The product of two factors, or of two factors and a core."""
    if core not in m.parts:
        return product(m[a], m[b])
    A, B, T = m[a], m[b], m[core]  # (r, out), (r, in), (r, r, k, l)
    along_out = np.zeros((A.shape[1], *T.shape[1:]))
    for i in range(T.shape[0]):
        along_out = along_out + A[i][:, None, None, None] * T[i]
    K = np.zeros((A.shape[1], B.shape[1], *T.shape[2:]))
    for j in range(T.shape[1]):
        K = K + along_out[:, j][:, None] * B[j][None, :, None, None]
    return K


def ia3(m: Module) -> Array:
    scaled = m.W * scales(m)
    return (m.w * (scaled - m.W)).reshape(m.W.shape[0], -1)


def ia3_bias(m: Module, bias: Array) -> Array:
    return m.w * (bias * m["ia3_l"].reshape(-1) - bias)


def scales(m: Module) -> Array:
    """The vector l in the shape that scales the outputs, or the inputs."""
    ones = (1,) * (m.W.ndim - 2)
    return m["ia3_l"].reshape((1, -1, *ones) if scales_inputs(m) else (-1, 1, *ones))


def scales_inputs(m: Module) -> bool:
    shape = m.parts["ia3_l"].shape
    if len(shape) == 2 and shape != (1, 1):
        return shape[1] > 1
    return any(m.name.endswith(end) for end in m.config.get("feedforward_modules") or [])


def pick(m: Module) -> Callable[[Module], Array]:
    """The family of a module."""
    if m.config["peft_type"] == "LORA":
        if m.config.get("use_dora"):
            return dora
        if "lora_diag" in m.parts:
            return kasa
        is_linear = m.W.ndim == 2 and "lora_A.weight" in m.parts
        return pissa if is_linear and m.config.get("init_lora_weights") == "pissa" else lora
    return {"ADALORA": adalora, "VERA": vera, "LOHA": loha, "LOKR": lokr, "IA3": ia3}[
        m.config["peft_type"]
    ]


def merge(base: Path, adapters: Sequence[tuple[Path, float]]) -> tuple[str, Digests]:
    """The root and the digest of each tensor of a merged model."""
    merged = merge_tensors(read_folder(base), [(read_adapter(path), w) for path, w in adapters])
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in merged.items()}
    lines = "".join(f"{name} {digests[name]}\n" for name in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest(), digests


Adapter = tuple[Mapping[str, Any], Mapping[str, Mapping[str, Stored]]]
"""A configuration, and by module its parts; those of the module `` belong to the whole model."""


def merge_tensors(
    base: Mapping[str, Stored], adapters: Sequence[tuple[Adapter, float]]
) -> dict[str, bytes]:
    """The bytes of each tensor of a merged model."""
    merged = {}
    for name, tensor in base.items():
        module, _, part = name.rpartition(".")
        total: Array | None = None
        merged[name] = tensor.data
        for adapter, w in adapters:
            config, modules = adapter
            parts = modules.get(module, {})
            whole = parts.get(part) or parts.get(f"ln_tuning_layers.{part}")
            if part == "bias" and config.get("bias", "none") != "none":
                whole = whole or parts.get("base_layer.bias")
            if whole is not None:
                merged[name] = round_to(whole.values, tensor.dtype)
                continue
            d = add(adapter, module, part, base, w)
            if d is not None:
                total = d if total is None else total + d
        if total is not None:
            merged[name] = round_to(tensor.values + total.reshape(tensor.shape), tensor.dtype)
    return merged


def add(
    adapter: Adapter, module: str, part: str, base: Mapping[str, Stored], w: float
) -> Array | None:
    """The change d as the tensor is stored; None where the adapter leaves it alone."""
    config, modules = adapter
    parts = modules.get(module, {})
    own = {key: value for key, value in parts.items() if not key.startswith("base_layer.")}
    if not own or f"{module}.weight" not in base or set(own) <= {"weight", "bias"}:
        return None
    stored = base[f"{module}.weight"].values
    is_turned = bool(config.get("fan_in_fan_out")) or "lora_embedding_A" in own
    shared = modules.get("", {})
    m = Module(module, config, own, shared, stored.T if is_turned else stored, w)
    if part == "weight":
        d = pick(m)(m)
        return d.T if is_turned else d
    if "lora_B.bias" in own:
        return lora_bias(m)
    if "ia3_l" in own and not scales_inputs(m):
        return ia3_bias(m, base[f"{module}.bias"].values)
    return None


def round_to(values: Array, dtype: str) -> bytes:
    """RN32, then round to the dtype, both to nearest even."""
    with np.errstate(over="ignore"):
        narrow = values.astype("<f4")
        if dtype == "F32":
            return narrow.tobytes()
        if dtype == "F16":
            return narrow.astype("<f2").tobytes()
    codes = narrow.view("<u4").astype(np.uint64)
    return ((codes + 0x7FFF + ((codes >> 16) & 1)) >> 16).astype("<u2").tobytes()


def read_folder(folder: Path) -> dict[str, Stored]:
    """All tensors of all safetensors files of a folder."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        for name, entry in json.loads(data[8:start]).items():
            if name != "__metadata__":
                first, last = (start + offset for offset in entry["data_offsets"])
                found[name] = Stored(entry["dtype"], tuple(entry["shape"]), data[first:last])
    return found


_PART = re.compile(r"^(.*?)\.?((?:lora_|vera_|hada_|lokr_|ia3_|ln_tuning_|base_layer).*|[^.]+)$")


def read_adapter(folder: Path) -> Adapter:
    """An adapter as PEFT saves it."""
    config = json.loads((folder / "adapter_config.json").read_bytes())
    modules: dict[str, dict[str, Stored]] = {}
    for name, tensor in read_folder(folder).items():
        path = name.removeprefix("base_model.").removeprefix("model.")
        found = _PART.match(path)
        assert found is not None
        modules.setdefault(found[1], {})[found[2]] = tensor
    return config, modules
