"""A language model in a folder, opened through transformers and asked for its logits.

The one place of the client that runs a model. Weights come from safetensors, nothing is fetched,
and no code of the folder is run; a weight that the files lack is an error, where transformers would
draw one. Logits depend on the machine: `describe` says on what.
"""

from __future__ import annotations

import gc
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from plait.environment import CPU, describe_environment
from plait.errors import InvalidInput, Unavailable

DTYPES = ("float32", "bfloat16", "float16")
_ATTENTION = "eager"
"""Plain matrix products, which every device has."""
_BITS_DEPEND_ON = ("device", "driver", "machine", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A model that is loaded."""

    vocabulary: int
    """Token ids are below."""
    longest: int | None
    """Row that its positions allow."""
    _model: Any
    _device: str

    def ask(self, tokens: Sequence[int]) -> Any:
        """Return the logits of a row of T tokens, a numpy array (T, V) of float32.

        Raises:
            InvalidInput: `invalid-input`, the tokens do not fit the model.
            Unavailable: `unavailable`, the device's memory is short.
        """
        import torch

        if max(tokens) >= self.vocabulary:
            raise _refused(f"token {max(tokens)} is beyond its vocabulary of {self.vocabulary}")
        if self.longest is not None and len(tokens) > self.longest:
            raise _refused(f"a row of {len(tokens)} tokens is longer than its {self.longest}")
        try:
            with torch.inference_mode():
                row = torch.tensor([list(tokens)], device=self._device)
                logits = self._model(input_ids=row, use_cache=False).logits[0]
                return logits.float().cpu().contiguous().numpy()
        except torch.OutOfMemoryError as error:
            raise _short_of_memory(self._device) from error


def pick_device(wanted: str) -> str:
    """Return `cpu` or `cuda` for a wish, `auto` among them.

    Raises:
        InvalidInput: `invalid-input`, the wish is none of the three.
        Unavailable: `unavailable`, there is no GPU, or torch or transformers is not installed.
    """
    torch = _import_torch()
    has_gpu = torch.cuda.is_available()
    if wanted == "auto":
        return "cuda" if has_gpu else CPU
    if wanted not in {CPU, "cuda"}:
        raise InvalidInput(
            "invalid-input", f"{wanted!r:.80} is no device: use auto, cpu or cuda.", device=wanted
        )
    if wanted == "cuda" and not has_gpu:
        raise Unavailable("unavailable", "torch sees no GPU here: probe with --device cpu.")
    return wanted


def describe(device: str) -> Mapping[str, str]:
    """Return all that the bits of logits depend on, but for the model and the tokens."""
    torch = _import_torch()
    is_cpu = device == CPU
    known = describe_environment(CPU if is_cpu else torch.cuda.get_device_name())
    facts = {name: known[name] for name in _BITS_DEPEND_ON if name in known}
    facts |= {
        "attention": _ATTENTION,
        "float32_matmul": str(torch.get_float32_matmul_precision()),
    }
    if is_cpu:
        facts["processor"] = known.get("processor", "")
        facts["instructions"] = str(torch.backends.cpu.get_cpu_capability())
        facts["threads"] = str(torch.get_num_threads())
    else:
        facts["cuda"] = str(torch.version.cuda)
    return facts


@contextmanager
def open_model(folder: Path, device: str, dtype: str) -> Generator[LanguageModel]:
    """Yield the model in a folder, on a device; its memory is given back at the end.

    Raises:
        InvalidInput: `invalid-input`, transformers cannot load the folder as a language model, or
            a weight is missing.
        Unavailable: `unavailable`, the device's memory is short.
    """
    torch = _import_torch()
    if dtype not in DTYPES:
        raise InvalidInput("invalid-input", f"Models are not asked in {dtype!r:.80}.", dtype=dtype)
    try:
        model = _load(folder, getattr(torch, dtype)).to(device)
    except torch.OutOfMemoryError as error:
        raise _short_of_memory(device) from error
    text = model.config.get_text_config()
    try:
        yield LanguageModel(
            vocabulary=model.get_input_embeddings().weight.shape[0],
            longest=getattr(text, "max_position_embeddings", None),
            _model=model,
            _device=device,
        )
    finally:
        del model
        gc.collect()
        if device != CPU:
            torch.cuda.empty_cache()


def _load(folder: Path, dtype: Any) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    had_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=_ATTENTION,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        # The library's own errors are of these, and say what it did not find.
        first = str(error).partition("\n")[0]
        raise _refused(f"transformers cannot load it as a language model ({first:.500})") from error
    finally:
        if had_bars:
            logging.enable_progress_bar()
    model, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        raise _refused(f"its files lack {len(missing)} weights, first {missing[0]!r:.200}")
    return model.eval()


def _import_torch() -> Any:
    for package in ("torch", "transformers"):
        if find_spec(package) is None:
            raise Unavailable(
                "unavailable",
                f"Asking a model needs torch and transformers: {package} is not installed here.",
            )
    import torch

    return torch


def _refused(reason: str) -> InvalidInput:
    return InvalidInput("invalid-input", f"The model cannot be probed: {reason}.")


def _short_of_memory(device: str) -> Unavailable:
    return Unavailable(
        "unavailable",
        f"The memory of {device} is too small for this model: probe it in its own dtype, or on "
        "another device.",
    )
