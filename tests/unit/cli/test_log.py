"""`plait log` and `plait show`, offline."""

import io
import re
from collections.abc import Sequence

import pytest

from copies.prompt import Prompt
from copies.workshop import Workshop
from plait.cli.describe_commit import ShownCommit, format_commit
from plait.cli.log_graph import LogGraph
from plait.cli.terminal import Terminal
from plait.model.commit import Base, Commit, Origin, OriginKind, Person
from plait.model.ids import CommitId, ManifestId
from plait.working_copy.branch import create_branch
from plait.working_copy.switch import detach
from plait.working_copy.tag import create_tag


def draw(*commits: tuple[str, Sequence[str]]) -> str:
    """Return the graph of commits, each with its name beside its row."""
    graph: LogGraph[str] = LogGraph()
    lines = []
    for name, parents in commits:
        rows, _ = graph.draw(name, parents)
        lines += [f"{row}  {name}" if "*" in row else row for row in rows]
    return "\n".join(lines)


def test_line_of_history_is_a_column() -> None:
    assert draw(("b", "a"), ("a", "")) == "*  b\n*  a"


def test_merge_opens_a_lane_and_the_fork_closes_it() -> None:
    picture = draw(("m", "lr"), ("r", "a"), ("l", "a"), ("a", ""))
    assert picture == "*  m\n|\\\n| *  r\n* |  l\n|/\n*  a"


def test_two_branches_run_side_by_side() -> None:
    assert draw(("r", "a"), ("l", "a"), ("a", "")) == "*  r\n| *  l\n|/\n*  a"


def test_unrelated_histories_are_not_joined() -> None:
    assert draw(("b", "a"), ("a", ""), ("x", "")) == "*  b\n*  a\n\n*  x"


def test_log_tells_the_commits_newest_first_with_their_names(
    ada: Prompt, workshop: Workshop
) -> None:
    first = workshop.train_and_commit(1, "one\n\nwith a body")
    second = workshop.train_and_commit(2, "two")
    create_branch(workshop.copy, "fix", start=first)
    create_tag(workshop.copy, "v1")
    text = ada.run("log")
    assert f"commit {second} (HEAD -> main, tag: v1)\n" in text
    assert f"commit {first} (fix)\n" in text
    assert text.index(second) < text.index(first)
    assert "    one\n\n    with a body\n" in text
    assert "Author:  Ada <ada@example.org>\n" in text
    assert ada.run("log", "--oneline") == (
        f"{second[:12]} (HEAD -> main, tag: v1) two\n{first[:12]} (fix) one\n"
    )


def test_log_can_be_bounded_and_begun_elsewhere(ada: Prompt, workshop: Workshop) -> None:
    for number in range(4):
        workshop.train_and_commit(number, f"number {number}")
    assert ada.run("log", "--oneline", "-n", "0") == ""
    assert len(ada.run("log", "--oneline", "-n", "2").splitlines()) == 2
    assert ada.run("log", "--oneline", "main~3").endswith("number 0\n")


def test_log_of_all_shows_what_only_a_branch_or_a_detached_head_reaches(
    ada: Prompt, workshop: Workshop
) -> None:
    first = workshop.train_and_commit(1)
    ada.run("switch", "-c", "side")
    side = workshop.train_and_commit(2)
    detach(workshop.copy, first)
    lonely = workshop.train_and_commit(3)
    shown = {item["id"] for item in ada.ask("log", "--all")["commits"]}
    assert shown == {first, side, lonely}
    assert f"{lonely[:12]} (HEAD)" in ada.run("log", "--oneline")


def test_graph_in_one_line_each_joins_the_branches(ada: Prompt, workshop: Workshop) -> None:
    base = workshop.train_and_commit(1, "base")
    workshop.train_and_commit(2, "ours")
    ada.run("switch", "-c", "side", base)
    workshop.train_and_commit(3, "theirs")
    lines = ada.run("log", "--graph", "--oneline", "--all").splitlines()
    marks = [re.split(r" {2}|[0-9a-f]{12}", line)[0].rstrip() for line in lines]
    assert marks == ["*", "| *", "|/", "*"]
    assert ada.run("log", "--graph", "--all").count("*") == 3


def test_log_as_json_holds_the_commits_whole(ada: Prompt, workshop: Workshop) -> None:
    commit = workshop.train_and_commit(1, "one")
    (shown,) = ada.ask("log")["commits"]
    assert shown["id"] == commit
    assert shown["refs"] == ["HEAD -> main"]
    assert shown["commit"] == workshop.copy.get_commit(commit).to_json()
    assert shown["notes"] == []


def test_log_of_a_branch_without_commits_says_how_to_make_one(ada: Prompt) -> None:
    assert "plait commit" in ada.fail("log")
    assert ada.ask("log", "--all") == {"commits": []}


def test_message_of_others_cannot_control_the_terminal(ada: Prompt, workshop: Workshop) -> None:
    workshop.train(1)
    ada.run("commit", "-m", "evil \N{RIGHT-TO-LEFT OVERRIDE}text")
    for words in (("log",), ("log", "--oneline"), ("show",)):
        assert "evil ?text" in ada.run(*words)


def test_facts_of_others_cannot_pretend_to_be_lines_of_the_log() -> None:
    forged = "1\nAuthor:  Root <root@example.org>"
    commit = Commit(
        manifest=ManifestId("a" * 64),
        parents=(),
        author=Person("Eve", ""),
        time="2026-11-24T06:07:00Z",
        message="A version",
        base=Base(forged),
        origin=Origin(OriginKind.TRAINING, {"note": forged}),
    )
    notes = [{"kind": "metrics", "body": {"loss": forged}}]
    terminal = Terminal(io.StringIO(), io.StringIO(), environ={})
    lines = list(format_commit(terminal, ShownCommit(CommitId("f" * 64), commit, notes=notes)))
    assert [line for line in lines if line.startswith("Author:")] == ["Author:  Eve"]
    assert not any("\n" in line for line in lines)


def test_show_tells_the_adapter_and_its_files(ada: Prompt, workshop: Workshop) -> None:
    commit = workshop.train_and_commit(1)
    text = ada.run("show")
    assert text.startswith(f"commit {commit} (HEAD -> main)\n")
    assert re.search(r"Adapter: LoRA r=2", text)
    assert re.search(r"B  [0-9a-f]{12}  adapter_model.safetensors +2 tensors", text)
    facts = ada.ask("show", commit[:9])
    assert facts["id"] == commit
    assert [file["path"] for file in facts["files"]] == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert [file["tensors"] for file in facts["files"]] == [None, 2]


@pytest.mark.parametrize("words", [("log", "gone"), ("show", "gone"), ("show", "main~9")])
def test_revision_that_names_nothing_is_told(
    ada: Prompt, workshop: Workshop, words: tuple[str, str]
) -> None:
    workshop.train_and_commit(1)
    assert words[1] in ada.fail(*words)


def test_merge_base_is_where_two_lines_parted(ada: Prompt, workshop: Workshop) -> None:
    base = workshop.train_and_commit(1)
    workshop.train_and_commit(2)
    ada.run("switch", "-c", "side", base)
    workshop.train_and_commit(3)
    assert ada.run("merge-base", "main", "side") == f"{base}\n"
    assert ada.ask("merge-base", "side", "main") == {"merge_bases": [base]}
