"""`pg_dump` gets a password from a file, and says what is wrong."""

from pathlib import Path

import pytest

from plait.errors import Unavailable
from plait_registry.adapters.postgres_copier import PostgresCopier
from plait_registry.adapters.sql.database import SqlDatabase

URL = "postgresql+psycopg://ada:se%3Acret@127.0.0.1:1/plait"


def make_program(folder: Path, script: str) -> None:
    program = folder / "pg_restore"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_password_is_in_a_file_and_not_among_the_arguments(tmp_path: Path) -> None:
    said = tmp_path / "said"
    make_program(
        tmp_path,
        f'echo "$@" > {said}; f=$(echo "$4 $3" | sed "s/.*passfile=//; s/ .*//; s/%2F/\\//g")\n'
        f"cat $f >> {said}",
    )
    PostgresCopier(URL, SqlDatabase(URL), tmp_path).restore(tmp_path / "dump")
    arguments, password = said.read_text().splitlines()
    assert "cret" not in arguments
    assert "postgresql://ada@127.0.0.1:1/plait" in arguments
    assert password == "*:*:*:*:se\\:cret"


def test_what_a_failing_program_says_is_told(tmp_path: Path) -> None:
    make_program(tmp_path, "echo could not connect >&2; exit 1")
    with pytest.raises(Unavailable) as caught:
        PostgresCopier(URL, SqlDatabase(URL), tmp_path).restore(tmp_path / "dump")
    assert "could not connect" in caught.value.message


def test_missing_program_is_named_with_the_setting(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        PostgresCopier(URL, SqlDatabase(URL), tmp_path).restore(tmp_path / "dump")
    assert caught.value.kind == "extra-missing"
    assert "PLAIT_PG_BIN" in caught.value.message
