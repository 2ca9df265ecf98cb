"""Converting a file between the layouts of tools: names change, bytes of factors stay.

(1) read the source: one safetensors file, or a folder that holds one; its names tell the layout;
(2) give every tensor its name in the other layout, by way of PEFT's (`plait.algebra.relayout`);
(3) write the file that the other tool expects, under the name that it expects.

The tensors are in memory meanwhile: adapters are small, and what is not is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.adapter_folder import TensorFiles, read_layout
from plait.compose_folder import WEIGHTS_FILE
from plait.describe import describe_folder
from plait.destination import write_destination
from plait.errors import InvalidInput, TooLarge
from plait.model.adapter import FILE_NAME, LARGEST_CONFIG, AdapterConfig, parse_adapter_config
from plait.model.commit import Base, Origin, OriginKind
from plait.model.ids import ObjectId
from plait.model.key_layouts.forms import Architecture, Component, Layout
from plait.model.paths import is_pickle, is_safetensors
from plait.partial_file import disk_errors
from plait.progress import NO_PROGRESS, Progress
from plait.safetensors_spool import METADATA, SafetensorsSpool
from plait.transport import PIECE_SIZE

if TYPE_CHECKING:
    from plait.algebra.outcome import EncodedTensor
    from plait.algebra.relayout.lora_module import Relayout, RelayoutOptions

LARGEST_SOURCE = 8 << 30
"""Bytes of a file that is converted: a LoRA of rank 128 of the largest models has a few."""
DIFFUSERS_FILE = "pytorch_lora_weights.safetensors"
"""What diffusers' `load_lora_weights` looks for in a folder."""
_UNUSABLE = re.compile(r"[^\w. -]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertWish:
    """What to convert into which layout."""

    source: Path
    layout: Layout | None = None
    """None: PEFT's."""
    name: str | None = None
    """Of kohya's file, which people tell LoRAs apart by; None: the source's."""
    modules: Collection[str] = ()
    """The model's module paths, where they are known."""
    architecture: Architecture | None = None
    component: Component | None = None
    base: Base | None = None
    """For PEFT's configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What a conversion did."""

    source_layout: Layout
    layout: Layout
    sha256: ObjectId
    """Of the source's file."""
    file: str
    """The name of the weights."""
    tensors: int
    """Written."""
    rounded: Mapping[str, float] = field(default_factory=dict)
    """Modules whose factor of scale was rounded, with the relative error."""
    lost: tuple[str, ...] = ()
    """What the other layout has no place for: metadata, fields of the configuration, files."""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "from": self.source_layout.value,
            "to": self.layout.value,
            "sha256": self.sha256,
            "file": self.file,
            "tensors": self.tensors,
            "rounded": dict(self.rounded),
            "lost": list(self.lost),
        }

    @property
    def origin(self) -> Origin:
        """How a version with these files came about."""
        facts = {"layout": self.source_layout.value, "sha256": self.sha256}
        return Origin(OriginKind.IMPORT, facts)


def convert_to_folder(wish: ConvertWish, destination: Path, *, force: bool = False) -> Converted:
    """Convert into a folder; raises as `convert_file`, and as `write_destination`."""
    with tempfile.TemporaryDirectory(prefix="plait-convert-") as name:
        converted = convert_file(wish, Path(name))
        sources = describe_folder(Path(name)).sources
        write_destination(sources, destination, force=force)
    return converted


