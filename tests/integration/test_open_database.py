"""The database that the settings name is the one that is used, as they say."""

from contextlib import closing
from pathlib import Path

import pytest

from plait.errors import InvalidInput
from plait_registry import cli
from plait_registry.adapters.data_folder import DataFolder
from plait_registry.bootstrap import open_database
from plait_registry.settings import read_settings
from served.postgres import shared_postgres_server


def test_postgresql_is_migrated_where_the_settings_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = shared_postgres_server()
    name = server.new_database()
    monkeypatch.setenv("PLAIT_DATABASE_URL", server.url(name))
    assert cli.run(["migrate", "--data", str(tmp_path)]) == 0
    with server.connect(name) as connection:
        assert connection.execute("SELECT count(*) FROM repositories").fetchone() == (0,)
    assert not (tmp_path / "registry.db").exists()
    server.drop_database(name)


def test_database_gets_the_limits_of_the_settings(tmp_path: Path) -> None:
    environ = {
        "PLAIT_DATABASE_URL": "postgresql+psycopg://db.example.org/plait",
        "PLAIT_DATABASE_POOL": "3",
        "PLAIT_STATEMENT_TIMEOUT_SECONDS": "9",
    }
    with closing(open_database(read_settings({}, environ), DataFolder(tmp_path))) as database:
        assert (database._limits.pool, database._limits.statement_s) == (3, 9)


def test_database_that_cannot_be_used_is_refused_by_its_setting_without_its_password(
    tmp_path: Path,
) -> None:
    settings = read_settings({}, {"PLAIT_DATABASE_URL": "mysql://plait:secret@localhost/plait"})
    with pytest.raises(InvalidInput, match="PLAIT_DATABASE_URL") as caught:
        open_database(settings, DataFolder(tmp_path))
    assert caught.value.kind == "usage"
    assert "secret" not in caught.value.message
