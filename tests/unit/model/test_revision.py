from collections.abc import Sequence

import pytest

from plait.errors import InvalidInput, NotFound
from plait.model.ids import CommitId, hash_bytes
from plait.model.revision import (
    LARGEST_STEP,
    MOST_STEPS,
    Revision,
    Step,
    StepKind,
    resolve_revision,
)


class History:
    """A chain of commits 0 to 9, on which a commit `merge` joins 9 and a root `side`."""

    def __init__(self) -> None:
        self.chain = [CommitId(hash_bytes(b"%d" % number)) for number in range(10)]
        self.side = CommitId(hash_bytes(b"side"))
        self.merge = CommitId(hash_bytes(b"merge"))
        self.parents: dict[CommitId, tuple[CommitId, ...]] = {
            commit: (parent,) for parent, commit in zip(self.chain, self.chain[1:], strict=False)
        }
        self.parents |= {
            self.chain[0]: (),
            self.side: (),
            self.merge: (self.chain[9], self.side),
        }
        self.refs = {"main": self.merge, "HEAD": self.merge, "v1.2": self.chain[3]}

    def find_ref(self, name: str) -> CommitId | None:
        return self.refs.get(name)

    def find_by_prefix(self, prefix: str) -> Sequence[CommitId]:
        return [commit for commit in self.parents if commit.startswith(prefix)][:2]

    def find_parents(self, commit: CommitId) -> tuple[CommitId, ...]:
        return self.parents[commit]

    def find_ancestor(self, commit: CommitId, generations: int) -> CommitId | None:
        for _ in range(generations):
            if not self.parents[commit]:
                return None
            commit = self.parents[commit][0]
        return commit


@pytest.fixture
def history() -> History:
    return History()


def test_revision_is_an_anchor_and_moves_in_order() -> None:
    assert Revision.parse("main~2^2~") == Revision(
        "main",
        (
            Step(StepKind.ANCESTOR, 2),
            Step(StepKind.PARENT, 2),
            Step(StepKind.ANCESTOR, 1),
        ),
    )
    assert Revision.parse("@^0").anchor == "HEAD"
    assert Revision.parse("HEAD") == Revision("HEAD", ())


@pytest.mark.parametrize(
    ("text", "count"),
    [("~", 1), ("~0", 0), ("~00", 0), ("~007", 7), ("~" + "0" * 5_000 + "12", 12), ("^10", 10)],
)
def test_count_of_a_move_is_read_as_written(text: str, count: int) -> None:
    (step,) = Revision.parse("main" + text).steps
    assert step.count == count


@pytest.mark.parametrize(
    "text",
    [
        "",
        "~1",
        "^",
        "main~x",
        "main~-1",
        "main~1.5",
        "main~1x",
        "main^{tree}",
        "main@{1}",
        "main..dev",
        "main:file",
        "main~٣",
        "main~1\n",
        "a b",
        "../x",
        "\ud800",
        f"main~{LARGEST_STEP + 1}",
        "main~" + "9" * 10_000,
        "main" + "^" * (MOST_STEPS + 1),
        "main" + "~1^2" * 5_000,
        "x" * 1_000_000,
    ],
)
def test_text_of_another_form_is_no_revision(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Revision.parse(text)
    assert caught.value.kind in {"invalid-revision", "invalid-ref-name"}
    assert len(caught.value.message) < 600
    caught.value.message.encode()


def test_branch_tag_and_head_resolve(history: History) -> None:
    for text in ("main", "HEAD", "@", "main~0", "main^0", "@^0~0"):
        assert resolve_revision(text, history) == history.merge
    assert resolve_revision("v1.2", history) == history.chain[3]


def test_moves_follow_first_parents_or_the_named_parent(history: History) -> None:
    for text, commit in (
        ("main~1", history.chain[9]),
        ("main^", history.chain[9]),
        ("main^1", history.chain[9]),
        ("main^2", history.side),
        ("main~10", history.chain[0]),
        ("main~3^~2", history.chain[4]),
        ("main^^^", history.chain[7]),
        ("v1.2~3", history.chain[0]),
    ):
        assert resolve_revision(text, history) == commit


@pytest.mark.parametrize("text", ["main~11", "main^3", "main^2^", "main~10~1", "main^2~1", "@~999"])
def test_move_beyond_history_is_not_found(history: History, text: str) -> None:
    with pytest.raises(NotFound, match="goes further back than history") as caught:
        resolve_revision(text, history)
    assert caught.value.kind == "revision-not-found"


def test_commit_is_found_by_its_id_and_by_a_unique_prefix(history: History) -> None:
    commit = history.chain[5]
    for length in (7, 8, 40, 64):
        assert resolve_revision(commit[:length], history) == commit
    assert resolve_revision(commit[:7] + "~1", history) == history.chain[4]


def test_prefix_below_seven_digits_names_no_commit(history: History) -> None:
    with pytest.raises(NotFound, match="no branch, tag or commit"):
        resolve_revision(history.chain[5][:6], history)


def test_prefix_of_several_commits_is_ambiguous(history: History) -> None:
    twin = CommitId(history.chain[5][:7] + "0" * 57)
    history.parents[twin] = ()
    with pytest.raises(InvalidInput, match="begins several commit ids") as caught:
        resolve_revision(twin[:7], history)
    assert caught.value.kind == "revision-ambiguous"
    assert resolve_revision(twin, history) == twin


def test_ref_wins_over_a_commit_of_the_same_prefix(history: History) -> None:
    prefix = history.chain[5][:7]
    history.refs[prefix] = history.side
    assert resolve_revision(prefix, history) == history.side


@pytest.mark.parametrize("text", ["dev", "Main", "abcdef1", "ABCDEF1", "0" * 64, "main/x"])
def test_name_of_nothing_is_not_found(history: History, text: str) -> None:
    with pytest.raises(NotFound, match="There is no branch, tag or commit"):
        resolve_revision(text, history)


def test_head_of_an_empty_repository_is_not_found(history: History) -> None:
    history.refs.clear()
    with pytest.raises(NotFound):
        resolve_revision("@", history)
