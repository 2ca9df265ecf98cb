"""A database of many repositories with long histories, written by the registry's own tables.

Every commit has a manifest of its own, of the size that a small adapter's has; every repository is
one line of commits on `main`, and every 25th commit has a tag. There are no weights behind them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from plait.model.address import RepositoryName
from plait.model.commit import Base, Commit, Origin, OriginKind, Person
from plait.model.ids import CommitId, ManifestId, ObjectId, hash_bytes
from plait.model.manifest import File, Manifest, Tensor, TensorTable
from plait.model.paths import FilePath
from plait.model.refs import RefKind, RefName, RefUpdate
from plait_registry.adapters.sql.database import SqlDatabase
from plait_registry.domain.ancestry import Link, choose_skip
from plait_registry.domain.ports import Records
from plait_registry.domain.records import CommitRow, NewRepository

NAMESPACE = "bench"
BASE = "benchmark/base"
NOW = "2026-11-24T06:07:00Z"
TENSORS = 8
TAG_EVERY = 25
BATCH = 25
"""Repositories of one transaction."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """A tag that can be resolved."""

    repository: str
    tag: str
    commit: CommitId
    manifest: ManifestId


def fill(url: str, *, repositories: int, commits: int) -> list[Tagged]:
    """Write so many repositories of so many commits each; return their tags."""
    database = SqlDatabase(url)
    try:
        database.migrate()
        tagged: list[Tagged] = []
        for first in range(0, repositories, BATCH):
            numbers = range(first, min(first + BATCH, repositories))
            with database.write() as records:
                for number in numbers:
                    tagged += _write_repository(records, number, commits)
        return tagged
    finally:
        database.close()


def _write_repository(records: Records, number: int, count: int) -> list[Tagged]:
    name = RepositoryName(NAMESPACE, f"adapter-{number}")
    repository = records.repositories.insert(
        NewRepository(name, "", NOW, private=False, salt=number.to_bytes(16, "big"))
    ).id
    rows, manifests = [], {}
    for row, body in _make_history(number, count):
        rows.append(row)
        manifests[row.manifest] = body
    records.files.insert_manifests(manifests)
    records.commits.insert(repository, rows)
    _point(records, repository, RefKind.BRANCH, "main", rows[-1])
    tagged = []
    for position, row in enumerate(rows):
        if position % TAG_EVERY == 0:
            _point(records, repository, RefKind.TAG, f"v{position}", row)
            tagged.append(Tagged(str(name), f"v{position}", row.id, row.manifest))
    return tagged


def _point(records: Records, repository: int, kind: RefKind, name: str, row: CommitRow) -> None:
    update = RefUpdate(kind, RefName(name), None, row.id)
    records.refs.compare_and_set(repository, update)


def _make_history(number: int, count: int) -> Iterator[tuple[CommitRow, bytes]]:
    """Yield commits, parents first, each with its manifest's bytes.

    Canonical JSON of so many takes minutes: all but the digests is written once.
    """
    chain: list[Link] = []
    by_id: dict[CommitId, Link] = {}
    for depth in range(count):
        digest = hash_bytes(f"{number}/{depth}".encode())
        manifest = MANIFEST.replace(ANY_FILE, digest.encode())
        manifest_id = ManifestId(hash_bytes(manifest))
        parents = (chain[-1].id,) if chain else ()
        body = (CHILD if chain else ROOT).replace(ANY_MANIFEST, manifest_id.encode())
        body = body.replace(ANY_PARENT, b"".join(parent.encode() for parent in parents))
        commit = CommitId(hash_bytes(body))
        link = Link(commit, depth, _skip(chain, by_id))
        chain.append(link)
        by_id[commit] = link
        row = CommitRow(
            id=commit,
            body=body,
            manifest=manifest_id,
            parents=parents,
            generation=depth + 1,
            depth=depth,
            skip=link.skip,
            time=NOW,
            adapter_type="LORA",
            base=BASE,
            size=TENSORS << 20,
        )
        yield row, manifest


def _skip(chain: Sequence[Link], by_id: Mapping[CommitId, Link]) -> CommitId | None:
    if not chain:
        return None
    parent = chain[-1]
    landing = by_id[parent.skip] if parent.skip else chain[0]
    beyond = by_id[landing.skip] if landing.skip else chain[0]
    return choose_skip(parent, landing, beyond)


def _make_manifest(weights: str) -> bytes:
    size = 1 << 20
    header = 1024
    entries = tuple(
        Tensor(
            name=f"base_model.model.model.layers.{number // 2}.self_attn.q_proj.lora_"
            f"{'AB'[number % 2]}.weight",
            dtype="BF16",
            shape=(16, size // 32),
            offset=header + number * size,
            size=size,
            sha256=hash_bytes(f"tensor {number}".encode()),
        )
        for number in range(TENSORS)
    )
    table = TensorTable(header_sha256=hash_bytes(b"header"), entries=entries)
    path, config = FilePath("adapter_model.safetensors"), FilePath("adapter_config.json")
    files = [
        File(path, header + TENSORS * size, ObjectId(weights), table),
        File(config, 600, hash_bytes(b"config"), None),
    ]
    return Manifest.of(files).to_bytes()


def _make_commit(manifest: str, *parents: str) -> bytes:
    return Commit(
        manifest=ManifestId(manifest),
        parents=tuple(CommitId(parent) for parent in parents),
        author=Person("Benchmark", ""),
        time=NOW,
        message="A version",
        base=Base(BASE, None, None),
        origin=Origin(OriginKind.TRAINING, {}),
    ).to_bytes()


ANY_FILE, ANY_MANIFEST, ANY_PARENT = (letter * 64 for letter in (b"d", b"e", b"f"))
MANIFEST = _make_manifest(ANY_FILE.decode())
ROOT = _make_commit(ANY_MANIFEST.decode())
CHILD = _make_commit(ANY_MANIFEST.decode(), ANY_PARENT.decode())