def convert_file(wish: ConvertWish, into: Path, progress: Progress = NO_PROGRESS) -> Converted:
    """Write the source in another layout into an empty folder.

    Raises:
        InvalidInput: the file is malformed, its names are of no known layout or fit several
            modules, or the other layout cannot hold a tensor; the message names it.
        TooLarge: the file, its header, or the number of its tensors.
    """
    from plait.algebra.relayout.lora_module import RelayoutOptions

    # (1) read.
    source = _read_source(wish.source, progress)
    options = RelayoutOptions(
        modules=wish.modules, architecture=wish.architecture, component=wish.component
    )
    # (2) rename.
    layout = wish.layout or Layout.PEFT
    _verify_other_layout(source, wish)
    outcome, lost = _relayout(source, layout, options)
    # (3) write.
    name = _name_file(layout, wish)
    with SafetensorsSpool(into / name) as spool:
        for tensor in outcome.tensors:
            spool.append(tensor)
        spool.finish(outcome.metadata or METADATA)
    if outcome.config is not None:
        _write_config(outcome.config, wish.base, into / FILE_NAME)
    return Converted(
        source_layout=source.layout,
        layout=layout,
        sha256=source.sha256,
        file=name,
        tensors=len(outcome.tensors),
        rounded=outcome.rounded,
        lost=(*lost, *_list_other_files(wish.source, source.path)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    path: Path
    layout: Layout
    sha256: ObjectId
    tensors: Sequence[EncodedTensor]
    metadata: Mapping[str, str]
    config: AdapterConfig | None
    """In PEFT's layout."""


def find_weights(source: Path) -> Path:
    """Return the one safetensors file that a path means: itself, or the one of a folder.

    Raises:
        InvalidInput: `pickle-refused`; or there is none, or several.
    """
    if source.is_file():
        if is_pickle(source.name):
            raise InvalidInput(
                "pickle-refused",
                f"{source} is in a pickle format, which can run code when it is loaded: load it "
                "where you trust it, and save it as safetensors.",
            )
        return source
    files = sorted(path for path in source.glob("*") if is_safetensors(path.name))
    if source.is_dir() and len(files) == 1:
        return files[0]
    names = ", ".join(path.name[:80] for path in files[:3])
    raise InvalidInput(
        "invalid-input",
        f"{source} holds {len(files)} safetensors files ({names}): name the one to convert."
        if files
        else f"{source} is neither a safetensors file nor a folder that holds one.",
    )


def _read_source(source: Path, progress: Progress) -> _Source:
    from plait.algebra.outcome import EncodedTensor
    from plait.model.key_layouts.detect import split_names

    path = find_weights(source)
    size = path.stat().st_size
    if size > LARGEST_SOURCE:
        raise TooLarge(
            "file-too-large",
            f"{path} has {size} bytes, and files of at most {LARGEST_SOURCE} are converted: is it "
            "a whole model?",
            size=size,
            limit=LARGEST_SOURCE,
        )
    found = read_layout(path)
    layout, _ = split_names(tensor.name for tensor in found.tensors)
    config = _read_config(path.with_name(FILE_NAME)) if layout is Layout.PEFT else None
    files = TensorFiles({tensor.name: (path, tensor) for tensor in found.tensors})
    tensors = [
        EncodedTensor(tensor.name, tensor.dtype, tensor.shape, files.read_bytes(tensor.name))
        for tensor in found.tensors
    ]
    return _Source(
        path=path,
        layout=layout,
        sha256=_hash(path, progress),
        tensors=tensors,
        metadata=found.metadata,
        config=config,
    )


def _read_config(path: Path) -> AdapterConfig:
    if not path.is_file():
        raise InvalidInput(
            "adapter-config-missing",
            f"The tensors have PEFT's names, and there is no {FILE_NAME} beside them, which has "
            f"the ranks and factors of scale: put it into {path.parent}.",
        )
    with path.open("rb") as file:
        return parse_adapter_config(file.read(LARGEST_CONFIG + 1))


def _hash(path: Path, progress: Progress) -> ObjectId:
    digest = hashlib.sha256()
    progress.total(path.stat().st_size, what="Hashing")
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE_SIZE):
                digest.update(piece)
                progress.advance(len(piece))
    finally:
        progress.finish()
    return ObjectId(digest.hexdigest())


def _verify_other_layout(source: _Source, wish: ConvertWish) -> None:
    is_same = source.layout is (wish.layout or Layout.PEFT)
    if is_same and not source.layout.is_diffusers:
        raise InvalidInput(
            "usage",
            f"{source.path.name} is in the layout {source.layout} already: name another one "
            f"(--layout {' or '.join(layout for layout in Layout if layout is not source.layout)})."
            " To make a plain LoRA of another family, push it and convert the version: "
            "plait convert NS/NAME.",
        )


def _relayout(
    source: _Source, layout: Layout, options: RelayoutOptions
) -> tuple[Relayout, tuple[str, ...]]:
    """Return the outcome, and what of the source's metadata or configuration is lost."""
    from plait.algebra.relayout import from_peft, to_peft
    from plait.model.key_layouts.diffusers import METADATA_KEY

    config, tensors, lost = source.config, source.tensors, list[str]()
    if config is None:
        used = {METADATA_KEY, *METADATA}
        lost = [f"metadata {key}" for key in sorted(source.metadata) if key not in used]
        found = to_peft(tensors, metadata=source.metadata, options=options)
        if layout is Layout.PEFT:
            return found, tuple(lost)
        config = parse_adapter_config(json.dumps(dict(found.config or {})).encode())
        tensors = found.tensors
    else:
        lost = [f"{FILE_NAME} {name}" for name in _WITHOUT_PLACE if config.values.get(name)]
    return from_peft(config, tensors, layout, options=options), tuple(lost)


_WITHOUT_PLACE = ("base_model_name_or_path", "lora_dropout", "revision", "task_type")
"""Fields of PEFT's configuration that change no weight, and that the other layouts do not have."""


def _list_other_files(folder: Path, weights: Path) -> list[str]:
    """Return the files of a source that is a folder which have no part in the conversion."""
    if not folder.is_dir():
        return []
    names = sorted(path.name for path in folder.iterdir())
    return [f"file {name[:200]}" for name in names if name not in {weights.name, FILE_NAME}]


def _name_file(layout: Layout, wish: ConvertWish) -> str:
    if layout is Layout.PEFT:
        return WEIGHTS_FILE
    if layout.is_diffusers:
        return DIFFUSERS_FILE
    source = wish.source.resolve()
    name = wish.name or (source.name if source.is_dir() else source.stem)
    return f"{_UNUSABLE.sub('_', name).strip('. ')[:100] or 'lora'}.safetensors"


def _write_config(fields: Mapping[str, Any], base: Base | None, path: Path) -> None:
    named = dict(fields)
    if base is not None:
        named["base_model_name_or_path"] = base.name
        named["revision"] = base.revision
    with disk_errors(path):
        path.write_bytes((json.dumps(named, indent=2, sort_keys=True) + "\n").encode())
