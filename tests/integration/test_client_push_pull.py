"""Push and pull over a real registry."""

import dataclasses
import filecmp
import multiprocessing
import os
import shutil
import signal
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

import plait
from plait import downloads, wire
from plait.errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    NotFound,
    PlaitError,
    Unauthenticated,
)
from plait.model import canonical
from plait.model.refs import RefKind
from plait.partial import METADATA_KEY
from plait.registry import Registry
from plait.repository import PushOptions, Repository
from reference.pulling_processes import kill_in_the_middle, pull_in_a_process
from reference.safetensors_writer import write

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def repository(registry: Registry, repository_name: Callable[[], str]) -> Repository:
    return registry.create(repository_name())


@pytest.fixture
def cpp(micro_data: Path) -> Path:
    return micro_data / "adapters" / "cpp"


def same(left: Path, right: Path) -> bool:
    names = sorted(path.name for path in right.iterdir())
    _, mismatch, errors = filecmp.cmpfiles(left, right, names, shallow=False)
    return not mismatch and not errors and sorted(os.listdir(left)) == names  # noqa: PTH208


def test_what_is_pulled_is_what_was_pushed(repository: Repository, cpp: Path) -> None:
    pushed = repository.push(cpp / "v1", message="First")
    pulled = repository.pull()
    assert pushed.is_new
    assert (pulled.commit, pulled.manifest) == (pushed.commit, pushed.manifest)
    assert same(pulled.path, cpp / "v1")
    assert pulled.path.name == pushed.manifest
    assert stat.S_IMODE(pulled.path.stat().st_mode) == 0o555


def test_versions_follow_each_other_with_their_metrics(repository: Repository, cpp: Path) -> None:
    for name in ("v1", "v2", "v3"):
        repository.push(cpp / name, message=f"Version {name}", metrics={"loss": 1.5, "name": name})
    log = list(repository.log())
    assert [info.commit.message for info in log] == ["Version v3", "Version v2", "Version v1"]
    assert [info.metrics["name"] for info in log] == ["v3", "v2", "v1"]
    assert log[0].commit.base.name == "micro/base"
    assert log[0].adapter_type == "LORA"
    assert same(repository.pull("main~1").path, cpp / "v2")
    assert repository.resolve("main~2") == log[2].id
    assert repository.show("main~2").commit == log[2].commit


def test_push_of_the_same_version_makes_no_commit(repository: Repository, cpp: Path) -> None:
    first = repository.push(cpp / "v1", message="First")
    again = repository.push(cpp / "v1", message="Again")
    assert not again.is_new
    assert again.commit == first.commit
    assert len(list(repository.log())) == 1


def test_push_to_an_absent_repository_advises_to_make_it(
    registry: Registry, repository_name: Callable[[], str], cpp: Path
) -> None:
    repository = registry.repository(repository_name())
    with pytest.raises(NotFound, match="plait repo create"):
        repository.push(cpp / "v1", message="First")
    repository.push(cpp / "v1", message="First", options=PushOptions(create=True))
    assert repository.info().base == "micro/base"


