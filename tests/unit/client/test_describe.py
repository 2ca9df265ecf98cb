import hashlib
import os
import socket
import threading
from pathlib import Path

import pytest

from plait.describe import (
    FileStamp,
    describe_folder,
    digest_source,
    find_base,
    open_regular,
    verify_adapter_folder,
)
from plait.errors import InvalidInput
from plait.fingerprint import fingerprint_base
from plait.model.adapter import parse_adapter_config
from plait.model.commit import Base
from plait.model.ids import ObjectId
from plait.model.manifest import File
from plait.model.paths import FilePath
from plait.parallel import StopSign
from plait.progress import NO_PROGRESS
from reference.safetensors_writer import write
from reference.stacks import STACK

CONFIG = b'{"peft_type": "LORA", "base_model_name_or_path": "micro/base", "revision": "r1", "r": 8}'
WEIGHTS = write({"a.lora_A.weight": ("F32", (2,), b"\x00" * 8)}, {"format": "pt"})


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_bytes(CONFIG)
    (folder / "adapter_model.safetensors").write_bytes(WEIGHTS)
    return folder


class Counted:
    """A progress that adds up."""

    def __init__(self) -> None:
        self.expected = 0
        self.done = 0
        self.finished = False

    def total(self, size: int, *, what: str) -> None:
        self.expected = size

    def advance(self, size: int) -> None:
        self.done += size

    def finish(self) -> None:
        self.finished = True


def paths_of(folder: Path) -> list[str]:
    return [file.path for file in describe_folder(folder).manifest.files]


def test_folder_is_described_with_digests_and_tensors(adapter: Path) -> None:
    progress = Counted()
    description = describe_folder(adapter, progress=progress)
    config, weights = description.manifest.files
    assert config.sha256 == hashlib.sha256(CONFIG).hexdigest()
    assert weights.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert weights.tensors is not None
    assert [tensor.name for tensor in weights.tensors.entries] == ["a.lora_A.weight"]
    assert description.config_bytes == CONFIG
    assert description.sources[weights.path] == adapter / "adapter_model.safetensors"
    assert (progress.expected, progress.finished) == (progress.done, True)
    verify_adapter_folder(description)


def test_nested_files_are_found_and_sorted(adapter: Path) -> None:
    (adapter / "eval").mkdir()
    (adapter / "eval" / "z.json").write_text("{}")
    (adapter / "a.txt").write_text("")
    assert paths_of(adapter) == [
        "a.txt",
        "adapter_config.json",
        "adapter_model.safetensors",
        "eval/z.json",
    ]


def test_droppings_and_state_folders_are_passed_over(adapter: Path) -> None:
    for name in (".plait", ".git", "__pycache__", "sub"):
        (adapter / name).mkdir()
        (adapter / name / "x.pkl" if name != "sub" else adapter / name / ".DS_Store").touch()
    assert paths_of(adapter) == ["adapter_config.json", "adapter_model.safetensors"]


def test_trainer_state_is_left_out_and_told(adapter: Path) -> None:
    names = ["optimizer.pt", "rng_state.pth", "rng_state_3.pth", "scheduler.pt"]
    names += ["trainer_state.json", "training_args.bin"]
    for name in names:
        (adapter / name).touch()
    description = describe_folder(adapter)
    assert description.skipped == tuple(sorted(names))
    assert len(description.manifest.files) == 2


def test_ignore_file_names_what_to_leave_out(adapter: Path) -> None:
    (adapter / ".plaitignore").write_text("# logs\n*.log\nruns/\n")
    (adapter / "a.log").touch()
    (adapter / "runs").mkdir()
    (adapter / "runs" / "b.pkl").touch()
    assert paths_of(adapter) == [".plaitignore", "adapter_config.json", "adapter_model.safetensors"]


def test_pickle_is_refused_with_the_way_out(adapter: Path) -> None:
    (adapter / "adapter_model.bin").touch()
    with pytest.raises(InvalidInput, match="--convert") as caught:
        describe_folder(adapter)
    assert caught.value.kind == "pickle-refused"


