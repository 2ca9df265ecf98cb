"""Documents and weights as the first version wrote them; every later one must read them the same.

The files are never written anew: when a format grows, files of the new form are added beside them.
`ids.json` says what each is called; `sha256sum` gives the same.
"""

import hashlib
import json
from pathlib import Path

import pytest

from plait.model.commit import Base, Commit, Origin, OriginKind, Person
from plait.model.digesting import digest_file
from plait.model.ids import ObjectId
from plait.model.manifest import File, Manifest
from plait.model.paths import FilePath, parse_path
from plait.model.safetensors_layout import header_size, parse_header

GOLDEN = Path(__file__).parent
IDS: dict[str, dict[str, str]] = json.loads((GOLDEN / "ids.json").read_text("utf-8"))


def read(kind: str, name: str) -> bytes:
    return (GOLDEN / kind / name).read_bytes()


def test_every_golden_file_has_its_id() -> None:
    found = {
        folder.name: {
            path.name.removesuffix(".json"): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.iterdir()
        }
        for folder in GOLDEN.iterdir()
        if folder.is_dir() and folder.name in IDS
    }
    assert found == IDS


@pytest.mark.parametrize("name", sorted(IDS["manifests"]))
def test_golden_manifest_is_read_and_written_again_the_same(name: str) -> None:
    data = read("manifests", f"{name}.json")
    manifest = Manifest.from_bytes(data)
    assert manifest.to_bytes() == data
    assert manifest.id == IDS["manifests"][name]


@pytest.mark.parametrize("name", sorted(IDS["commits"]))
def test_golden_commit_is_read_and_written_again_the_same(name: str) -> None:
    data = read("commits", f"{name}.json")
    commit = Commit.from_bytes(data)
    assert commit.to_bytes() == data
    assert commit.id == IDS["commits"][name]
    assert commit.manifest in IDS["manifests"].values()
    assert set(commit.parents) <= set(IDS["commits"].values())


def test_every_origin_but_none_twice_is_among_the_golden_commits() -> None:
    commits = [Commit.from_bytes(read("commits", f"{name}.json")) for name in IDS["commits"]]
    assert {commit.origin.kind for commit in commits} == set(OriginKind)


def test_golden_commit_means_what_it_meant() -> None:
    commit = Commit.from_bytes(read("commits", "side.json"))
    assert commit == Commit(
        manifest=Manifest.from_bytes(read("manifests", "prose-v1.json")).id,
        parents=(Commit.from_bytes(read("commits", "root.json")).id,),
        author=Person("Žofie Åkesson", ""),
        time="2026-11-25T00:00:59Z",
        message='Prose — 散文 😀\n\nSecond line\twith "quotes" and \\.\n',
        base=Base("micro/base"),
        origin=Origin(OriginKind.TRAINING),
    )
    facts = Commit.from_bytes(read("commits", "composition.json")).origin.facts
    assert facts["recipe"]["inputs"][1]["weight"] == 1e-7
    assert facts["recipe"]["ﬁ"] == [1e21, -1.5, 5e-324, 123456789012345680000.0]


def test_golden_paths_mean_what_they_meant() -> None:
    manifest = Manifest.from_bytes(read("manifests", "names.json"))
    assert [file.path for file in manifest.files] == [
        "README.md",
        "Z.txt",
        "a b/c'd.json",
        "adapter_config.json",
        "notes/日本語.txt",
        "notes/ﬁ😀.txt",
        'quote"d.txt',
    ]


def test_golden_weights_are_described_as_they_were() -> None:
    data = read("weights", "small.safetensors")
    path = FilePath("small.safetensors")
    file = digest_file(path, len(data), [data])
    assert Manifest.of([file]).to_bytes() == read("manifests", "small.json")
    end = header_size(data[:8], file_size=len(data))
    layout = parse_header(data[:end], file_size=len(data))
    assert layout.metadata == {"format": "pt", "note": "é 😀"}
    assert [(t.name, t.dtype, t.shape, t.offset, t.size) for t in layout.tensors] == [
        ("z", "F32", (2, 1), 432, 8),
        ("empty", "BF16", (0, 4), 440, 0),
        ("café.weight", "BF16", (3,), 440, 6),
        ("scalar", "U8", (), 446, 1),
        ("packed", "F4", (2, 2), 447, 2),
        ("last", "I64", (1, 0), 449, 0),
    ]


@pytest.mark.parametrize("name", ["cpp-v1", "cpp-v2", "prose-v1"])
def test_real_adapter_is_described_as_it_was(name: str, micro_data: Path) -> None:
    folder = micro_data / "adapters" / name.replace("-", "/")
    manifest = Manifest.of(describe(path) for path in folder.iterdir())
    assert manifest.to_bytes() == read("manifests", f"{name}.json")
    assert manifest.id == IDS["manifests"][name]


def describe(path: Path) -> File:
    data = path.read_bytes()
    return digest_file(parse_path(path.name), len(data), [data])


def test_digest_of_nothing_is_the_well_known_one() -> None:
    data = read("weights", "small.safetensors")
    table = digest_file(FilePath("x.safetensors"), len(data), [data]).tensors
    assert table is not None
    assert table.entries[1].sha256 == ObjectId(hashlib.sha256(b"").hexdigest())