def test_two_pushes_at_once_have_one_winner(
    repository: Repository, cpp: Path, tmp_path: Path
) -> None:
    repository.push(cpp / "v1", message="First")
    begin = threading.Barrier(2)
    outcomes: list[object] = []

    class Waits:
        """Holds both pushes until each has seen the same head."""

        def total(self, size: int, *, what: str) -> None:
            if what == "Uploading":
                begin.wait(30)

        def advance(self, size: int) -> None: ...
        def finish(self) -> None: ...

    def push(folder: Path) -> None:
        try:
            options = PushOptions(progress=Waits())
            outcomes.append(repository.push(folder, message=folder.name, options=options))
        except Conflict as error:
            outcomes.append(error)

    threads = [threading.Thread(target=push, args=(cpp / name,)) for name in ("v2", "v3")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (loser,) = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    assert loser.kind == "ref-update-conflict"
    assert "push again" in loser.message
    assert len(list(repository.log())) == 2


def test_second_pull_moves_no_bytes_and_a_pinned_one_asks_nobody(
    repository: Repository, cpp: Path, registry: Registry
) -> None:
    repository.push(cpp / "v1", message="First")
    first = repository.pull()
    assert first.received == sum(path.stat().st_size for path in (cpp / "v1").iterdir())
    assert repository.pull().received == 0
    nobody = Repository(
        repository.name,
        plait.connect("http://127.0.0.1:1")._transport,
        registry._cache,
        repository._author,
    )
    assert nobody.pull(first.commit) == dataclasses.replace(first, received=0)


def test_damaged_cache_is_repaired(repository: Repository, cpp: Path) -> None:
    repository.push(cpp / "v1", message="First")
    weights = repository.pull().path / WEIGHTS
    weights.chmod(0o644)
    weights.write_bytes(b"damaged")
    again = repository.pull()
    assert same(again.path, cpp / "v1")
    assert again.received == (cpp / "v1" / WEIGHTS).stat().st_size


def test_damage_that_hides_is_found_by_verifying(repository: Repository, cpp: Path) -> None:
    repository.push(cpp / "v1", message="First")
    weights = repository.pull().path / WEIGHTS
    before = weights.stat()
    weights.chmod(0o644)
    with weights.open("r+b") as file:
        file.write(b"\xff")
    weights.chmod(0o444)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert repository.pull().received == 0
    assert repository.pull(verify=True).received == before.st_size
    assert same(repository.pull(verify=True).path, cpp / "v1")


def test_pull_writes_a_copy_that_can_be_changed(
    repository: Repository, cpp: Path, tmp_path: Path
) -> None:
    repository.push(cpp / "v1", message="First")
    repository.push(cpp / "v2", message="Second")
    dest = tmp_path / "out"
    pulled = repository.pull("main~1", dest=dest)
    assert pulled.path == dest
    assert same(dest, cpp / "v1")
    with pytest.raises(AlreadyExists):
        repository.pull(dest=dest)
    repository.pull(dest=dest, force=True)
    assert same(dest, cpp / "v2")
    (dest / WEIGHTS).write_bytes(b"mine")
    assert same(repository.pull().path, cpp / "v2")


@pytest.mark.torch
def test_part_of_an_adapter_is_a_valid_safetensors_file(repository: Repository, cpp: Path) -> None:
    pushed = repository.push(cpp / "v1", message="First")
    part = repository.pull(only=["layers.0.*"])
    with (
        safe_open(part.path / WEIGHTS, "pt") as some,
        safe_open(cpp / "v1" / WEIGHTS, "pt") as all_,
    ):
        names = set(some.keys())
        metadata = some.metadata()
        assert names == {name for name in all_.keys() if ".layers.0." in name}  # noqa: SIM118
        for name in names:
            assert some.get_tensor(name).equal(all_.get_tensor(name))
    assert canonical.loads(metadata[METADATA_KEY]) == {
        "commit": pushed.commit,
        "patterns": ["layers.0.*"],
    }
    assert metadata["format"] == "pt"
    assert filecmp.cmp(part.path / "adapter_config.json", cpp / "v1" / "adapter_config.json")
    assert part.received < (cpp / "v1" / WEIGHTS).stat().st_size
    assert repository.pull(only=["layers.0.*"]).received == 0


def test_part_that_nothing_matches_is_told(repository: Repository, cpp: Path) -> None:
    repository.push(cpp / "v1", message="First")
    with pytest.raises(InvalidInput, match=r"lora_A\.weight"):
        repository.pull(only=["nothing"])


def test_second_version_sends_only_the_tensors_that_changed(
    repository: Repository, tmp_path: Path, cpp: Path
) -> None:
    frozen = os.urandom(256 << 10)
    folder = tmp_path / "adapter"
    folder.mkdir()
    shutil.copy(cpp / "v1" / "adapter_config.json", folder)
    for number in range(2):
        trained = bytes([number]) * 4096
        tensors = {
            "embed.weight": ("U8", (len(frozen),), frozen),
            "q.lora_A.weight": ("U8", (4096,), trained),
            "z.weight": ("U8", (4096,), trained[::-1]),
        }
        (folder / WEIGHTS).write_bytes(write(tensors, {"format": "pt"}))
        pushed = repository.push(folder, message=f"Number {number}")
        assert same(repository.pull().path, folder)
    assert pushed.result is not None
    assert pushed.result.bytes_stored < 16 << 10
    assert same(repository.pull("main", dest=tmp_path / "out").path, folder)


def test_refs_are_made_listed_and_deleted(repository: Repository, cpp: Path) -> None:
    first = repository.push(cpp / "v1", message="First").commit
    second = repository.push(cpp / "v2", message="Second").commit
    assert repository.tag("v1", "main~1").target == first
    assert repository.tag("v1", "main~1").target == first
    repository.branch("feature/x+y", "v1")
    assert repository.merge_bases("feature/x+y", "main") == [first]
    assert repository.refs().tags == {"v1": first}
    assert repository.refs().branches == {"main": second, "feature/x+y": first}
    with pytest.raises(Conflict):
        repository.delete_ref("feature/x+y", expected=second)
    assert repository.delete_ref("feature/x+y").kind is RefKind.BRANCH
    with pytest.raises(NotFound):
        repository.delete_ref("feature/x+y")
    repository.delete_ref("v1")
    with pytest.raises(Conflict) as caught:
        repository.tag("v1", "main")
    assert caught.value.kind == "tag-name-retired"


def test_diff_names_the_files_that_changed(repository: Repository, cpp: Path) -> None:
    repository.push(cpp / "v1", message="First")
    repository.push(cpp / "v2", message="Second")
    assert [change.path for change in repository.diff("main~1").changes][-1] == WEIGHTS


def test_notes_hang_on_a_commit(repository: Repository, cpp: Path) -> None:
    repository.push(cpp / "v1", message="First", metrics={"loss": 2.0})
    note = repository.add_note("main", "eval", {"pass": 0.5})
    assert note.created_at
    assert [(n.kind, n.body) for n in repository.notes()] == [
        ("metrics", {"loss": 2.0}),
        ("eval", {"pass": 0.5}),
    ]


def test_repositories_are_found_by_name(registry: Registry, repository: Repository) -> None:
    found: list[wire.Repository] = list(registry.repositories(repository.name.name))
    assert [item.name for item in found] == [repository.name.name]
    with pytest.raises(AlreadyExists):
        registry.create(str(repository.name))


def test_wrong_token_is_told(registry: Registry, repository: Repository, tmp_path: Path) -> None:
    with (
        plait.connect(registry.url, token="plait_wrong", cache_dir=tmp_path / "c") as stranger,
        pytest.raises(Unauthenticated) as caught,
    ):
        stranger.create("tests/never")
    assert "plait_wrong" not in str(caught.value)


@pytest.fixture
def server_address(registry_server: Any) -> tuple[str, str]:
    return registry_server.url, registry_server.token


@pytest.mark.slow
def test_pull_that_was_killed_goes_on_where_it_was(
    repository: Repository,
    server_address: tuple[str, str],
    cpp: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repository.push(cpp / "v1", message="First")
    arguments = (*server_address, str(tmp_path / "cache"), str(repository.name))
    process = multiprocessing.get_context("spawn").Process(
        target=kill_in_the_middle, args=arguments
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert not list((tmp_path / "cache" / "versions").glob("*"))
    monkeypatch.setattr(downloads, "SEGMENT_SIZE", 8192)
    pulled = repository.pull()
    size = sum(path.stat().st_size for path in (cpp / "v1").iterdir())
    assert 0 < pulled.received < size * 3 // 4
    assert same(pulled.path, cpp / "v1")


@pytest.mark.slow
def test_processes_that_pull_the_same_version_all_succeed(
    repository: Repository, server_address: tuple[str, str], cpp: Path, tmp_path: Path
) -> None:
    repository.push(cpp / "v1", message="First")
    arguments = (
        *server_address,
        str(tmp_path / "shared-cache"),
        str(repository.name),
    )
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        folders = pool.starmap(pull_in_a_process, [arguments] * 6)
    assert len(set(folders)) == 1
    assert same(Path(folders[0]), cpp / "v1")
    leftovers = [path for path in (tmp_path / "shared-cache").rglob("*") if ".new-" in path.name]
    assert leftovers == []


@pytest.mark.parametrize("kind", ["pickle", "config", "nan"])
def test_folder_that_is_no_version_publishes_nothing(
    repository: Repository, cpp: Path, tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "bad"
    shutil.copytree(cpp / "v1", folder)
    if kind == "pickle":
        (folder / "adapter_model.bin").touch()
    elif kind == "config":
        (folder / "adapter_config.json").unlink()
    else:
        nan = write({"a.lora_A.weight": ("F32", (1,), b"\x00\x00\xc0\x7f")})
        (folder / WEIGHTS).write_bytes(nan)
    with pytest.raises(PlaitError) as caught:
        repository.push(folder, message="Bad")
    assert caught.value.kind in {"pickle-refused", "adapter-config-missing", "tensor-not-finite"}
    assert repository.refs().branches == {}
