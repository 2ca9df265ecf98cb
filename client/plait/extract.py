"""Extracting: a full fine-tune minus its base becomes an adapter, and a version of a branch.

(1) complete the options by what the base's configuration tells, and fingerprint both models;
(2) see where the branch is, so that a missing repository is found before anything is computed;
(3) compute in a temporary folder;
(4) commit with both fingerprints and all options in the origin, and push. A branch that has this
    very outcome already is left alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.compose import ARITHMETIC
from plait.describe import describe_folder
from plait.destination import write_destination
from plait.errors import InvalidInput
from plait.extract_folder import (
    ExtractionPlan,
    ModelPair,
    complete_options,
    describe_task,
    extract_folder,
    find_base_name,
)
from plait.fingerprint import fingerprint_base
from plait.model.address import RepositoryName
from plait.model.commit import Base, Commit, Origin, OriginKind, Person
from plait.model.fields import Fields
from plait.model.ids import ManifestId, ObjectId, abbreviate, parse_object_id
from plait.model.refs import DEFAULT_BRANCH, RefName
from plait.module_figures import fit_modules
from plait.progress import NO_PROGRESS, Progress
from plait.push_folder import FolderPush, Pushed, find_head, push_folder
from plait.transport import Transport

if TYPE_CHECKING:
    from plait.algebra.extract import ExtractOptions
    from plait.algebra.extraction_report import ExtractedAdapter

NOTE = "extraction"
"""The kind of note that figures hang on a commit as."""
_FACTS = ("base", "tuned", "options", "task_type", "arithmetic")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractWish:
    """What to extract."""

    pair: ModelPair
    options: ExtractOptions
    base: Base | None = None
    """Name and revision of the base; None: what its own configuration says."""
    threads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractTarget:
    """Where the outcome goes, and what its commit shall say."""

    repository: RepositoryName
    author: Person
    time: str
    """UTC, as 2026-11-24T06:07:00Z."""
    branch: RefName = DEFAULT_BRANCH
    message: str | None = None
    """None: one that names the base and the size."""
    create: bool = False
    """Make the repository where it is absent."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """What an extraction gave."""

    pushed: Pushed
    facts: Mapping[str, Any]
    """Of the origin."""
    adapter: ExtractedAdapter


@dataclass(frozen=True, slots=True)
class ExtractedFolder:
    """What an extraction into a folder gave."""

    manifest: ManifestId
    facts: Mapping[str, Any]
    adapter: ExtractedAdapter


def extract(
    transport: Transport,
    wish: ExtractWish,
    target: ExtractTarget,
    progress: Progress = NO_PROGRESS,
) -> Extracted:
    """Extract as the module says.

    Raises:
        InvalidInput: the two models do not belong together, or cannot become what the options ask
            for; nothing was published.
        NotFound: the repository is not there, and `create` is off.
        Conflict: somebody else moved the branch meanwhile; nothing was published.
    """
    # (1) complete.
    plan, facts = _prepare(wish, progress)
    # (2) find the branch.
    if not target.create:  # else it is made once there is something to put into it
        find_head(transport, target.repository, target.branch, create=False)
    with tempfile.TemporaryDirectory(prefix="plait-extract-") as name:
        # (3) compute.
        adapter = extract_folder(
            wish.pair, plan, Path(name), threads=wish.threads, progress=progress
        )
        # (4) commit and push.
        push = FolderPush(
            folder=Path(name),
            message=target.message or describe_extraction(plan, adapter),
            author=target.author,
            time=target.time,
            branch=target.branch,
            base=plan.base,
            origin=Origin(OriginKind.EXTRACTION, facts),
            notes={NOTE: summarise(adapter)},
            create=target.create,
        )
        pushed = push_folder(transport, target.repository, push, progress)
    return Extracted(pushed, facts, adapter)


def extract_to_folder(
    wish: ExtractWish,
    destination: Path,
    *,
    force: bool = False,
    progress: Progress = NO_PROGRESS,
) -> ExtractedFolder:
    """Extract into a folder, and push nothing; raises as `extract`, and as `write_destination`."""
    plan, facts = _prepare(wish, progress)
    with tempfile.TemporaryDirectory(prefix="plait-extract-") as name:
        adapter = extract_folder(
            wish.pair, plan, Path(name), threads=wish.threads, progress=progress
        )
        description = describe_folder(Path(name), progress=progress)
        write_destination(description.sources, destination, force=force)
    return ExtractedFolder(description.manifest.id, facts, adapter)


def extract_again(
    commit: Commit, pair: ModelPair, into: Path, *, threads: int, progress: Progress
) -> Mapping[str, Any]:
    """Write into an empty folder what a version was extracted as, and return its facts.

    Raises:
        InvalidInput: `recipe-missing`, the origin does not tell, or by another definition;
            `base-mismatch`, the folders hold other models.
    """
    facts = commit.origin.facts
    plan, base, tuned = read_facts(commit)
    for folder, wanted in ((pair.base, base), (pair.tuned, tuned)):
        found = fingerprint_base(folder, progress=progress)
        if found != wanted:
            raise InvalidInput(
                "base-mismatch",
                f"The version was extracted from models of which one is {abbreviate(wanted)}, and "
                f"{folder} holds {abbreviate(found)}: name the folder of the same weights.",
                expected=wanted,
                actual=found,
            )
    extract_folder(pair, plan, into, threads=threads, progress=progress)
    return facts


def read_facts(commit: Commit) -> tuple[ExtractionPlan, ObjectId, ObjectId]:
    """Return how a version was extracted, and the fingerprints of its base and its fine-tune.

    Raises:
        InvalidInput: `recipe-missing` or `invalid-recipe`.
    """
    from plait.algebra.extraction_options import options_from_json

    facts = dict(commit.origin.facts)
    if facts.get("arithmetic") != ARITHMETIC:
        raise InvalidInput(
            "recipe-missing",
            f"The version was extracted by the definition {facts.get('arithmetic')!r:.80}, and "
            f"this version of plait knows {ARITHMETIC!r}: use the version that extracted it.",
        )
    fields = Fields(facts, kind="invalid-recipe", where="The origin of the version")
    fields.only(_FACTS)
    plan = ExtractionPlan(
        options=options_from_json(fields.get("options")),
        base=commit.base,
        task_type=fields.optional_text("task_type"),
    )
    return plan, parse_object_id(fields.get("base")), parse_object_id(fields.get("tuned"))


def summarise(adapter: ExtractedAdapter) -> dict[str, Any]:
    """Return what a note says of an extraction: in all, and of as many modules as fit into it."""
    document = adapter.to_json()
    return {**document, **fit_modules(document["modules"])}


def describe_extraction(plan: ExtractionPlan, adapter: ExtractedAdapter) -> str:
    """Return a commit's message that says what was extracted."""
    options = plan.options
    size = [f"rank {options.rank}"] if options.rank is not None else []
    size += [f"energy {options.energy:g}"] if options.energy is not None else []
    return (
        f"Extract a fine-tune of {plan.base.name} at {' and '.join(size)}\n\n"
        f"{adapter.kept:.2%} of the squared norm of its change is kept."
    )


def _prepare(wish: ExtractWish, progress: Progress) -> tuple[ExtractionPlan, dict[str, Any]]:
    """Return how to extract, and the facts that a commit records of it."""
    from plait.algebra.extraction_options import options_to_json

    pair = wish.pair
    base = wish.base or Base(find_base_name(pair.base))
    options = complete_options(pair, wish.options)
    fingerprint = fingerprint_base(pair.base, progress=progress)
    plan = ExtractionPlan(
        options=options,
        base=replace(base, fingerprint=fingerprint),
        task_type=describe_task(pair.base),
    )
    facts = {
        "base": fingerprint,
        "tuned": fingerprint_base(pair.tuned, progress=progress),
        "options": options_to_json(options),
        "task_type": plan.task_type,
        "arithmetic": ARITHMETIC,
    }
    return plan, facts
