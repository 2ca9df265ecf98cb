"""Compositions through the command line: recorded, repeatable, and refused with reasons."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import MakeClient
from e2e.programs import Client, digest_tree, read_refusal
from plait.compose import ARITHMETIC
from plait.http_transport import HttpTransport
from plait.lookup import load_commit
from plait.model.address import RepositoryName
from plait.model.commit import Origin, OriginKind, Person
from plait.model.ids import CommitId
from plait.push_folder import FolderPush, push_folder

pytestmark = pytest.mark.timeout(300)

LIMIT = 240.0
"""Seconds: kernels are compiled the first time that anything is composed on a machine."""
SUM = ("--method", "sum", "--rank", "8")


@dataclass
class Shelf:
    """A person, and the repositories of the demo's adapters."""

    client: Client
    cpp: str
    prose: str
    blend: str

    def compose(self, *words: object) -> Any:
        """Compose into `blend` and return what was said about it."""
        words = ("compose", "-o", self.blend, "--create", *words)
        return self.client.facts(*words, limit=LIMIT)

    def refusal(self, *words: object) -> dict[str, Any]:
        """Return the error of a composition that is refused."""
        outcome = self.client.try_run("compose", *words, "--json", limit=LIMIT)
        assert outcome.status != 0, outcome
        return read_refusal(outcome)


@pytest.fixture
def shelf(client: Client, name: str, micro_data: Path) -> Shelf:
    """Adapters of two trainings in repositories of their own."""
    names = [f"{name}-{part}" for part in ("cpp", "prose", "blend")]
    for version in ("cpp/v2", "cpp/v3"):
        client.run("push", micro_data / "adapters" / version, names[0], "-m", version, "--create")
    client.run("push", micro_data / "adapters/prose/v2", names[1], "-m", "prose", "--create")
    return Shelf(client, *names)


def test_composed_version_has_all_inputs_as_parents_and_the_pinned_recipe_as_origin(
    shelf: Shelf,
) -> None:
    made = shelf.compose(*SUM, f"{shelf.cpp}*0.7", f"{shelf.prose}*0.3")
    shown = shelf.client.facts("show", shelf.blend)
    heads = [shelf.client.facts("show", name)["id"] for name in (shelf.cpp, shelf.prose)]
    assert shown["id"] == made["commit"]
    assert shown["commit"]["parents"] == heads
    origin = shown["commit"]["origin"]
    assert origin["kind"] == "composition"
    assert [item["commit"] for item in origin["recipe"]["inputs"]] == heads
    assert [item["weight"] for item in origin["recipe"]["inputs"]] == [0.7, 0.3]


def test_history_of_the_inputs_comes_along_and_can_be_pulled(
    shelf: Shelf, micro_data: Path
) -> None:
    shelf.compose(*SUM, shelf.cpp, shelf.prose)
    commits = shelf.client.facts("log", shelf.blend)["commits"]
    subjects = {item["commit"]["message"] for item in commits}
    assert {"cpp/v2", "cpp/v3", "prose"} <= subjects
    pulled = Path(shelf.client.run("pull", f"{shelf.blend}@main~2").strip())
    assert digest_tree(pulled) == digest_tree(micro_data / "adapters/cpp/v2")


def test_recipe_that_names_a_branch_gives_the_same_version_after_the_branch_moved(
    shelf: Shelf, micro_data: Path
) -> None:
    made = shelf.compose(*SUM, shelf.cpp, shelf.prose)
    shelf.client.run("push", micro_data / "adapters/cpp/v1", shelf.cpp, "-m", "moved")
    again = shelf.client.facts("reproduce", shelf.blend, limit=LIMIT)
    assert again["same"]
    assert again["actual"] == made["manifest"]


def test_composition_is_reproduced_by_somebody_with_an_empty_cache_on_one_thread(
    shelf: Shelf, make_client: MakeClient
) -> None:
    made = shelf.compose(*SUM, "--threads", "2", shelf.cpp, shelf.prose)
    again = make_client().facts("reproduce", shelf.blend, "--threads", "1", limit=LIMIT)
    assert (again["same"], again["actual"]) == (True, made["manifest"])


def test_same_composition_twice_makes_no_second_version(shelf: Shelf) -> None:
    first = shelf.compose(*SUM, shelf.cpp, shelf.prose)
    # The branch is at the outcome now, and nothing of the inputs moved.
    second = shelf.compose(*SUM, shelf.cpp, shelf.prose)
    assert (first["new"], second["new"]) == (True, False)
    assert second["commit"] == first["commit"]


def test_next_composition_continues_the_branch(shelf: Shelf) -> None:
    first = shelf.compose(*SUM, shelf.cpp, shelf.prose)
    second = shelf.compose("--method", "concat", shelf.cpp, shelf.prose)
    shown = shelf.client.facts("show", shelf.blend)
    assert shown["id"] == second["commit"]
    assert shown["commit"]["parents"][0] == first["commit"]


