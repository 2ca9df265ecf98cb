"""What a hostile hand can do to a bundle, and that none of it passes."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plait.bundle import contents as bundle_contents
from plait.bundle.archive import BLOCK, END, Member, make_header, read_first_size
from plait.bundle.contents import NAME, CarriedFile
from plait.bundle.plan import RegionCheck
from plait.bundle.verify import verify_bundle
from plait.errors import Integrity, InvalidInput, NotFound, PlaitError, TooLarge
from plait.model.digesting import digest_file
from plait.model.paths import FilePath
from reference.bundles import (
    KIB,
    MemorySource,
    bundle,
    forge,
    make_history,
    noise,
    read_members,
    replace_document,
    write_members,
)
from reference.memory_registry import make_version
from reference.safetensors_writer import write

Document = dict[str, Any]


@pytest.fixture
def source() -> MemorySource:
    return make_history()


@pytest.fixture
def path(tmp_path: Path, source: MemorySource) -> Path:
    return bundle(source, tmp_path / "x.plait").path


def refuse(path: Path, kind: str = "invalid-bundle", match: str | None = None) -> PlaitError:
    with pytest.raises(PlaitError, match=match) as caught:
        verify_bundle(path)
    assert caught.value.kind == kind, caught.value
    return caught.value


def test_intact_bundle_passes_and_tells_what_it_holds(path: Path, source: MemorySource) -> None:
    verified = verify_bundle(path)
    assert verified.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert verified.size == path.stat().st_size
    assert verified.commits == {key: item.commit for key, item in source.commits.items()}
    assert verified.files.keys() == source.contents.keys()
    assert verified.files_in_part == 0


def test_every_file_can_be_put_together_from_where_it_lies(
    path: Path, source: MemorySource
) -> None:
    data = path.read_bytes()
    for digest, places in verify_bundle(path).files.items():
        pieces = [data[p.at : p.at + p.end - p.begin] for p in places.pieces if p.at is not None]
        assert b"".join(pieces) == source.contents[digest]


def test_link_to_a_bundle_is_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path)
    verify_bundle(tmp_path / "link")


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1024])
def test_beginning_of_a_bundle_is_refused(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])
    refuse(path)


def test_every_cut_is_told_as_such(path: Path) -> None:
    data = path.read_bytes()
    for size in (len(data) - 1, len(data) - 1024, len(data) // 2, 5_000):
        path.write_bytes(data[:size])
        assert "cut off" in refuse(path).message


@pytest.mark.parametrize("junk", [b"\0", bytes(1024), b"junk"])
def test_bytes_after_the_end_are_refused(path: Path, junk: bytes) -> None:
    path.write_bytes(path.read_bytes() + junk)
    refuse(path, match="after its end")


def test_absent_file_folder_and_pipe_are_refused(tmp_path: Path) -> None:
    refuse(tmp_path / "absent", "file-not-found")
    refuse(tmp_path, "not-a-regular-file")
    os.mkfifo(tmp_path / "pipe")
    refuse(tmp_path / "pipe", "not-a-regular-file")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refuse(tmp_path / "loop", "file-not-found")


@pytest.mark.parametrize("data", [b"", b"PK\3\4" * 500, b"\x1f\x8b" + bytes(2_000), bytes(4_096)])
def test_something_else_is_no_bundle(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    refuse(tmp_path / "x", match="not a bundle")


def test_tar_with_a_link_a_device_or_a_way_out_is_refused(path: Path) -> None:
    members = read_members(path)
    for change in (
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.CHRTYPE},
        {"type": tarfile.GNUTYPE_SPARSE},
        {"type": tarfile.XHDTYPE},
        {"name": "../../etc/cron.d/x"},
        {"name": "/etc/passwd"},
        {"mode": 0o4755},
        {"uid": 1000},
        {"mtime": 1},
        {"uname": "root"},
    ):
        with tarfile.open(path, "w:", format=tarfile.USTAR_FORMAT) as archive:
            for number, (name, data) in enumerate(members.items()):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                for key, value in change.items() if number == 1 else ():
                    setattr(info, key, value)
                archive.addfile(info, io.BytesIO(data))
        refuse(path)


def test_member_that_is_missing_double_or_more_is_refused(path: Path) -> None:
    members = read_members(path)
    names = list(members)
    for number in (1, len(names) // 2, len(names) - 1):
        write_members(path, {k: v for k, v in members.items() if k != names[number]})
        refuse(path)
    write_members(path, {**members, "files/" + "0" * 64: b"more"})
    refuse(path)
    write_members(path, {"before": b"", **members})
    refuse(path)


def test_members_in_another_order_are_refused(path: Path) -> None:
    members = read_members(path)
    names = list(members)
    names[1], names[2] = names[2], names[1]
    write_members(path, {name: members[name] for name in names})
    refuse(path)


@pytest.mark.parametrize("folder", ["commits", "manifests"])
def test_document_with_other_bytes_is_refused(path: Path, folder: str) -> None:
    members = read_members(path)
    name = next(name for name in members if name.startswith(folder))
    members[name] = members[name].replace(b'"', b"'", 1)
    write_members(path, members)
    refuse(path, "digest-mismatch", match=folder)


@pytest.mark.parametrize("folder", ["files", "parts"])
def test_file_with_other_bytes_is_refused(path: Path, folder: str) -> None:
    members = read_members(path)
    name = next(name for name in members if name.startswith(folder))
    members[name] = members[name][:-1] + bytes([members[name][-1] ^ 1])
    write_members(path, members)
    refuse(path, "digest-mismatch")


@pytest.mark.parametrize("position", [0, 9, 400, -1])
def test_part_for_a_prerequisite_with_other_bytes_is_refused(
    tmp_path: Path, source: MemorySource, position: int
) -> None:
    second = source.commits[source.refs["main"].target].commit.parents[0]
    path = bundle(source, tmp_path / "y", since=[second]).path
    assert verify_bundle(path).files_in_part == 1
    members = read_members(path)
    name = next(name for name in members if name.startswith("parts"))
    data = bytearray(members[name])
    data[position] ^= 1
    write_members(path, {**members, name: bytes(data)})
    refuse(path, "digest-mismatch")


def change_contents(name: str, value: Any) -> Callable[[Document], None]:
    return lambda contents: contents.__setitem__(name, value)


def edit(folder: str, **changes: Any) -> Callable[[Document], None]:
    return lambda contents: contents[folder][-1].update(changes)


HOSTILE: dict[str, Callable[[Document], None]] = {
    "another format": change_contents("format", "plait.bundle/2"),
    "an unknown field": change_contents("extra", 1),
    "no refs": change_contents("refs", []),
    "no commits": change_contents("commits", []),
    "refs of a wrong type": change_contents("refs", {}),
    "refs in another order": lambda c: c["refs"].reverse(),
    "a ref twice": lambda c: c["refs"].insert(0, c["refs"][0]),
    "a branch and a tag of one name": edit("refs", name="main"),
    "a ref of another kind": edit("refs", kind="symbolic"),
    "a ref elsewhere": edit("refs", target="0" * 64),
    "a ref's name with a way out": edit("refs", name="../x"),
    "a commit twice": lambda c: c["commits"].append(c["commits"][0]),
    "a commit that is a prerequisite": lambda c: c["prerequisites"].append(c["commits"][0]),
    "an id that is none": edit("commits", id="../../../etc/passwd"),
    "a size below zero": edit("commits", size=-1),
    "a size that is no number": edit("files", size="7"),
    "a size that is true": edit("files", size=True),
    "a commit of a gigabyte": edit("commits", size=1 << 30),
    "a manifest of a gigabyte": edit("manifests", size=1 << 30),
    "a file of a petabyte": edit("files", size=1 << 50),
    "another size of a file": edit("files", size=70_001),
    "a manifest twice": lambda c: c["manifests"].append(c["manifests"][0]),
    "a file twice": lambda c: c["files"].append(c["files"][0]),
    "empty ranges": edit("files", ranges=[]),
    "ranges of one number": edit("files", ranges=[[1]]),
    "ranges that are no lists": edit("files", ranges=[1, 2]),
    "ranges of texts": edit("files", ranges=[["0", "1"]]),
    "ranges backwards": edit("files", ranges=[[8, 4]]),
    "ranges out of order": edit("files", ranges=[[4, 8], [0, 2]]),
    "ranges that touch": edit("files", ranges=[[0, 4], [4, 8]]),
    "ranges that overlap": edit("files", ranges=[[0, 4], [2, 8]]),
    "ranges behind the end": edit("files", ranges=[[0, 1 << 40]]),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_table_of_contents_with_a_lie_is_refused(path: Path, what: str) -> None:
    forge(path, HOSTILE[what])
    with pytest.raises((InvalidInput, Integrity, TooLarge)):
        verify_bundle(path)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"null", b"{" * 100_000, b'{"format":NaN}', b"\xff\xfe", b'{"a":1,"a":2}'],
)
def test_table_of_contents_that_is_no_table_is_refused(path: Path, data: bytes) -> None:
    write_members(path, {**read_members(path), NAME: data})
    with pytest.raises(InvalidInput):
        verify_bundle(path)


def test_table_of_contents_in_other_json_is_refused(path: Path) -> None:
    members = read_members(path)
    write_members(path, {**members, NAME: json.dumps(json.loads(members[NAME])).encode()})
    refuse(path, match="canonical")


def test_huge_table_of_contents_is_refused_before_it_is_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with path.open("r+b") as file:
        file.write(make_header(Member(NAME, 7 << 30)))
    refuse(path, "bundle-too-large")
    monkeypatch.setattr(bundle_contents, "MOST_MARKS", 50)
    write_members(path, {NAME: b"[" + b"[]," * 100 + b"[]]"})
    refuse(path, "bundle-too-large")


def test_part_that_leaves_out_a_tensor_that_nobody_has_is_refused(path: Path) -> None:
    def leave_out(contents: Document) -> None:
        file = next(f for f in contents["files"] if f["size"] > 100 * KIB and "ranges" not in f)
        file["ranges"] = [[0, file["size"] - 900]]

    forge(path, leave_out)
    with pytest.raises((InvalidInput, Integrity)):
        verify_bundle(path)


def test_part_without_its_header_is_refused(path: Path) -> None:
    members = read_members(path)
    contents = json.loads(members[NAME])
    part = next(file for file in contents["files"] if "ranges" in file)
    begin, end = part["ranges"][0]
    part["ranges"][0] = [begin + 8, end]
    name = f"parts/{part['sha256']}"
    members[name] = members[name][8:]
    members[NAME] = json.dumps(contents, sort_keys=True, separators=(",", ":")).encode()
    write_members(path, members)
    refuse(path, match="other parts")


def test_file_that_no_version_names_is_refused(path: Path) -> None:
    members = read_members(path)
    contents = json.loads(members[NAME])
    stray = hashlib.sha256(b"stray").hexdigest()
    contents["files"].append({"sha256": stray, "size": 5})
    members[NAME] = json.dumps(contents, sort_keys=True, separators=(",", ":")).encode()
    write_members(path, {**members, f"files/{stray}": b"stray"})
    refuse(path, match="no version")


def test_file_that_is_left_out_is_told(path: Path) -> None:
    members = read_members(path)
    contents = json.loads(members[NAME])
    gone = contents["files"].pop()
    members = {name: data for name, data in members.items() if gone["sha256"] not in name}
    members[NAME] = json.dumps(contents, sort_keys=True, separators=(",", ":")).encode()
    write_members(path, members)
    refuse(path, "bundle-incomplete")


def test_commit_without_its_parent_is_told(path: Path) -> None:
    members = read_members(path)
    contents = json.loads(members[NAME])
    gone = contents["commits"].pop(0)
    contents["refs"] = [ref for ref in contents["refs"] if ref["target"] != gone["id"]]
    del members[f"commits/{gone['id']}.json"]
    members[NAME] = json.dumps(contents, sort_keys=True, separators=(",", ":")).encode()
    write_members(path, members)
    assert refuse(path, "bundle-incomplete").details["parent"] == gone["id"]


def test_commit_that_names_another_manifest_is_refused(tmp_path: Path) -> None:
    source = MemorySource()
    source.commit("only", lora=noise(10, 1))
    path = bundle(source, tmp_path / "x").path
    before = path.read_bytes()
    replace_document(path, "commits", lambda commit: commit.update(manifest="0" * 64))
    forge(path, lambda c: c["refs"][0].update(target=c["commits"][0]["id"]))
    assert path.read_bytes() != before
    refuse(path, match="in order")


def test_version_that_lies_about_its_weights_is_refused(tmp_path: Path) -> None:
    source = MemorySource()
    version = make_version("lie", tensors={"lora": noise(100, 1)})
    manifest = json.loads(json.dumps(version.manifest))
    manifest["files"][1]["tensors"]["entries"][0]["sha256"] = "0" * 64
    source.point("main", source.add(version.describe(manifest)))
    refuse(bundle(source, tmp_path / "x").path, "digest-mismatch")


def test_header_that_breaks_a_rule_of_safetensors_is_refused(tmp_path: Path) -> None:
    version = make_version("lie", tensors={"lora": noise(100, 1)})
    manifest = json.loads(json.dumps(version.manifest))
    entry = manifest["files"][1]
    spoilt = version.contents[entry["sha256"]].replace(b'"U8"', b'"Q8"')
    entry["sha256"] = hashlib.sha256(spoilt).hexdigest()
    header = spoilt[: entry["tensors"]["entries"][0]["offset"]]
    entry["tensors"]["header_sha256"] = hashlib.sha256(header).hexdigest()
    source = MemorySource()
    source.point("main", source.add(version.describe(manifest)))
    source.contents[entry["sha256"]] = spoilt
    refuse(bundle(source, tmp_path / "x").path, "invalid-safetensors")


def test_header_of_a_part_that_says_something_else_is_refused(tmp_path: Path) -> None:
    embedding = noise(100 * KIB, 1)
    source = MemorySource()
    first = source.commit("first", embed=embedding, lora=noise(100, 2))
    version = make_version("lie", first, tensors={"embed": embedding, "lora": noise(100, 3)})
    manifest = json.loads(json.dumps(version.manifest))
    entry = manifest["files"][1]
    data = version.contents[entry["sha256"]]
    spoilt = data.replace(b'"lora"', b'"fora"')
    entry["sha256"] = hashlib.sha256(spoilt).hexdigest()
    header = spoilt[: entry["tensors"]["entries"][0]["offset"]]
    entry["tensors"]["header_sha256"] = hashlib.sha256(header).hexdigest()
    source.point("main", source.add(version.describe(manifest)))
    source.contents[entry["sha256"]] = spoilt
    refuse(bundle(source, tmp_path / "x", since=[first]).path, "digest-mismatch", match="header")


def test_two_versions_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    source = MemorySource()
    first = source.commit("first", lora=noise(100, 1))
    version = make_version("second", first, tensors={"lora": noise(100, 1)}, more={"a.txt": b"x"})
    manifest = json.loads(json.dumps(version.manifest))
    manifest["files"][2]["tensors"]["entries"][0]["name"] = "other"
    source.point("main", source.add(version.describe(manifest)))
    refuse(bundle(source, tmp_path / "x").path, match="different things")


def test_prerequisite_that_gives_a_file_another_size_is_refused(tmp_path: Path) -> None:
    source = MemorySource()
    first = source.commit("first")
    version = make_version("second", first)
    manifest = json.loads(json.dumps(version.manifest))
    manifest["files"][0]["size"] += 1
    source.point("main", source.add(version.describe(manifest)))
    refuse(bundle(source, tmp_path / "x", since=[first]).path, match="different things")


def test_same_bytes_under_a_name_without_tensors_pass(tmp_path: Path) -> None:
    weights = write({"lora": ("U8", (100,), noise(100, 1))})
    for more in ({"a.copy": weights}, {"z.copy": weights}):
        source = MemorySource()
        version = make_version("one", tensors={"lora": noise(100, 1)}, more=more)
        source.point("main", source.add(version))
        assert len(verify_bundle(bundle(source, tmp_path / "x").path).files) == 2


def test_file_that_shrinks_while_it_is_read_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plait.bundle import verify as bundle_verify

    digest = bundle_verify._digest

    def shrink(*arguments: Any) -> str:
        found = digest(*arguments)
        os.truncate(path, 2_000)
        return found

    monkeypatch.setattr(bundle_verify, "_digest", shrink)
    refuse(path, "size-mismatch")


@pytest.mark.parametrize("size", [0, 1, 8**11 - 1, 8**11, 50_000_000_000])
def test_header_is_what_other_tar_programs_write_and_read(size: int) -> None:
    header = make_header(Member("files/x", size))
    assert len(header) == BLOCK
    info = tarfile.TarInfo.frombuf(header, "ascii", "strict")
    assert (info.name, info.size, info.isreg()) == ("files/x", size, True)
    theirs = tarfile.TarInfo("files/x")
    theirs.size = size
    assert theirs.tobuf(tarfile.GNU_FORMAT)[124:136] == header[124:136]


@pytest.mark.parametrize(
    "field", [b"0000000001 \0", b"+0000000010\0", b"9" * 11 + b"\0", bytes(12)]
)
def test_odd_size_of_the_first_member_is_refused(field: bytes) -> None:
    header = bytearray(make_header(Member(NAME, 8)))
    header[124:136] = field
    with pytest.raises(InvalidInput):
        read_first_size(bytes(header), NAME)


def test_end_is_two_blocks_of_zeros(path: Path) -> None:
    data = bytearray(path.read_bytes())
    assert data[-len(END) :] == END
    data[-1] = 1
    path.write_bytes(data)
    refuse(path, match="end")


def test_check_of_regions_refuses_more_and_less() -> None:
    data = write({"a": ("U8", (5,), b"12345"), "b": ("U8", (5,), b"67890")})
    file = digest_file(FilePath("x.safetensors"), len(data), [data])
    carried = CarriedFile(file.sha256, file.size, ((0, len(data) - 5),))
    for more in (data, data[:-7] + b"!!"):
        with pytest.raises(Integrity):
            RegionCheck(file, carried).update(memoryview(more))
    for less in (data[:-6], b""):
        check = RegionCheck(file, carried)
        check.update(memoryview(less))
        with pytest.raises(Integrity):
            check.finish()
    check = RegionCheck(file, carried)
    for at in range(len(data) - 5):
        check.update(memoryview(data)[at : at + 1])
    check.finish()


def test_check_of_an_empty_file_wants_nothing() -> None:
    file = digest_file(FilePath("x.txt"), 0, [])
    check = RegionCheck(file, CarriedFile(file.sha256, 0))
    check.finish()
    check = RegionCheck(file, CarriedFile(file.sha256, 0))
    with pytest.raises(Integrity):
        check.update(memoryview(b"x"))


def test_missing_bundle_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        verify_bundle(tmp_path / "x")
