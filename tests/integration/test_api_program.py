"""`plait-registry` as a process: the ready line, a clean stop, the lock, and secrets on disk."""

import contextlib
import json
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from plait.model.ids import hash_bytes
from plait_registry import cli
from plait_registry.adapters.data_folder import AdminToken, DataFolder
from plait_registry.adapters.url_signing import Grant, UrlSigner

PROGRAM = [sys.executable, "-c", "from plait_registry.cli import main; main()"]
LISTENING = re.compile(r"listening on (http://127\.0\.0\.1:\d+)\n")
LIMIT = 60


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments], capture_output=True, text=True, timeout=LIMIT, cwd=cwd, check=False
    )


@contextmanager
def started(
    *arguments: str, cwd: Path | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `serve` on a free port, and yield the process and its URL."""
    process = subprocess.Popen(
        [*PROGRAM, "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = LISTENING.fullmatch(line)
        assert match is not None, line
        yield process, match[1]
    finally:
        process.kill()
        process.communicate()


def stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str]:
    """Stop a server, and return its status and what it logged."""
    process.send_signal(number)
    _, log = process.communicate(timeout=LIMIT)
    return process.returncode, log


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_server_answers_when_it_says_so_and_stops_cleanly(tmp_path: Path) -> None:
    data = tmp_path / "deep" / "data"
    with started("--data", str(data)) as (process, url):
        assert httpx.get(f"{url}/healthz").json() == {"status": "ok"}
        assert httpx.get(f"{url}/api/v1").status_code == 200
        announced = json.loads((data / "server.json").read_text())
        assert announced == {"url": url, "pid": process.pid}
        status, log = stop(process)
    assert status == 0
    assert not (data / "server.json").exists()
    (line,) = log.splitlines()
    assert json.loads(line)["path"] == "/api/v1"


def test_secrets_are_for_their_owner_alone_and_stay_the_same(tmp_path: Path) -> None:
    data = tmp_path / "data"
    secrets = []
    for _ in range(2):
        with started("--data", str(data)) as (process, url):
            token = (data / "admin.token").read_text()
            headers = {"Authorization": f"Bearer {token}"}
            assert httpx.get(f"{url}/api/v1/repositories", headers=headers).status_code == 200
            status, log = stop(process, signal.SIGINT)
        assert status == 0
        assert token not in log
        secrets.append((token, (data / "url-signing.key").read_text()))
    assert secrets[0] == secrets[1]
    assert re.fullmatch(r"plait_[A-Za-z0-9_-]{43}", token)
    assert mode_of(data) == 0o700
    for name in ("admin.token", "url-signing.key", "lock", "server.json"):
        assert not (data / name).exists() or mode_of(data / name) == 0o600


def test_database_in_a_folder_that_others_may_enter_is_for_its_owner_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with started("--data", str(tmp_path)):
        found = {path.name: mode_of(path) for path in tmp_path.iterdir()}
    open_to_others = {name for name, mode in found.items() if mode & 0o077}
    assert {"registry.db", "objects"} <= found.keys()
    assert open_to_others == set()


def test_default_folder_is_below_the_current_one(tmp_path: Path) -> None:
    with started(cwd=tmp_path) as (process, _):
        assert (tmp_path / "plait-data" / "admin.token").exists()
        assert stop(process)[0] == 0


def test_stop_right_after_the_start_is_clean(tmp_path: Path) -> None:
    with started("--data", str(tmp_path)) as (process, _):
        assert stop(process) == (0, "")


def test_request_under_way_is_finished_before_the_server_stops(tmp_path: Path) -> None:
    with started("--data", str(tmp_path)) as (process, url):
        token = (tmp_path / "admin.token").read_text()

        def body() -> Iterator[bytes]:
            yield b'{"namespace": "late",'
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            yield b' "name": "one"}'

        headers = {"Authorization": f"Bearer {token}", "content-type": "application/json"}
        answer = httpx.post(f"{url}/api/v1/repositories", content=body(), headers=headers)
        assert answer.status_code == 201
        process.communicate(timeout=LIMIT)
        assert process.returncode == 0


@pytest.mark.slow
def test_requests_that_never_end_do_not_keep_the_server_from_stopping(tmp_path: Path) -> None:
    with started("--data", str(tmp_path)) as (process, url):
        token = (tmp_path / "admin.token").read_text()
        signed = UrlSigner(DataFolder(tmp_path).signing_key()).sign_upload(
            Grant(hash_bytes(b"never"), "0" * 32, 0, 100, 100, hash_bytes(b"never"))
        )
        posting = ["POST /api/v1/repositories HTTP/1.1", f"authorization: Bearer {token}"]
        putting = [f"PUT {signed.url} HTTP/1.1", *map(": ".join, signed.headers.items())]
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        with contextlib.ExitStack() as stack:
            for lines in (posting, putting):
                more = ["host: x", "content-length: 100", "expect: 100-continue", "", ""]
                raw = stack.enter_context(socket.create_connection(address, LIMIT))
                raw.sendall("\r\n".join([*lines, *more]).encode())
                assert raw.recv(1_000).startswith(b"HTTP/1.1 100")
            assert len(list((tmp_path / "incoming").iterdir())) == 1
            before = time.monotonic()
            status, _ = stop(process)
            assert time.monotonic() - before < 10
        assert status == 0
        assert list((tmp_path / "incoming").iterdir()) == []


def test_second_server_on_one_folder_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with started("--data", str(tmp_path)) as (_, url):
        for command in (["serve", "--port", "0"], ["migrate"]):
            second = run(*command, "--data", str(tmp_path))
            assert second.returncode == 1
            assert "Another plait-registry is using" in second.stderr
            assert second.stdout == ""
        assert httpx.get(f"{url}/healthz").status_code == 200
        assert (tmp_path / "server.json").exists()


def test_folder_of_a_killed_server_can_be_served_again(tmp_path: Path) -> None:
    with started("--data", str(tmp_path)) as (process, _):
        process.kill()
        process.wait(LIMIT)
    with started("--data", str(tmp_path)) as (process, url):
        assert httpx.get(f"{url}/healthz").status_code == 200
        assert stop(process)[0] == 0


def test_port_that_is_taken_is_reported(tmp_path: Path) -> None:
    with started("--data", str(tmp_path / "one")) as (_, url):
        port = url.rpartition(":")[2]
        second = run("serve", "--data", str(tmp_path / "two"), "--port", port)
    assert second.returncode == 2
    assert f"port {port}" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["serve", "--host", "10.1.2.3"], "TLS belongs in front"),
        (["serve", "--port", "many"], "--port"),
        (["serve", "--log-level", "loud"], "--log-level"),
        (["serve", "--data", "/dev/null/x"], "/dev/null/x"),
        (["token"], "plait-registry serve"),
        (["token", "rotate"], "plait-registry serve"),
        ([], "COMMAND"),
    ],
)
def test_start_that_cannot_work_ends_with_one_clear_sentence(
    tmp_path: Path, arguments: Sequence[str], word: str
) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_database_that_this_version_cannot_use_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLAIT_DATABASE_URL", "mysql://localhost/plait")
    assert cli.run(["migrate", "--data", str(tmp_path)]) == 2
    assert "PLAIT_DATABASE_URL" in capsys.readouterr().err


def test_migrate_makes_the_database_and_can_be_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert cli.run(["migrate", "--data", str(tmp_path)]) == 0
        assert capsys.readouterr().out == "The database is up to date.\n"
    assert (tmp_path / "registry.db").exists()


def test_token_command_says_where_it_is_and_replaces_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = DataFolder(tmp_path)
    assert folder.ensure_token()
    assert not folder.ensure_token()
    first = folder.token_path.read_text()
    accepted = AdminToken(folder.token_path)
    assert accepted.matches(first)
    assert cli.run(["token", "--data", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{folder.token_path}\n"
    assert cli.run(["token", "rotate", "--data", str(tmp_path)]) == 0
    second = folder.token_path.read_text()
    assert second not in capsys.readouterr().out
    assert second != first
    assert not accepted.matches(first)
    assert accepted.matches(second)
    assert mode_of(folder.token_path) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["admin.token"]


def test_version_is_told_without_loading_the_server() -> None:
    code = (
        "import sys; from plait_registry.cli import run\n"
        "try: run(['--version'])\n"
        "except SystemExit: pass\n"
        "heavy = {'fastapi', 'sqlalchemy', 'uvicorn', 'pydantic', 'alembic', 'numpy'}\n"
        "sys.exit(str(sorted(heavy & set(sys.modules))) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("plait ")
