from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from plait import probe_tokens
from plait.errors import InvalidInput
from plait.probe_tokens import ProbeTokens, draw_tokens, find_probe_tokens, read_probe_tokens


def write(folder: Path, **groups: NDArray[np.generic]) -> Path:
    path = folder / probe_tokens.FILE_NAME
    save_file(groups, path)
    return path


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_rows_of_any_integer_dtype_are_read(dtype: str, tmp_path: Path) -> None:
    rows = np.array([[1, 2, 3], [100, 5, 6]], dtype)
    tokens = read_probe_tokens(write(tmp_path, text=rows))
    assert tokens.groups == {"text": ((1, 2, 3), (100, 5, 6))}
    assert tokens.count == 6
    assert tokens.are_text


def test_large_tokens_keep_their_value(tmp_path: Path) -> None:
    path = write(tmp_path, text=np.array([[2**31 - 1, 2**24 + 1]], "u4"))
    assert read_probe_tokens(path).groups["text"] == ((2**31 - 1, 2**24 + 1),)


def test_the_demo_data_have_four_groups(micro_data: Path) -> None:
    tokens = read_probe_tokens(micro_data / "heldout_tokens.safetensors")
    assert list(tokens.groups) == ["cpp", "prose", "python", "tests"]
    assert {len(row) for rows in tokens.groups.values() for row in rows} == {128}
    assert tokens.count == 4 * 16 * 128


def test_the_first_rows_of_all_groups_come_first() -> None:
    groups = {"a": ((1, 1), (2, 2), (3, 3)), "b": ((4, 4),)}
    tokens = ProbeTokens(draw_tokens(10).digest, groups, are_text=True)
    assert tokens.list_rows() == [("a", (1, 1)), ("b", (4, 4)), ("a", (2, 2)), ("a", (3, 3))]


def test_a_folder_without_the_file_has_no_tokens(tmp_path: Path) -> None:
    assert find_probe_tokens(tmp_path) is None
    write(tmp_path, text=np.array([[1, 2]]))
    assert find_probe_tokens(tmp_path) is not None


@pytest.mark.parametrize(
    "rows",
    [
        np.array([[1.0, 2.0]]),
        np.array([1, 2]),
        np.array([[1], [2]]),
        np.zeros((0, 5), int),
        np.array([[1, -2]]),
        np.zeros((1, 9000), int),
        np.zeros((9, 8192), int),
    ],
)
def test_what_is_no_group_of_rows_is_refused(rows: NDArray[np.generic], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"probe_tokens\.safetensors cannot be used"):
        read_probe_tokens(write(tmp_path, text=rows))


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="needs 1 to 64 tensors"):
        read_probe_tokens(write(tmp_path))


def test_other_content_has_another_digest(tmp_path: Path) -> None:
    first = read_probe_tokens(write(tmp_path, text=np.array([[1, 2]]))).digest
    second = read_probe_tokens(write(tmp_path, text=np.array([[1, 3]]))).digest
    assert first != second


def test_drawn_tokens_are_the_same_on_every_machine() -> None:
    tokens = draw_tokens(32_000)
    assert tokens.digest == draw_tokens(32_000).digest != draw_tokens(32_001).digest
    assert tokens.groups["drawn"][0][:4] == (12089, 9155, 2060, 29730)
    assert tokens.count == 256
    assert not tokens.are_text
    drawn = [token for row in draw_tokens(7).groups["drawn"] for token in row]
    assert set(drawn) == set(range(7))
