"""Extracting from two folders of models: the files of the adapter, the same bytes anywhere.

(1) plan: the two models belong together, and the options fit them;
(2) compute module by module, in several threads, and append to the weights in the modules' order;
(3) write the configuration from what came out;
(4) copy the fine-tune's tokenizer, where it is not the base's.
"""

from __future__ import annotations

import filecmp
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.adapter_folder import open_base, open_tensors
from plait.compose_folder import WEIGHTS_FILE, Arithmetic
from plait.errors import InvalidInput
from plait.kernel_cache import verify_installed
from plait.model.adapter import FILE_NAME, LARGEST_CONFIG
from plait.model.base_layout import (
    find_model_name,
    find_task_type,
    find_tied_heads,
    find_transposed,
)
from plait.model.commit import Base
from plait.model.lora_config import write_lora_config
from plait.model.module_pattern import matches_module
from plait.parallel import map_in_order
from plait.partial_file import disk_errors
from plait.progress import NO_PROGRESS, Progress
from plait.safetensors_spool import SafetensorsSpool
from plait.tokenizer_files import TOKENIZER_FILES

if TYPE_CHECKING:
    from plait.algebra.extract import Extraction, ExtractOptions, ExtractOutline
    from plait.algebra.extract_module import ExtractedModule
    from plait.algebra.extraction_report import ExtractedAdapter

CONFIG_FILE = "config.json"
"""Of a model, as transformers writes it."""


@dataclass(frozen=True, slots=True)
class ModelPair:
    """A base and what a full fine-tune made of it, in folders as `save_pretrained` writes them."""

    base: Path
    tuned: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionPlan:
    """All that the outcome depends on beside the weights."""

    options: ExtractOptions
    base: Base
    """For the configuration, and for the commit."""
    task_type: str | None
    """As PEFT calls it: what kind of head the model has."""


def complete_options(pair: ModelPair, options: ExtractOptions) -> ExtractOptions:
    """Return the options with what the base's configuration tells of its tensors.

    Tied heads and matrices stored as (in, out) come to those that were named.

    Raises:
        InvalidInput: a file is malformed.
    """
    config = read_model_config(pair.base)
    names = open_tensors(pair.base).places
    modules = {name.rpartition(".")[0] for name in names}
    transposed = [
        pattern
        for pattern in find_transposed(config)
        if any(matches_module(pattern, module) for module in modules)
    ]
    return replace(
        options,
        transposed=tuple(sorted({*options.transposed, *transposed})),
        tied_heads={**find_tied_heads(config, names), **options.tied_heads},
    )


def find_base_name(folder: Path) -> str:
    """Return the name that a model's own configuration gives it.

    Raises:
        InvalidInput: `base-unknown`, it has none, or one that means something on one machine only.
    """
    name = find_model_name(read_model_config(folder))
    if name is not None:
        return name
    raise InvalidInput(
        "base-unknown",
        f"{folder / CONFIG_FILE} does not name the model: say its name, as adapters shall be told "
        "it (--base NAME[@REVISION]).",
    )


def read_model_config(folder: Path) -> Mapping[str, Any]:
    """Return a model's configuration; empty where there is none.

    Raises:
        InvalidInput: `invalid-input`, it is no JSON object, or larger than any.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        data = file.read(LARGEST_CONFIG + 1)
    try:
        document = json.loads(data) if len(data) <= LARGEST_CONFIG else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise InvalidInput(
            "invalid-input", f"{path} is no configuration of a model: expected a JSON object."
        )
    return document


def describe_task(folder: Path) -> str | None:
    """Return what PEFT calls the task of a model; None where its configuration does not tell."""
    return find_task_type(read_model_config(folder))


def extract_folder(
    pair: ModelPair,
    plan: ExtractionPlan,
    into: Path,
    *,
    threads: int = 1,
    progress: Progress = NO_PROGRESS,
) -> ExtractedAdapter:
    """Write the adapter into an empty folder, and return what it keeps of each module's change.

    Raises:
        InvalidInput: as `plan_extraction`, `extract_module` and `assemble` do.
        Unavailable: `extra-missing`, numba is not installed; `disk-full`; or this machine's
            arithmetic is not what the definition needs.
    """
    verify_installed()
    from plait.algebra.extract import plan_extraction

    # (1) plan.
    extraction = plan_extraction(open_base(pair.base), open_base(pair.tuned), plan.options)
    # (2) compute.
    adapter = _compute(extraction, into, threads=threads, progress=progress)
    # (3) configure.
    description = replace(
        adapter.description,
        base_name=plan.base.name,
        base_revision=plan.base.revision,
        task_type=plan.task_type,
    )
    with disk_errors(into):
        (into / FILE_NAME).write_bytes(write_lora_config(description))
    # (4) the tokenizer.
    _copy_tokenizer(pair, into)
    return adapter


def _compute(
    extraction: Extraction, into: Path, *, threads: int, progress: Progress
) -> ExtractedAdapter:
    from plait.algebra.extract_module import extract_module
    from plait.algebra.extraction_report import assemble

    arithmetic = Arithmetic()

    def work(outline: ExtractOutline) -> ExtractedModule:
        arithmetic.verify()
        return extract_module(extraction, outline)

    done: list[ExtractedModule] = []
    written: set[str] = set()
    progress.total(len(extraction.modules), what="Extracting")
    try:
        with SafetensorsSpool(into / WEIGHTS_FILE) as spool:
            for module in map_in_order(work, extraction.modules, workers=threads):
                for outcome in module.outcomes:
                    for tensor in outcome.tensors:
                        spool.append(tensor)
                        written.add(tensor.name)
                done.append(_without_data(module))
                progress.advance(1)
            adapter = assemble(extraction, done)
            # Biases of zero, which PEFT wants in all modules as soon as one has a bias.
            for outcome in adapter.outcomes:
                for tensor in outcome.tensors:
                    if tensor.name not in written:
                        spool.append(tensor)
            spool.finish()
    finally:
        progress.finish()
    return adapter


def _without_data(module: ExtractedModule) -> ExtractedModule:
    """Return a module whose tensors are names and shapes alone: the bytes are on disk."""
    outcomes = tuple(
        replace(outcome, tensors=tuple(replace(tensor, data=b"") for tensor in outcome.tensors))
        for outcome in module.outcomes
    )
    return replace(module, outcomes=outcomes)


def _copy_tokenizer(pair: ModelPair, into: Path) -> None:
    """Copy the fine-tune's tokenizer, all of it, if any of its files is not the base's."""
    own = [name for name in sorted(TOKENIZER_FILES) if (pair.tuned / name).is_file()]
    is_of_the_base = all(
        (pair.base / name).is_file()
        and filecmp.cmp(pair.tuned / name, pair.base / name, shallow=False)
        for name in own
    )
    for name in [] if is_of_the_base else own:
        with disk_errors(into / name):
            shutil.copyfile(pair.tuned / name, into / name)
