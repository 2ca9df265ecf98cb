import os
import stat

import pytest

from copies.killing import survives
from copies.workshop import ADA, CONFIG, WEIGHTS, Workshop, config_bytes, weight_bytes
from plait.errors import Conflict, InvalidInput, PlaitError, Unavailable
from plait.model.commit import Base, OriginKind
from plait.model.ids import ObjectId
from plait.working_copy.commit import NewCommit, commit_folder
from plait.working_copy.status import read_status


def test_commit_takes_the_whole_folder_and_moves_the_branch(workshop: Workshop) -> None:
    workshop.train(1)
    workshop.write({"sub/README.md": b"text"})
    made = commit_folder(workshop.copy, NewCommit("first\n\nlonger\n", workshop.authorship()))
    copy = workshop.copy
    assert copy.read_refs().branches == {"main": made.id}
    commit = copy.get_commit(made.id)
    assert commit == made.commit
    assert commit.id == made.id
    assert commit.message == "first\n\nlonger"
    assert (commit.author, commit.time) == (ADA, "2026-11-24T06:01:00Z")
    assert commit.parents == ()
    assert commit.base == Base("micro/base")
    assert commit.origin.kind is OriginKind.TRAINING
    manifest = copy.get_version(made.id)
    assert [file.path for file in manifest.files] == [CONFIG, WEIGHTS, "sub/README.md"]
    for file in manifest.files:
        assert copy.objects.read(file.sha256) == (workshop.folder / file.path).read_bytes()


def test_second_commit_continues_the_first(workshop: Workshop) -> None:
    first = workshop.train_and_commit(1)
    second = workshop.train_and_commit(2)
    assert workshop.copy.get_commit(second).parents == (first,)
    assert workshop.copy.graph.load([second])[second].generation == 2


def test_commit_of_the_same_files_is_refused(workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    with pytest.raises(Conflict) as caught:
        workshop.commit()
    assert caught.value.kind == "nothing-to-commit"


def test_what_is_no_adapter_is_refused_and_nothing_is_stored(workshop: Workshop) -> None:
    cases = {
        "adapter-config-missing": {WEIGHTS: weight_bytes(1)},
        "adapter-empty": {CONFIG: config_bytes()},
        "invalid-safetensors": {CONFIG: config_bytes(), WEIGHTS: weight_bytes(1)[:-4]},
        "pickle-refused": {CONFIG: config_bytes(), "adapter_model.bin": b"x"},
        "base-unknown": {
            CONFIG: config_bytes(base_model_name_or_path=None),
            WEIGHTS: weight_bytes(1),
        },
        "invalid-adapter-config": {CONFIG: b'{"r": 8}', WEIGHTS: weight_bytes(1)},
    }
    for kind, files in cases.items():
        workshop.write(files)
        with pytest.raises(InvalidInput) as caught:
            workshop.commit()
        assert caught.value.kind == kind
        workshop.write(dict.fromkeys(workshop.files()))
    assert not workshop.copy.read_refs().branches
    assert not workshop.copy.layout.objects.exists()


def test_symbolic_link_is_refused(workshop: Workshop) -> None:
    workshop.train(1)
    (workshop.folder / "link").symlink_to(workshop.folder / CONFIG)
    with pytest.raises(InvalidInput) as caught:
        workshop.commit()
    assert caught.value.kind == "symlink-refused"


def test_empty_message_is_refused(workshop: Workshop) -> None:
    workshop.train(1)
    with pytest.raises(InvalidInput, match="-m MESSAGE"):
        workshop.commit(" \n ")


def test_given_base_wins_then_the_parents_then_the_configs(workshop: Workshop) -> None:
    def commit(value: int, base: Base | None, **config: object) -> Base:
        workshop.train(value, **config)
        new = NewCommit(f"{value}", workshop.authorship(), base)
        return commit_folder(workshop.copy, new).commit.base

    fingerprint = ObjectId("f" * 64)
    named = Base("org/named", "r1", fingerprint)
    assert commit(1, named) == named
    assert commit(2, None) == named
    moved = {"base_model_name_or_path": "/data/copy-of-base"}
    # Training for another base is told by the config's changing its mind.
    assert commit(3, None, **moved) == Base("/data/copy-of-base")
    assert commit(4, Base("", None, fingerprint), **moved) == Base(
        "/data/copy-of-base", None, fingerprint
    )


def test_trainer_state_is_left_out_and_told(workshop: Workshop) -> None:
    workshop.train(1)
    workshop.write({"optimizer.pt": b"state", "trainer_state.json": b"{}"})
    made = commit_folder(workshop.copy, NewCommit("m", workshop.authorship()))
    assert made.left_out == ("optimizer.pt", "trainer_state.json")
    assert read_status(workshop.copy).is_clean


def test_commit_on_a_detached_head_moves_head_alone(workshop: Workshop) -> None:
    first = workshop.train_and_commit(1)
    workshop.copy.layout.head.write_text(first)
    second = workshop.train_and_commit(2)
    assert workshop.copy.read_head().commit == second
    assert workshop.copy.read_refs().branches == {"main": first}


def test_commit_while_another_command_writes_is_refused(workshop: Workshop) -> None:
    workshop.train(1)
    with workshop.copy.changing(), pytest.raises(Unavailable):
        workshop.commit()


def test_full_disk_is_told_and_leaves_the_branch(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = workshop.train_and_commit(1)
    workshop.train(2)

    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(Unavailable) as caught:
        workshop.commit()
    assert caught.value.kind == "disk-full"
    monkeypatch.undo()
    assert workshop.copy.find_head_commit() == first
    assert workshop.copy.find_head_commit() != workshop.commit()


def test_commit_that_is_killed_anywhere_can_be_made_again(workshop: Workshop) -> None:
    first = workshop.train_and_commit(1)
    workshop.train(2)
    number = 0
    while not survives(workshop.commit, number):
        head = workshop.copy.find_head_commit()
        assert head is not None
        if head != first:  # killed after the branch had moved
            break
        assert read_status(workshop.copy).modified
        number += 1
    assert number > 3
    if workshop.copy.find_head_commit() == first:
        workshop.commit()
    assert read_status(workshop.copy).is_clean
    for path in workshop.copy.layout.objects.rglob("*"):
        assert path.is_dir() or stat.S_IMODE(path.stat().st_mode) == 0o444


def test_objects_that_commits_share_are_stored_once(workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    before = sum(1 for _ in workshop.copy.layout.objects.rglob("*") if _.is_file())
    workshop.train_and_commit(2)
    after = sum(1 for _ in workshop.copy.layout.objects.rglob("*") if _.is_file())
    assert after - before == 3  # weights, manifest, commit


def test_errors_of_a_commit_are_plaits_own(workshop: Workshop) -> None:
    with pytest.raises(PlaitError):
        workshop.commit()