def test_one_adapter_of_weight_one_is_kept_byte_for_byte(
    shelf: Shelf, micro_data: Path, tmp_path: Path
) -> None:
    words = ("--method", "concat", shelf.cpp, "--to", tmp_path / "same")
    shelf.client.run("compose", *words, limit=LIMIT)
    assert digest_tree(tmp_path / "same") == digest_tree(micro_data / "adapters/cpp/v3")


def test_recipe_in_yaml_gives_what_the_short_form_gives(shelf: Shelf, tmp_path: Path) -> None:
    recipe = tmp_path / "blend.yaml"
    recipe.write_text(
        "format: plait.recipe/1\n"
        "method: sum\n"
        "parameters: {rank: 8}\n"
        "inputs:\n"
        f"  - {{adapter: {shelf.cpp}, weight: 0.7}}\n"
        f"  - {{adapter: {shelf.prose}, weight: 0.3}}\n"
    )
    made = shelf.compose(recipe)
    short = shelf.compose(*SUM, f"{shelf.cpp}*0.7", f"{shelf.prose}*0.3")
    assert made["manifest"] == short["manifest"]


def test_cast_says_how_far_rounding_moved_the_values(shelf: Shelf, tmp_path: Path) -> None:
    # Micro's adapters are BF16 already: the sum in F32 has digits to lose.
    shelf.compose(*SUM, "--dtype", "F32", shelf.cpp, shelf.prose)
    to = tmp_path / "cast"
    said = shelf.client.run("cast", shelf.blend, "--dtype", "BF16", "--to", to, limit=LIMIT)
    assert "Rounding to the dtype moved the deltas by" in said
    assert {kind["dtype"] for kind in read_header(to).values()} == {"BF16"}


def test_resize_to_an_energy_says_which_ranks_that_took(shelf: Shelf, tmp_path: Path) -> None:
    words = ("resize", shelf.cpp, "--energy", "0.9", "--to", tmp_path / "small", "--json")
    made = json.loads(shelf.client.run(*words, limit=LIMIT))
    assert all(module["kept"] >= 0.9 for module in made["modules"])
    config = json.loads((tmp_path / "small/adapter_config.json").read_text())
    assert config["r"] <= 8


def test_stack_keeps_references_in_order(shelf: Shelf) -> None:
    shelf.compose("--method", "stack", f"{shelf.cpp}*0.5", shelf.prose)
    folder = Path(shelf.client.run("pull", shelf.blend).strip())
    members = json.loads((folder / "stack.json").read_text())["adapters"]
    assert [(member["adapter"], member["weight"]) for member in members] == [
        (shelf.cpp, 0.5),
        (shelf.prose, 1.0),
    ]


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        (["--method", "sum", "--rank", "0", "{cpp}"], "invalid-recipe", "rank"),
        (["--method", "sum", "--rank", "999", "{cpp}", "{prose}"], "rank-invalid", "at most"),
        (["--method", "ties", "--density", "0", "{cpp}", "{prose}"], "invalid-recipe", "density"),
        (["--method", "ties", "--density", "1.5", "{cpp}"], "invalid-recipe", "density"),
        (["--method", "sum", "{cpp}*nan", "{prose}"], "invalid-recipe", "nan"),
        (["--method", "sum"], "invalid-recipe", "input"),
        (["--method", "sum", "{cpp}", "{cpp}"], "invalid-recipe", "same version"),
        (["--method", "sum", "{cpp}", "{cpp}@main"], "invalid-recipe", "same version"),
        (["--method", "sum", "{cpp}", "nobody/nothing"], "repository-not-found", "nobody/nothing"),
        (["--method", "sum", "{cpp}", "{prose}@gone"], "revision-not-found", "gone"),
        (["--method", "summ", "{cpp}"], "invalid-recipe", "sum"),
    ],
)
def test_what_cannot_be_composed_is_refused_with_the_reason(
    shelf: Shelf, words: list[str], kind: str, said: str
) -> None:
    filled = [word.format(cpp=shelf.cpp, prose=shelf.prose) for word in words]
    error = shelf.refusal("-o", shelf.blend, "--create", *filled)
    assert error["kind"] == kind
    assert said in error["message"]


def test_untrained_input_is_refused_unless_it_is_let_pass(
    shelf: Shelf, micro_data: Path, tmp_path: Path, name: str
) -> None:
    untrained = tmp_path / "untrained"
    copy_with_zero_b(micro_data / "adapters/prose/v2", untrained)
    shelf.client.run("push", untrained, f"{name}-zero", "-m", "Untrained", "--create")
    words = ("-o", shelf.blend, "--create", *SUM, shelf.cpp, f"{name}-zero")
    error = shelf.refusal(*words)
    assert error["kind"] == "delta-zero"
    assert f"{name}-zero@" in error["message"]
    assert "lora" not in error["details"]["module"]
    assert shelf.compose(*SUM, "--allow", "zero-delta", shelf.cpp, f"{name}-zero")["new"]