@pytest.mark.parametrize("name", ["link.json", "adapter_model.safetensors", "folder"])
def test_symbolic_link_is_refused(adapter: Path, name: str, tmp_path: Path) -> None:
    (adapter / name).unlink(missing_ok=True)
    (adapter / name).symlink_to(tmp_path if name == "folder" else "/etc/hostname")
    with pytest.raises(InvalidInput) as caught:
        describe_folder(adapter)
    assert caught.value.kind == "symlink-refused"


@pytest.mark.timeout(10)
def test_pipe_is_refused_and_never_waited_for(adapter: Path) -> None:
    os.mkfifo(adapter / "pipe.json")
    with pytest.raises(InvalidInput) as caught:
        describe_folder(adapter)
    assert caught.value.kind == "not-a-regular-file"
    with pytest.raises(InvalidInput) as caught:
        open_regular(FilePath("pipe.json"), adapter / "pipe.json")
    assert caught.value.kind == "not-a-regular-file"


def test_socket_is_refused(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(adapter)  # a socket's address is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(InvalidInput) as caught:
            describe_folder(adapter)
    assert caught.value.kind == "not-a-regular-file"


def test_path_that_breaks_the_rules_is_refused(adapter: Path) -> None:
    (adapter / "a\\b.txt").touch()
    with pytest.raises(InvalidInput) as caught:
        describe_folder(adapter)
    assert caught.value.kind == "invalid-path"


def test_names_that_differ_in_case_only_are_refused(adapter: Path) -> None:
    (adapter / "a.txt").touch()
    (adapter / "A.txt").touch()
    with pytest.raises(InvalidInput) as caught:
        describe_folder(adapter)
    assert caught.value.kind == "path-case-collision"


def test_truncated_safetensors_is_refused(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").write_bytes(WEIGHTS[:-1])
    with pytest.raises(InvalidInput) as caught:
        describe_folder(adapter)
    assert caught.value.kind == "invalid-safetensors"


def test_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not a folder"):
        describe_folder(tmp_path / "absent")


def test_known_file_is_not_read_again(adapter: Path) -> None:
    weights = describe_folder(adapter).manifest.files[1]
    progress = Counted()

    def known(path: FilePath, stamp: FileStamp) -> File | None:
        return weights if path == weights.path and stamp.size == weights.size else None

    again = describe_folder(adapter, known=known, progress=progress)
    assert again.manifest.files[1] is weights
    assert progress.done == len(CONFIG)


@pytest.mark.parametrize("change", [b"longer than before", b"", b"same"])
def test_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path, change: bytes) -> None:
    source = tmp_path / "x.txt"
    source.write_bytes(b"four")
    os.utime(source, ns=(1, 1))
    stamp = FileStamp.of(source.stat())
    source.write_bytes(change)
    with pytest.raises(InvalidInput) as caught:
        digest_source(FilePath("x.txt"), source, stamp, stop=StopSign(), progress=NO_PROGRESS)
    assert caught.value.kind == "file-changed"


def test_folder_without_a_config_is_no_adapter(adapter: Path) -> None:
    (adapter / "adapter_config.json").unlink()
    with pytest.raises(InvalidInput, match="save_pretrained") as caught:
        verify_adapter_folder(describe_folder(adapter))
    assert caught.value.kind == "adapter-config-missing"


@pytest.mark.parametrize("weights", [None, write({})])
def test_adapter_without_tensors_is_empty(adapter: Path, weights: bytes | None) -> None:
    (adapter / "adapter_model.safetensors").unlink()
    if weights is not None:
        (adapter / "adapter_model.safetensors").write_bytes(weights)
    with pytest.raises(InvalidInput) as caught:
        verify_adapter_folder(describe_folder(adapter))
    assert caught.value.kind == "adapter-empty"


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    folder = tmp_path / "stack"
    folder.mkdir()
    (folder / "stack.json").write_bytes(STACK.to_bytes())
    (folder / "README.md").write_text("# Two at once")
    return folder


def test_folder_with_a_stack_is_a_version(stack: Path) -> None:
    description = describe_folder(stack)
    assert description.config is None
    assert description.stack_bytes == STACK.to_bytes()
    verify_adapter_folder(description)


def test_folder_with_something_else_as_its_stack_is_refused(stack: Path) -> None:
    (stack / "stack.json").write_text("[]")
    with pytest.raises(InvalidInput, match="must be a JSON object") as caught:
        verify_adapter_folder(describe_folder(stack))
    assert caught.value.kind == "invalid-stack"


def test_stack_with_weights_is_refused(stack: Path) -> None:
    (stack / "adapter_model.safetensors").write_bytes(WEIGHTS)
    with pytest.raises(InvalidInput, match="holds no weights") as caught:
        verify_adapter_folder(describe_folder(stack))
    assert caught.value.kind == "invalid-stack"


def test_file_named_like_a_stack_beside_an_adapter_is_any_file(adapter: Path) -> None:
    (adapter / "stack.json").write_text("my own notes")
    verify_adapter_folder(describe_folder(adapter))


def test_base_comes_from_the_config_unless_it_is_given() -> None:
    config = parse_adapter_config(CONFIG)
    fingerprint = ObjectId("0" * 64)
    assert find_base(config, None) == Base("micro/base", "r1")
    assert find_base(config, Base("other")) == Base("other")
    assert find_base(config, Base("", None, fingerprint)) == Base("micro/base", "r1", fingerprint)


def test_base_that_nobody_names_is_unknown() -> None:
    config = parse_adapter_config(b'{"peft_type": "LORA", "r": 8}')
    with pytest.raises(InvalidInput, match="--base") as caught:
        find_base(config, None)
    assert caught.value.kind == "base-unknown"


def test_base_of_a_stack_must_be_given_and_its_config_is_not_asked_for() -> None:
    with pytest.raises(InvalidInput, match=r"stack\.json .* --base") as caught:
        find_base(None, None)
    assert caught.value.kind == "base-unknown"
    assert find_base(None, Base("micro/base")) == Base("micro/base")


def test_fingerprint_is_the_digest_of_the_sorted_lines(tmp_path: Path) -> None:
    one, two = b"\x01\x02\x03\x04", b"\x05\x06"
    (tmp_path / "model.safetensors").write_bytes(
        write({"z.weight": ("BF16", (2, 1), one), "a.scale": ("BF16", (), two)})
    )
    lines = (
        f"a.scale BF16 [] {hashlib.sha256(two).hexdigest()}\n"
        f"z.weight BF16 [2,1] {hashlib.sha256(one).hexdigest()}\n"
    )
    assert fingerprint_base(tmp_path) == hashlib.sha256(lines.encode()).hexdigest()


def test_fingerprint_survives_resharding(tmp_path: Path) -> None:
    tensors = {name: ("U8", (3,), name.encode()) for name in ("abc", "def", "ghi")}
    whole, sharded = tmp_path / "whole", tmp_path / "sharded"
    whole.mkdir()
    sharded.mkdir()
    (whole / "model.safetensors").write_bytes(write(tensors, {"format": "pt"}))
    for number, (name, content) in enumerate(tensors.items()):
        (sharded / f"model-{number}.safetensors").write_bytes(write({name: content}))
    assert fingerprint_base(whole) == fingerprint_base(sharded)
    (sharded / "copy.safetensors").write_bytes(write({"abc": ("U8", (3,), b"abc")}))
    with pytest.raises(InvalidInput, match="'abc'"):
        fingerprint_base(sharded)


def test_folder_without_weights_has_no_fingerprint(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        fingerprint_base(tmp_path)
    assert caught.value.kind == "base-unknown"


def test_describing_leaves_no_thread_behind(adapter: Path) -> None:
    before = threading.active_count()
    describe_folder(adapter)
    assert threading.active_count() == before
