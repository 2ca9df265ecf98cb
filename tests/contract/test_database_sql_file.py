"""Where the SQLite database may lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from plait_registry.adapters.sql.database import SqlDatabase

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["plain", "with space", "what?now", "100%41", "a#b", "größe"])
def test_database_lies_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    database = SqlDatabase.in_file(folder / "plait.db")
    database.migrate()
    database.check()
    database.close()
    assert (folder / "plait.db").is_file()
