"""`plait diff`, offline: config, files, and how far the effective deltas moved."""

import pytest

from copies.prompt import Prompt
from copies.workshop import CONFIG, WEIGHTS, Workshop, config_bytes, weight_bytes


def test_folder_is_compared_with_the_last_commit(ada: Prompt, workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    assert ada.run("diff") == "HEAD and the folder are the same\n"
    workshop.train(2)
    text = ada.run("diff")
    assert text.startswith("HEAD -> the folder\n")
    assert f"changed  {WEIGHTS}" in text
    assert "tensors: 2 changed" in text
    assert "unchanged: 1" in text


def test_two_versions_are_compared_in_the_order_that_they_are_given(
    ada: Prompt, workshop: Workshop
) -> None:
    workshop.train_and_commit(1)
    workshop.train_and_commit(2)
    forward, back = ada.ask("diff", "main~1", "main"), ada.ask("diff", "main", "main~1")
    assert (forward["old"], forward["new"]) == ("main~1", "main")
    assert forward["deltas"]["total"]["old_norm"] == back["deltas"]["total"]["new_norm"]


def test_change_of_the_effective_delta_is_that_of_the_matrices(
    ada: Prompt, workshop: Workshop
) -> None:
    workshop.train_and_commit(1)
    workshop.write({CONFIG: config_bytes(lora_alpha=8)})
    facts = ada.ask("diff")
    # Twice the scaling is twice the delta, in the same direction.
    total = facts["deltas"]["total"]
    assert total["relative_change"] == pytest.approx(1.0)
    assert total["cosine"] == pytest.approx(1.0)
    (field,) = facts["config"]
    assert (field["field"], field["old"], field["new"]) == ("lora_alpha", 4, 8)
    assert "100.00%" in ada.run("diff")
    assert "lora_alpha  4  ->  8" in ada.run("diff")


def test_order_of_target_modules_is_no_change_of_the_config(
    ada: Prompt, workshop: Workshop
) -> None:
    workshop.train(1, target_modules=["q_proj", "v_proj"])
    workshop.commit()
    workshop.write({CONFIG: config_bytes(target_modules=["v_proj", "q_proj"])})
    facts = ada.ask("diff")
    assert facts["config"] == []
    assert facts["deltas"] is None
    assert "no tensor changed" in facts["remark"]


def test_added_removed_and_renamed_files_are_told(ada: Prompt, workshop: Workshop) -> None:
    workshop.write({"old.md": b"text of a file", "gone.md": b"another"})
    workshop.train_and_commit(1)
    workshop.write({"old.md": None, "gone.md": None})
    workshop.write({"new.md": b"text of a file", "extra.md": b"more"})
    text = ada.run("diff")
    assert "added" in text
    assert "removed" in text
    assert "old.md => new.md" in text


def test_weights_that_are_damaged_are_an_error_and_not_a_difference(
    ada: Prompt, workshop: Workshop
) -> None:
    workshop.train_and_commit(1)
    workshop.write({WEIGHTS: weight_bytes(1)[:-1]})
    assert WEIGHTS in ada.fail("diff")


def test_too_many_revisions_are_wrong_usage(ada: Prompt, workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    assert "at most two" in ada.fail("diff", "a", "b", "c", "d", status=2)
    assert "without @" in ada.fail("diff", "team/sql@main", "a", "b", status=2)


def test_names_of_others_cannot_control_the_terminal(ada: Prompt, workshop: Workshop) -> None:
    workshop.train_and_commit(1)
    workshop.train(1, revision="\033[2J")
    assert "\033" not in ada.run("diff")
