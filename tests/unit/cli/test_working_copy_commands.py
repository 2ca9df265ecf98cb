"""The commands of a working copy as a person types them, offline: what they do and print."""

import pytest

from copies.prompt import Prompt
from copies.workshop import WEIGHTS, Workshop, weight_bytes


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("log",),
        ("log", "--graph", "--all"),
        ("show",),
        ("diff",),
        ("diff", "main~1", "main"),
        ("branch",),
        ("branch", "-a"),
        ("branch", "new"),
        ("branch", "-m", "trunk"),
        ("branch", "-d", "old", "older"),
        ("tag",),
        ("tag", "v2"),
        ("tag", "-d", "v1"),
        ("switch", "old"),
        ("switch", "-c", "new"),
        ("switch", "--detach", "main~1"),
        ("revert", "HEAD"),
        ("merge-base", "main", "old"),
        ("cache", "show"),
        ("init", "elsewhere"),
    ],
    ids=" ".join,
)
def test_json_is_one_document_with_nothing_beside_it(
    ada: Prompt, workshop: Workshop, words: tuple[str, ...]
) -> None:
    if words[0] == "init":
        ada = ada.at(workshop.folder.parent)
    workshop.train_and_commit(1)
    workshop.train_and_commit(2)
    for setting_up in (("branch", "old"), ("branch", "older"), ("tag", "v1")):
        Prompt(workshop.folder).run(*setting_up)
    answer = ada.type(*words, "--json")
    assert answer.status == 0, answer.err
    assert isinstance(answer.facts(), dict)
    assert answer.err == ""


def test_init_says_where_and_on_which_branch(ada: Prompt, workshop: Workshop) -> None:
    outside = ada.at(workshop.folder.parent)
    assert outside.run("init", "new").endswith("/new on branch main\n")
    facts = outside.ask("init", "new", "--remote", "team/sql", "--url", "http://127.0.0.1:1")
    assert facts["remote"] == {"url": "http://127.0.0.1:1", "name": "team/sql"}


def test_init_beside_the_working_copy_that_one_is_in_is_not_inside_of_it(
    ada: Prompt, workshop: Workshop
) -> None:
    made = ada.ask("init", "../beside")
    assert made["folder"] == str(workshop.folder.parent / "beside")
    assert "cannot lie in another" in ada.fail("init", "inside")


def test_commit_tells_its_branch_and_its_changes(ada: Prompt, workshop: Workshop) -> None:
    workshop.train(1)
    assert ada.run("commit", "-m", "First\n\nbody").endswith("] First (2 files changed)\n")
    workshop.train(2)
    made = ada.ask("commit", "-m", "Second", "--base", "other/base@rev")
    assert made["branch"] == "main"
    assert made["base"] == {"name": "other/base", "revision": "rev", "fingerprint": None}
    assert [change["path"] for change in made["changes"]["changes"]] == [WEIGHTS]
    assert "Nothing to commit" in ada.fail("commit", "-m", "Third")


def test_author_can_be_given_by_hand_and_is_remarked_when_nobody_named_one(
    workshop: Workshop,
) -> None:
    nobody = Prompt(workshop.folder)
    workshop.train(1)
    answer = nobody.type("commit", "-m", "First", "--author", "Bob <bob@example.org>")
    assert answer.err == ""
    assert nobody.ask("show")["commit"]["author"] == {"name": "Bob", "email": "bob@example.org"}
    workshop.train(2)
    assert "PLAIT_AUTHOR_NAME" in nobody.type("commit", "-m", "Second").err
    workshop.train(3)
    assert nobody.type("commit", "-m", "Third").err == ""


def test_status_lists_what_a_commit_would_record(ada: Prompt, workshop: Workshop) -> None:
    assert "without commits yet" in ada.run("status")
    commit = workshop.train_and_commit(1)
    assert ada.run("status") == (
        f"On branch main, at {commit[:12]}\n"
        "Nothing to commit, the folder is as the last commit has it\n"
    )
    workshop.write({"new.md": b"x", WEIGHTS: weight_bytes(2), "model.bin": b"\x80"})
    assert ada.run("status", "-s") == f"A model.bin\nA new.md\nM {WEIGHTS}\n"
    text = ada.run("status")
    assert "No commit takes model.bin" in text
    workshop.write({WEIGHTS: None})
    assert f"D {WEIGHTS}" in ada.run("status", "-s")


