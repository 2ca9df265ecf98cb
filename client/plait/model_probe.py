"""model-probe-v1: what a merged model answers to fixed tokens, and how its base answered.

- The base and the merged model are loaded one after the other. Rows are asked one by one, so that
  shapes, and with them the kernels, are always the same.
- In float32 by default, in which machines agree most closely; a model that is too large for that is
  asked in its own dtype, and compared with answers in the same.
- Logits of the base are kept in a temporary file up to `LARGEST_SPOOL`; later rows are not compared
  with it. So memory is that of one model and of one row's logits.

The digest of all logits is exact only in one environment: see `plait.model.output_probe`.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from plait.language_model import LanguageModel, describe, open_model, pick_device
from plait.model.ids import ObjectId
from plait.model.output_probe import MOST_PLACES, TOP, OutputProbe, Place
from plait.probe_tokens import ProbeTokens, draw_tokens

LARGEST_SPOOL = 1 << 30
"""Bytes: 2,048 places of a vocabulary of 131,072."""


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """Where and how a model is asked."""

    device: str = "auto"
    """`cpu`, `cuda`, or `auto`: a GPU where there is one."""
    dtype: str = "float32"
    """float32, bfloat16 or float16."""
    tokens: ProbeTokens | None = None
    """None: drawn ones."""


@dataclass(frozen=True, slots=True)
class ModelProbe:
    """What a merged model answered, and how it differs from its base."""

    outputs: OutputProbe
    health: Mapping[str, Any]
    """Figures for people: `divergence`, `largest_shift`, `not_finite`, `losses` by group."""


def probe_model(
    merged: Path, base: Path | None, options: ProbeOptions = ProbeOptions()
) -> ModelProbe:
    """Ask the model in the folder `merged`, after that in `base` where one is given.

    Raises:
        InvalidInput: `invalid-input`, transformers cannot load a folder as a language model, a
            weight of it is missing, or the tokens do not fit it.
        Unavailable: `unavailable`, torch or transformers is not installed, there is no GPU where
            one is wanted, or its memory is short.
    """
    device = pick_device(options.device)
    with tempfile.TemporaryFile() as spool:
        before = _BaseAnswers({}, [])
        tokens = options.tokens
        if base is not None:
            with open_model(base, device, options.dtype) as model:
                tokens = tokens or draw_tokens(model.vocabulary)
                before = _ask_base(model, tokens, spool)
        with open_model(merged, device, options.dtype) as model:
            tokens = tokens or draw_tokens(model.vocabulary)
            answers = _ask_merged(model, tokens, before.spooled, spool)
    outputs = OutputProbe(
        tokens=tokens.digest,
        dtype=options.dtype,
        digest=answers.digest,
        environment=describe(device),
        places=answers.places,
    )
    pairs = {
        name: {"base": before.losses.get(name), "merged": answers.losses[name]}
        for name in tokens.groups
    }
    health = {"tokens": tokens.count, **answers.health, "losses": pairs if tokens.are_text else {}}
    return ModelProbe(outputs, health)


@dataclass(frozen=True, slots=True)
class _BaseAnswers:
    """What the base answered."""

    losses: Mapping[str, float | None]
    spooled: Sequence[tuple[int, int]]
    """The shapes of the rows whose logits are in the temporary file."""


@dataclass(frozen=True, slots=True)
class _Answers:
    """What the merged model answered."""

    digest: ObjectId
    places: tuple[Place, ...]
    losses: Mapping[str, float | None]
    health: Mapping[str, float | int | None]


def _ask_base(model: LanguageModel, tokens: ProbeTokens, spool: IO[bytes]) -> _BaseAnswers:
    from plait.algebra.logit_figures import LogitFigures

    figures = LogitFigures()
    spooled: list[tuple[int, int]] = []
    is_full = False
    for name, row in tokens.list_rows():
        logits = model.ask(row)
        figures.add(name, row, logits)
        is_full = is_full or spool.tell() + logits.nbytes > LARGEST_SPOOL
        if not is_full:
            spool.write(logits.data)
            spooled.append(logits.shape)
    spool.seek(0)
    return _BaseAnswers({name: figures.find_loss(name) for name in tokens.groups}, spooled)


def _ask_merged(
    model: LanguageModel,
    tokens: ProbeTokens,
    spooled: Sequence[tuple[int, int]],
    spool: IO[bytes],
) -> _Answers:
    from plait.algebra.logit_figures import LogitFigures, list_top

    digest = hashlib.sha256()
    figures = LogitFigures()
    wanted = spread_places(tokens.count)
    places: list[Place] = []
    start = 0
    for number, (name, row) in enumerate(tokens.list_rows()):
        logits = model.ask(row)
        digest.update(logits.astype("<f4", copy=False).data)
        base = _read_logits(spool, spooled[number]) if number < len(spooled) else None
        # An adapter may bring a larger vocabulary, whose logits cannot be paired with the base's.
        is_paired = base is not None and base.shape == logits.shape
        figures.add(name, row, logits, base=base if is_paired else None)
        for position in wanted:
            if start <= position < start + len(row):
                top = list_top(logits[position - start], TOP)
                places.append(Place(position, *_split(top)))
        start += len(row)
    return _Answers(
        digest=ObjectId(digest.hexdigest()),
        places=tuple(places),
        losses={name: figures.find_loss(name) for name in tokens.groups},
        health={
            "divergence": figures.divergence,
            "largest_shift": figures.largest_shift,
            "not_finite": figures.not_finite,
        },
    )


def _read_logits(spool: IO[bytes], shape: tuple[int, int]) -> Any:
    from plait.algebra.logit_figures import view_logits

    return view_logits(spool.read(4 * shape[0] * shape[1]), shape)


def spread_places(count: int) -> list[int]:
    """Return up to `MOST_PLACES` of so many places, as evenly spread as whole numbers are."""
    wanted = min(count, MOST_PLACES)
    return [(2 * index + 1) * count // (2 * wanted) for index in range(wanted)]


def _split(top: Sequence[tuple[int, float]]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    return tuple(token for token, _ in top), tuple(logit for _, logit in top)
