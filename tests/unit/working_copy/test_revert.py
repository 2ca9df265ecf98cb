import pytest

from copies.workshop import CONFIG, WEIGHTS, Workshop, config_bytes, weight_bytes
from plait.errors import Conflict, InvalidInput, NotFound
from plait.model.commit import Base, Commit, Origin, OriginKind
from plait.model.ids import CommitId
from plait.model.refs import DEFAULT_BRANCH
from plait.working_copy.commit import NewCommit, commit_folder
from plait.working_copy.refs import write_refs
from plait.working_copy.revert import Reverted, RevertRequest, revert
from plait.working_copy.status import read_status
from plait.working_copy.three_way import Side


def run(workshop: Workshop, revision: str, **options: object) -> Reverted:
    request = RevertRequest(revision, workshop.authorship(), **options)  # type: ignore[arg-type]
    return revert(workshop.copy, request)


def test_last_commit_is_taken_back_by_a_new_one(workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    first = workshop.files()
    second = workshop.train_and_commit(2, "two")
    made = run(workshop, "HEAD")
    assert workshop.files() == first
    commit = workshop.copy.get_commit(made.id)
    assert commit.parents == (second,)
    assert commit.origin == Origin(OriginKind.REVERT, {"commit": second})
    assert commit.message == f'Revert "two"\n\nThis takes back commit {second}.'
    assert workshop.copy.find_head_commit() == made.id
    assert read_status(workshop.copy).is_clean


def test_later_changes_of_other_files_stay(workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    target = workshop.train_and_commit(2)
    workshop.write({"README.md": b"later"})
    workshop.commit()
    run(workshop, target[:10])
    assert workshop.files()["README.md"] == b"later"
    assert workshop.files()[WEIGHTS] == weight_bytes(1)


def test_file_that_changed_again_is_a_conflict_that_a_side_settles(workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    target = workshop.train_and_commit(2)
    workshop.train_and_commit(3)
    with pytest.raises(Conflict, match="--theirs") as caught:
        run(workshop, target)
    assert caught.value.kind == "merge-conflict"
    assert caught.value.details["files"] == [WEIGHTS]
    run(workshop, target, prefer=Side.THEIRS)
    assert workshop.files()[WEIGHTS] == weight_bytes(1)


def test_what_is_gone_already_cannot_be_taken_back(workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    target = workshop.train_and_commit(2)
    run(workshop, target)
    with pytest.raises(Conflict) as caught:
        run(workshop, target)
    assert caught.value.kind == "nothing-to-commit"


def test_uncommitted_changes_refuse_a_revert_that_touches_them(workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    head = workshop.train_and_commit(2)
    workshop.write({WEIGHTS: weight_bytes(9)})
    with pytest.raises(Conflict) as caught:
        run(workshop, "HEAD")
    assert caught.value.kind == "uncommitted-changes"
    assert workshop.copy.find_head_commit() == head
    assert workshop.files()[WEIGHTS] == weight_bytes(9)
    run(workshop, "HEAD", discard_changes=True)
    assert workshop.files()[WEIGHTS] == weight_bytes(1)


def test_first_commit_cannot_be_taken_back_since_no_adapter_would_be_left(
    workshop: Workshop,
) -> None:
    workshop.train_and_commit(1)
    with pytest.raises(InvalidInput) as caught:
        run(workshop, "HEAD")
    assert caught.value.kind == "adapter-config-missing"


def test_commit_that_added_the_weights_cannot_be_taken_back(workshop: Workshop) -> None:
    workshop.train(1)
    workshop.write({"extra/other.safetensors": weight_bytes(4), WEIGHTS: None})
    workshop.commit()
    workshop.write({WEIGHTS: weight_bytes(1), "extra/other.safetensors": None})
    second = workshop.commit()
    workshop.write({"note": b"n"})
    workshop.commit()
    run(workshop, second)
    assert set(workshop.files()) == {CONFIG, "extra/other.safetensors", "note"}


def test_base_model_goes_back_with_the_files(workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    workshop.train(2, base_model_name_or_path="org/other")
    second = workshop.commit()
    assert workshop.copy.get_commit(second).base == Base("org/other")
    made = run(workshop, "HEAD")
    assert workshop.copy.get_commit(made.id).base == Base("micro/base")


def test_base_model_that_changed_again_is_a_conflict(workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    workshop.write({"note": b"n"})
    target = commit_folder(
        workshop.copy, NewCommit("other base", workshop.authorship(), Base("org/b"))
    ).id
    workshop.write({"note2": b"n"})
    commit_folder(workshop.copy, NewCommit("third", workshop.authorship(), Base("org/c")))
    with pytest.raises(Conflict, match="the base model"):
        run(workshop, target)


def merge_of(workshop: Workshop, *parents: CommitId) -> CommitId:
    copy = workshop.copy
    theirs = copy.get_commit(parents[1])
    merge = Commit(
        manifest=theirs.manifest,
        parents=parents,
        author=theirs.author,
        time=theirs.time,
        message="merge",
        base=theirs.base,
        origin=Origin(OriginKind.MERGE),
    )
    commit = copy.record(merge, copy.get_manifest(theirs.manifest))
    write_refs(copy.layout, copy.read_refs().with_branch(DEFAULT_BRANCH, commit))
    return commit


def test_merge_is_taken_back_to_the_parent_that_is_named(workshop: Workshop) -> None:
    first = workshop.train_and_commit(1)
    second = workshop.train_and_commit(2)
    merge_of(workshop, first, second)
    with pytest.raises(InvalidInput, match="-m N"):
        run(workshop, "HEAD")
    with pytest.raises(InvalidInput, match="no parent number 3"):
        run(workshop, "HEAD", mainline=3)
    run(workshop, "HEAD", mainline=1)
    assert workshop.files()[WEIGHTS] == weight_bytes(1)


def test_revert_needs_a_commit_that_is_there(workshop: Workshop) -> None:
    with pytest.raises(NotFound):
        run(workshop, "HEAD")
    workshop.train_and_commit(1)
    with pytest.raises(NotFound):
        run(workshop, "nothing")


def test_revert_keeps_the_config_byte_for_byte(workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    workshop.train(1, r=4)
    workshop.commit()
    run(workshop, "HEAD")
    assert workshop.files()[CONFIG] == config_bytes()
