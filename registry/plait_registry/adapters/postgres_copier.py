"""Copies of a PostgreSQL database by `pg_dump` and `pg_restore`.

The copy and the list of objects see one snapshot, which a transaction exports and keeps open until
both are done. The programs are found on PATH or in a folder that the settings name, and get the
password by a file that other users cannot read.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, make_url
from typing_extensions import override

from plait.errors import Unavailable
from plait_registry.adapters.sql.database import SqlDatabase
from plait_registry.domain.backup import DatabaseCopier
from plait_registry.domain.ports import Records

_LINES = 3
"""Of what a program says when it fails."""


class PostgresCopier(DatabaseCopier):
    """Copies the database of a URL."""

    def __init__(self, url: str, database: SqlDatabase, programs: Path | None = None) -> None:
        self._url = make_url(url)
        self._database = database
        self._programs = programs

    @property
    @override
    def kind(self) -> str:
        return "postgresql"

    @override
    def dump(self, target: Path, look: Callable[[Records], None]) -> None:
        with self._database.snapshot() as (records, snapshot):
            options = ["--format=custom", f"--snapshot={snapshot}", f"--file={target}"]
            self._run("pg_dump", options)
            look(records)

    @override
    def restore(self, source: Path) -> None:
        # The schema of an empty registry may be there already.
        options = ["--clean", "--if-exists", "--single-transaction", "--exit-on-error", str(source)]
        self._run("pg_restore", options)

    def _run(self, name: str, options: Sequence[str]) -> None:
        program = self._find(name)
        with self._passwordless() as target:
            common = ["--no-owner", "--no-privileges", "--no-password", f"--dbname={target}"]
            done = subprocess.run(  # noqa: S603 - a program that the operator named or installed
                [program, *common, *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                check=False,
            )
        if done.returncode != 0:
            said = " ".join(done.stderr.strip().splitlines()[-_LINES:])
            raise Unavailable("unavailable", f"{name} failed: {said[:500]}")

    @contextmanager
    def _passwordless(self) -> Generator[str]:
        """Yield the URL with the name of a file in place of the password, which `ps` would show."""
        # `URL.set` would keep the password.
        url = self._url
        bare = URL.create(
            "postgresql", url.username, None, url.host, url.port, url.database, url.query
        )
        with tempfile.TemporaryDirectory(prefix="plait-") as folder:
            if url.password is not None:
                file = Path(folder) / "password"
                file.touch(mode=0o600)
                # postgresql.org/docs/current/libpq-pgpass.html
                secret = str(url.password).replace("\\", "\\\\").replace(":", "\\:")
                file.write_text(f"*:*:*:*:{secret}\n", "utf-8")
                bare = bare.update_query_dict({"passfile": str(file)})
            yield bare.render_as_string(hide_password=False)

    def _find(self, name: str) -> str:
        found = shutil.which(name, path=None if self._programs is None else str(self._programs))
        if found is None:
            raise Unavailable(
                "extra-missing",
                f"{name} was not found: install PostgreSQL's client programs of the server's "
                "version, or name their folder by PLAIT_PG_BIN.",
            )
        return found