def test_inputs_of_two_bases_are_refused_unless_it_is_let_pass(
    shelf: Shelf, micro_data: Path, name: str
) -> None:
    other = f"{name}-other"
    folder = micro_data / "adapters/tests"
    words = ("push", folder, other, "-m", "x", "--create", "--base", "another/base")
    shelf.client.run(*words)
    error = shelf.refusal("-o", shelf.blend, "--create", *SUM, shelf.cpp, other)
    assert error["kind"] == "base-mismatch"
    assert "another/base" in error["message"]
    made = shelf.compose(*SUM, "--allow", "base-mismatch", shelf.cpp, other)
    assert made["recipe"]["allow"] == ["base-mismatch"]


def test_reproducing_a_version_that_its_recipe_does_not_give_fails_and_names_the_file(
    shelf: Shelf, tmp_path: Path
) -> None:
    # A version that claims another's recipe: pushed by hand, as only a liar would.

    made = shelf.compose(*SUM, shelf.cpp, shelf.prose)
    transport = HttpTransport(shelf.client.registry.url, shelf.client.registry.token)
    repository = RepositoryName.parse(shelf.blend)
    honest = load_commit(transport, repository, CommitId(made["commit"])).commit
    folder = tmp_path / "forged"
    shelf.client.run("pull", shelf.blend, folder)
    spoil_last_byte(folder / "adapter_model.safetensors")
    push_folder(
        transport,
        repository,
        FolderPush(
            folder=folder,
            message="Trust me",
            author=Person("Mallory", ""),
            time="2026-11-24T00:00:00Z",
            base=honest.base,
            origin=Origin(
                OriginKind.COMPOSITION,
                {"recipe": honest.origin.facts["recipe"], "arithmetic": ARITHMETIC},
            ),
        ),
    )
    transport.close()
    outcome = shelf.client.try_run("reproduce", shelf.blend, "--json", limit=LIMIT)
    assert outcome.status == 1
    error = read_refusal(outcome)
    assert error["kind"] == "not-reproduced"
    assert "adapter_model.safetensors" in error["message"]


def test_version_that_was_trained_has_no_recipe_to_reproduce(shelf: Shelf) -> None:
    error = shelf.client.refusal("reproduce", shelf.cpp)
    assert error["kind"] == "recipe-missing"


def read_header(folder: Path) -> dict[str, Any]:
    """Return the tensors that a folder's weights say they hold."""
    data = (folder / "adapter_model.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header: dict[str, Any] = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    return header


def copy_with_zero_b(source: Path, target: Path) -> None:
    """Copy an adapter with all its B factors zeroed."""
    target.mkdir()
    (target / "adapter_config.json").write_bytes((source / "adapter_config.json").read_bytes())
    data = bytearray((source / "adapter_model.safetensors").read_bytes())
    (size,) = struct.unpack("<Q", data[:8])
    for tensor, place in json.loads(data[8 : 8 + size]).items():
        if "lora_B" in tensor:
            begin, end = (8 + size + offset for offset in place["data_offsets"])
            data[begin:end] = bytes(end - begin)
    (target / "adapter_model.safetensors").write_bytes(data)


def spoil_last_byte(path: Path) -> None:
    """Change the last value of a file a little."""
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)


def test_registry_gives_the_same_bytes_as_this_machine(shelf: Shelf) -> None:
    here = shelf.compose(*SUM, f"{shelf.cpp}*0.7", f"{shelf.prose}*0.3")
    words = ("compose", "-o", f"{shelf.blend}@remote", "--remote", *SUM)
    there = shelf.client.facts(*words, f"{shelf.cpp}*0.7", f"{shelf.prose}*0.3", limit=LIMIT)
    assert there["job"]["state"] == "done"
    assert there["job"]["result"]["manifest"] == here["manifest"]
    assert shelf.client.facts("reproduce", f"{shelf.blend}@remote", limit=LIMIT)["same"]


def test_job_of_a_composition_that_cannot_be_done_fails_with_its_reason(shelf: Shelf) -> None:
    shelf.client.run("repo", "create", shelf.blend)
    words = ("--remote", "-o", shelf.blend, "--method", "sum", "--rank", "999")
    error = shelf.refusal(*words, shelf.cpp, shelf.prose)
    assert error["kind"] == "rank-invalid"


def test_refused_composition_makes_no_repository(shelf: Shelf) -> None:
    words = ("-o", shelf.blend, "--create", "--method", "sum", "--rank", "999")
    assert shelf.refusal(*words, shelf.cpp, shelf.prose)["kind"] == "rank-invalid"
    assert shelf.client.refusal("log", shelf.blend)["kind"] == "repository-not-found"
