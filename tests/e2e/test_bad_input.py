"""What people do wrong gets a clear error of a stable kind, and changes nothing."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.conftest import MakeClient
from e2e.made_adapters import CONFIG, WEIGHTS, lora_tensors, serialize, spoil, write_adapter
from e2e.programs import Client, digest_tree

NAN, INFINITY = 0x7FC0, 0x7F80


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "adapter")


@pytest.fixture
def repository(client: Client, name: str, tmp_path: Path) -> str:
    """A repository with a version."""
    first = write_adapter(tmp_path / "first", lora_tensors(seed=1))
    client.run("push", first, name, "-m", "First", "--create")
    return name


@pytest.fixture
def refuse(client: Client, repository: str, folder: Path) -> Callable[..., str]:
    """Push the folder, which must be refused with that kind and change no ref."""

    def push(kind: str, *options: str) -> str:
        before = client.facts("branch", repository)
        error = client.refusal("push", folder, repository, "-m", "Bad", *options)
        assert error["kind"] == kind, error
        assert client.facts("branch", repository) == before
        return str(error["message"])

    return push


Refuse = Callable[..., str]


def _truncate(data: bytes) -> bytes:
    return data[:-10]


def _overlong(data: bytes) -> bytes:
    return data + b"more"


def _huge_header(data: bytes) -> bytes:
    return (2**63).to_bytes(8, "little") + data[8:]


def _duplicate_name(data: bytes) -> bytes:
    return data.replace(b"layers.1.self_attn.q_proj.lora_A", b"layers.0.self_attn.q_proj.lora_A")


def _wrong_dtype(data: bytes) -> bytes:
    return data.replace(b'"BF16"', b'"F64" ', 1)


def _no_header(data: bytes) -> bytes:
    return data[:4]


@pytest.mark.parametrize(
    ("break_file", "kind"),
    [
        (_truncate, "invalid-safetensors"),
        (_overlong, "invalid-safetensors"),
        (_huge_header, "header-too-large"),
        (_duplicate_name, "invalid-json"),
        (_wrong_dtype, "invalid-safetensors"),
        (_no_header, "invalid-safetensors"),
        (lambda data: b"", "invalid-safetensors"),
    ],
    ids=["truncated", "overlong", "2^63-header", "duplicate", "dtype", "cut-header", "empty"],
)
def test_malformed_weights_are_refused_before_anything_is_sent(
    refuse: Refuse, folder: Path, break_file: Callable[[bytes], bytes], kind: str
) -> None:
    weights = folder / WEIGHTS
    weights.write_bytes(break_file(weights.read_bytes()))
    assert WEIGHTS in refuse(kind)


@pytest.mark.parametrize("bits", [NAN, INFINITY], ids=["nan", "infinity"])
def test_weights_that_are_not_finite_want_a_word(
    refuse: Refuse, client: Client, repository: str, folder: Path, bits: int
) -> None:
    tensors = lora_tensors(seed=2)
    tensors[3] = spoil(tensors[3], bits)
    (folder / WEIGHTS).write_bytes(serialize(tensors))
    message = refuse("tensor-not-finite")
    assert tensors[3].name in message
    client.run("push", folder, repository, "-m", "As it is", "--allow-non-finite")
    path = Path(client.run("pull", repository).strip())
    assert digest_tree(path) == digest_tree(folder)
    # What one push allowed, it allowed for itself.
    error = client.refusal("push", folder, f"{repository}@other", "-m", "Bad")
    assert error["kind"] == "tensor-not-finite"


def test_symbolic_link_is_refused(refuse: Refuse, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    (folder / "link").symlink_to(tmp_path / "secret")
    assert "link" in refuse("symlink-refused")


def test_link_to_a_folder_is_refused(refuse: Refuse, folder: Path, tmp_path: Path) -> None:
    (folder / "more").symlink_to(tmp_path, target_is_directory=True)
    refuse("symlink-refused")


def test_pipe_is_refused_and_nobody_waits_for_it(refuse: Refuse, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    refuse("not-a-regular-file")


def test_pipe_in_place_of_the_config_is_refused(refuse: Refuse, folder: Path) -> None:
    (folder / CONFIG).unlink()
    os.mkfifo(folder / CONFIG)
    refuse("not-a-regular-file")


def test_pickle_is_refused_with_the_way_to_convert(refuse: Refuse, folder: Path) -> None:
    (folder / "adapter_model.bin").write_bytes(pickle.dumps({"a": 1}))
    assert "--convert" in refuse("pickle-refused")


def test_names_that_differ_in_case_only_are_refused(refuse: Refuse, folder: Path) -> None:
    (folder / "README.md").write_text("a", encoding="utf-8")
    (folder / "readme.md").write_text("b", encoding="utf-8")
    if len({path.name.lower() for path in folder.iterdir()}) == len(list(folder.iterdir())):
        pytest.skip("the file system of the tests ignores case")
    refuse("path-case-collision")


def test_name_that_is_no_utf8_is_refused(refuse: Refuse, folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9")).write_text("x", encoding="utf-8")
    refuse("invalid-path")


def test_adapter_without_tensors_is_refused(refuse: Refuse, folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(serialize([]))
    refuse("adapter-empty")


def test_adapter_without_weights_is_refused(refuse: Refuse, folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    refuse("adapter-empty")


def test_adapter_without_config_is_refused(refuse: Refuse, folder: Path) -> None:
    (folder / CONFIG).unlink()
    assert "save_pretrained" in refuse("adapter-config-missing")


@pytest.mark.parametrize("text", ["{", "[]", '{"r": 8}', '{"peft_type": 8}', "\ufeff{}", "NaN"])
def test_config_that_is_none_is_refused(refuse: Refuse, folder: Path, text: str) -> None:
    (folder / CONFIG).write_text(text, encoding="utf-8")
    refuse("invalid-adapter-config")


def test_base_that_nothing_names_must_be_given(
    refuse: Refuse, client: Client, repository: str, folder: Path
) -> None:
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    (folder / CONFIG).write_text(json.dumps({**config, "base_model_name_or_path": None}))
    assert "--base" in refuse("base-unknown")
    client.run("push", folder, repository, "-m", "With a base", "--base", "org/model@main")
    shown = client.facts("show", repository)
    assert shown["commit"]["base"]["name"] == "org/model"


def test_empty_folder_and_no_folder_are_refused(
    client: Client, repository: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    error = client.refusal("push", tmp_path / "empty", repository, "-m", "X")
    assert error["kind"] == "adapter-config-missing"
    outcome = client.try_run("push", tmp_path / "absent", repository, "-m", "X", "--json")
    assert outcome.status in {1, 2}
    assert "absent" in outcome.err


@pytest.mark.parametrize(
    "bad",
    [
        "a b/c",
        "x/../y",
        "ns/na%2fme",
        f"ns/{'n' * 200}",
        "n\u00e4mespace/me",
        "/name",
        "ns/",
        "ns",
        "../../etc",
        "ns/.hidden",
        "ns/a--b",
        "ns/x.git",
        "ns/na\u0000me".replace("\u0000", "\n"),
    ],
    ids=ascii,
)
def test_repository_name_that_a_url_would_mangle_is_refused(
    client: Client, folder: Path, bad: str
) -> None:
    assert client.refusal("repo", "create", bad)["kind"] == "invalid-repository-name"
    assert client.refusal("push", folder, bad, "-m", "X")["kind"] == "invalid-repository-name"


@pytest.mark.parametrize(
    ("revision", "kind"),
    [
        ("absent", "revision-not-found"),
        ("main~5", "revision-not-found"),
        ("0123456", "revision-not-found"),
        ("main^2", "revision-not-found"),
        ("~", "invalid-revision"),
        ("main~x", "invalid-revision"),
        ("a..b", "invalid-ref-name"),
    ],
)
def test_revision_that_names_nothing_is_refused(
    client: Client, repository: str, revision: str, kind: str
) -> None:
    assert client.refusal("pull", f"{repository}@{revision}")["kind"] == kind


def test_repository_that_is_absent_is_refused_unless_it_shall_be_made(
    client: Client, name: str, folder: Path
) -> None:
    error = client.refusal("push", folder, name, "-m", "X")
    assert error["kind"] == "repository-not-found"
    assert "plait repo create" in error["message"]
    client.run("push", folder, name, "-m", "X", "--create")
    assert client.refusal("repo", "create", name.upper())["kind"] == "repository-exists"


def test_push_to_a_tag_is_refused_and_its_name_stays_retired(
    client: Client, repository: str, folder: Path
) -> None:
    client.run("tag", repository, "v1", "main")
    before = client.facts("tag", repository)
    error = client.refusal("push", folder, f"{repository}@v1", "-m", "X")
    assert error["kind"] == "ref-exists"
    assert client.refusal("branch", repository, "v1", "main")["kind"] == "ref-exists"
    assert client.facts("tag", repository) == before
    client.run("tag", "-d", repository, "v1")
    assert client.refusal("tag", repository, "v1", "main")["kind"] == "tag-name-retired"
    assert (
        client.refusal("push", folder, f"{repository}@v1", "-m", "X")["kind"] == "tag-name-retired"
    )
    assert client.facts("tag", repository) == {"tags": []}


def test_wrong_token_is_refused_without_being_shown(
    make_client: MakeClient, repository: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = make_client()
    settings = {**stranger.environment(), "PLAIT_TOKEN": "plait_not-the-one"}
    monkeypatch.setattr(stranger, "environment", lambda: settings)
    assert stranger.refusal("pull", repository)["kind"] == "unauthenticated"
    outcome = stranger.try_run("push", folder, repository, "-m", "X")
    assert "plait_not-the-one" not in outcome.out + outcome.err
    monkeypatch.setattr(
        stranger, "environment", lambda: {k: v for k, v in settings.items() if k != "PLAIT_TOKEN"}
    )
    assert stranger.refusal("pull", repository)["kind"] == "token-missing"


def test_wrong_usage_ends_with_status_two(client: Client) -> None:
    for words in ([], ["frobnicate"], ["push", "--no-such-flag"], ["clone"], ["pull", "--merge"]):
        outcome = client.try_run(*words)
        assert outcome.status == (1 if words == ["pull", "--merge"] else 2), (words, outcome)
        assert outcome.err or outcome.out