def test_switch_tells_where_it_went_and_what_it_left_behind(
    ada: Prompt, workshop: Workshop
) -> None:
    first = workshop.train_and_commit(1)
    assert ada.run("switch", "-c", "fix") == f"Switched to new branch fix, at {first[:12]}\n"
    assert ada.run("switch", "main") == f"Switched to branch main, at {first[:12]}\n"
    assert ada.run("switch", "--detach") == f"HEAD is now at {first[:12]}, on no branch\n"
    assert "HEAD detached" in ada.run("status")
    lonely = workshop.train_and_commit(2)
    assert f"plait branch NAME {lonely[:12]}" in ada.type("switch", "main").err
    assert "give one" in ada.fail("switch", "-c", "x", "--detach", status=2)


def test_switch_over_changes_names_the_files_and_the_way_out(
    ada: Prompt, workshop: Workshop
) -> None:
    workshop.train_and_commit(1)
    ada.run("switch", "-c", "fix")
    workshop.train_and_commit(2)
    workshop.train(3)
    message = ada.fail("switch", "main")
    assert WEIGHTS in message
    assert "--discard-changes" in message
    ada.run("switch", "main", "--discard-changes")
    assert (workshop.folder / WEIGHTS).read_bytes() == weight_bytes(1)


def test_branches_are_listed_made_renamed_and_deleted(ada: Prompt, workshop: Workshop) -> None:
    assert ada.run("branch").split() == ["*", "main", "(no", "commit", "yet)"]
    first = workshop.train_and_commit(1, "one")
    assert ada.run("branch", "fix") == f"Branch fix at {first[:12]}\n"
    assert ada.run("branch", "-m", "fix", "fixed") == "Renamed to fixed\n"
    listed = ada.run("branch").splitlines()
    assert [line.split() for line in listed] == [
        ["fixed", first[:12], "one"],
        ["*", "main", first[:12], "one"],
    ]
    assert "checked out" in ada.fail("branch", "-d", "main", status=2)
    assert ada.run("branch", "-d", "fixed") == f"Deleted branch fixed (it was at {first[:12]})\n"
    ada.run("switch", "--detach")
    assert "(detached)" in ada.run("branch")


def test_branch_with_commits_of_its_own_is_deleted_only_by_force(
    ada: Prompt, workshop: Workshop
) -> None:
    workshop.train_and_commit(1)
    ada.run("switch", "-c", "fix")
    workshop.train_and_commit(2)
    ada.run("switch", "main")
    assert "-D" in ada.fail("branch", "-d", "fix")
    ada.run("branch", "-D", "fix")


def test_tags_are_listed_made_and_deleted(ada: Prompt, workshop: Workshop) -> None:
    first = workshop.train_and_commit(1)
    workshop.train_and_commit(2)
    assert ada.run("tag", "v1", "main~1") == f"Tag v1 at {first[:12]}\n"
    assert ada.run("tag").split() == ["v1", first[:12]]
    assert "v1" in ada.fail("tag", "v1")
    assert ada.run("tag", "-d", "v1") == f"Deleted tag v1 (it was at {first[:12]})\n"
    assert "v1" in ada.fail("tag", "-d", "v1")


def test_revert_takes_the_last_commit_back(ada: Prompt, workshop: Workshop) -> None:
    workshop.train_and_commit(1, "one")
    second = workshop.train_and_commit(2, "two")
    assert ada.run("revert", "HEAD").endswith('] Revert "two"\n')
    assert (workshop.folder / WEIGHTS).read_bytes() == weight_bytes(1)
    assert "Nothing to take back" in ada.fail("revert", second)


def test_revert_of_what_changed_again_needs_a_side(ada: Prompt, workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    second = workshop.train_and_commit(2)
    workshop.train_and_commit(3)
    message = ada.fail("revert", second)
    assert WEIGHTS in message
    assert "--theirs" in message
    ada.run("revert", second, "--theirs")
    assert (workshop.folder / WEIGHTS).read_bytes() == weight_bytes(1)
