"""Users, roles and tokens, as operators and people type them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.conftest import MakeRegistry
from e2e.made_adapters import lora_tensors, write_adapter
from e2e.programs import PROGRAMS, Client, Outcome, Registry, Transcript, bare_environment

LIMIT = 60
FORGED = "plait_" + "F" * 43


class Person(Client):
    """A person with a token of their own."""

    def __init__(self, home: Path, registry: Registry, transcript: Transcript, token: str) -> None:
        super().__init__(home, registry, transcript)
        transcript.secrets.add(token)
        self.token = token

    def environment(self) -> dict[str, str]:
        """Return the settings of this person."""
        return {**super().environment(), "PLAIT_TOKEN": self.token}


def operate(registry: Registry, *words: str) -> Outcome:
    """Run `plait-registry` beside the server; what it prints may be a secret."""
    command = [str(PROGRAMS / "plait-registry"), *words, "--data", str(registry.data)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        env=bare_environment(registry.data.parent),
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


class Town:
    """A registry of one's own, and the people at it."""

    def __init__(self, registry: Registry, homes: Path, transcript: Transcript) -> None:
        self.registry = registry
        self._homes = homes
        self._transcript = transcript
        self.admin = Client(homes / "admin", registry, transcript)

    def person(self, name: str, **wish: Any) -> Person:
        """Make a user with a token, quicker than the operator's program does."""
        headers = {"Authorization": f"Bearer {self.registry.token}"}
        with httpx.Client(base_url=self.registry.url, headers=headers, timeout=LIMIT) as client:
            assert client.post("/api/v1/users", json={"name": name}).is_success
            made = client.post("/api/v1/tokens", json={"user": name, **wish}).json()
        home = self._homes / name
        return Person(home, self.registry, self._transcript, made["secret"])


@pytest.fixture
def town(make_registry: MakeRegistry, tmp_path: Path, transcript: Transcript) -> Town:
    return Town(make_registry(), tmp_path / "homes", transcript)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    write_adapter(folder, lora_tensors(seed=4711))
    return folder


def test_team_shares_a_private_repository_that_strangers_do_not_see(
    town: Town, adapter: Path
) -> None:
    ada, grace, zoe = (town.person(name) for name in ("ada", "grace", "zoe"))
    town.admin.run("org", "create", "team", "--owner", "ada")
    ada.run("org", "add", "team", "grace", "--role", "writer")
    ada.run("repo", "create", "team/sql")
    pushed = grace.facts("push", str(adapter), "team/sql", "-m", "First")
    assert ada.facts("log", "team/sql")["commits"][0]["id"] == pushed["commit"]
    for words in (("log", "team/sql"), ("repo", "show", "team/sql"), ("pull", "team/sql")):
        assert zoe.refusal(*words)["kind"] == "repository-not-found"
    assert zoe.facts("repo", "list")["repositories"] == []
    ada.run("repo", "edit", "team/sql", "--public")
    assert zoe.facts("log", "team/sql")["commits"][0]["id"] == pushed["commit"]
    refusal = zoe.refusal("push", str(adapter), "team/sql@mine", "-m", "No")
    assert refusal["kind"] in ("permission-denied", "repository-not-found")
    actions = [row["action"] for row in ada.facts("audit", "--subject", "team/sql")["rows"]]
    assert actions == ["repository.update", "push", "repository.create"]


def test_protected_branch_is_moved_by_maintainers_alone(town: Town, adapter: Path) -> None:
    ada, grace = town.person("ada"), town.person("grace")
    ada.run("repo", "create", "ada/sql")
    ada.run("org", "add", "ada", "grace", "--role", "writer")
    ada.run("push", str(adapter), "ada/sql", "-m", "First")
    rule = ada.facts("protect", "ada/sql", "main", "--fast-forward-only")
    assert rule == {
        "pattern": "main",
        "role": "maintainer",
        "fast_forward_only": True,
        "attestations": 0,
    }
    write_adapter(adapter, lora_tensors(seed=4712))
    refusal = grace.refusal("push", str(adapter), "ada/sql", "-m", "Second")
    assert refusal["kind"] == "ref-protected"
    assert "another branch" in refusal["message"]
    grace.run("push", str(adapter), "ada/sql@topic", "-m", "Second")
    ada.run("push", str(adapter), "ada/sql", "-m", "Second")
    assert "fast-forward only" in grace.run("protect", "ada/sql")
    ada.run("protect", "-d", "ada/sql", "main")
    assert grace.facts("protect", "ada/sql")["protections"] == []


def test_branch_that_demands_attestations_takes_no_commit_without(
    town: Town, adapter: Path
) -> None:
    ada = town.person("ada")
    ada.run("repo", "create", "ada/sql")
    ada.run("protect", "ada/sql", "prod", "--attestations", "2")
    assert "2 attestations" in ada.run("protect", "ada/sql")
    refusal = ada.refusal("push", str(adapter), "ada/sql@prod", "-m", "First")
    assert refusal["kind"] == "attestations-missing"
    assert "plait validate ada/sql@" in refusal["message"]
    ada.run("push", str(adapter), "ada/sql", "-m", "First")
    refusal = ada.refusal("tag", "ada/sql", "prod", "main")
    assert refusal["kind"] == "attestations-missing"


def test_login_says_who_one_is_and_keeps_the_token_for_its_owner_alone(town: Town) -> None:
    ada = town.person("ada", scopes=["ada:read"], expires="2099-12-31", label="laptop")
    config = ada.home / "config.toml"
    environment = {**ada.environment(), "PLAIT_CONFIG": str(config)}
    del environment["PLAIT_TOKEN"]

    def login(token: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(PROGRAMS / "plait"), "login", town.registry.url],
            input=f"{token}\n",
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
            env=environment,
        )

    done = login(ada.token)
    assert done.returncode == 0, done.stderr
    for fact in ("as ada", "ada:read", "2099-12-31T23:59:59Z", "laptop", "owner of ada"):
        assert fact in done.stdout
    assert ada.token not in done.stdout + done.stderr
    assert ada.token in config.read_text()
    assert config.stat().st_mode & 0o077 == 0
    wrong = login(FORGED)
    assert wrong.returncode == 1
    assert FORGED not in wrong.stdout + wrong.stderr
    assert ada.token in config.read_text()


def test_token_is_made_used_listed_and_revoked(town: Town) -> None:
    ada = town.person("ada")
    # Not by `ada.run`, whose output must hold no secret.
    made = subprocess.run(
        [str(PROGRAMS / "plait"), "token", "create", "ci", "--scope", "ada:read", "--no-expiry"],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
        env=ada.environment(),
    )
    secret = made.stdout.split()[-1]
    assert secret.startswith("plait_")
    assert "never shown again" in made.stderr
    ci = Person(ada.home / "ci", town.registry, ada._transcript, secret)
    identity = ci.facts("whoami")
    assert (identity["name"], identity["token"]["label"]) == ("ada", "ci")
    assert ci.refusal("repo", "create", "ada/x")["kind"] == "permission-denied"
    assert ci.refusal("token", "create", "wider", "--scope", "ada:write")["kind"] == (
        "permission-denied"
    )
    listed = {token["label"]: token for token in ada.facts("token", "list")["tokens"]}
    assert listed["ci"]["scopes"] == ["ada:read"]
    assert "that is a token itself" in ada.try_run("token", "revoke", secret).err.lower()
    ada.run("token", "revoke", listed["ci"]["id"])
    assert ci.refusal("whoami")["kind"] == "token-revoked"
    assert "revoked at" in ada.run("token", "list")


def test_repository_is_deleted_by_who_says_so(town: Town, adapter: Path) -> None:
    ada = town.person("ada")
    ada.run("push", str(adapter), "ada/old", "-m", "First", "--create")
    assert ada.try_run("repo", "delete", "ada/old").status == 2
    assert ada.facts("repo", "show", "ada/old")["private"] is True
    ada.run("repo", "delete", "ada/old", "--yes")
    assert ada.refusal("repo", "show", "ada/old")["kind"] == "repository-not-found"


def test_operator_works_on_the_database_beside_a_running_server(
    town: Town, tmp_path: Path, transcript: Transcript
) -> None:
    assert operate(town.registry, "user", "create", "ada").status == 0
    made = operate(town.registry, "token", "create", "--user", "ada", "--label", "first")
    assert "never shown again" in made.err
    ada = Person(tmp_path / "ada", town.registry, transcript, made.out.strip())
    assert ada.facts("whoami")["admin"] is False
    for action, status in (("disable", 1), ("enable", 0), ("promote", 0)):
        assert operate(town.registry, "user", action, "ada").status == 0
        assert ada.try_run("whoami").status == status
    assert "ada" in [user["name"] for user in ada.facts("user", "list")["users"]]
    (line,) = operate(town.registry, "token", "list", "--user", "ada").out.splitlines()
    assert operate(town.registry, "token", "revoke", line.split()[0]).status == 0
    assert ada.refusal("whoami")["kind"] == "token-revoked"
    assert operate(town.registry, "token").out.strip() == str(town.registry.data / "admin.token")
    assert operate(town.registry, "user", "create", "a/b").status == 2
    assert operate(town.registry, "token", "create").status == 2


def test_no_token_is_in_the_log_or_in_an_answer(town: Town) -> None:
    ada = town.person("ada", scopes=["ada:read"])
    tokens = {"good": ada.token, "folder": town.registry.token, "forged": FORGED}
    bodies: list[str] = []
    with httpx.Client(base_url=town.registry.url, timeout=LIMIT) as client:
        for token in tokens.values():
            headers = {"Authorization": f"Bearer {token}"}
            requests: list[tuple[str, str, Any]] = [
                ("GET", "/api/v1/user", None),
                ("GET", "/api/v1/nothing", None),
                ("GET", f"/api/v1/user?token={token}", None),
                ("GET", f"/api/v1/audit?subject={token}&cursor={token}", None),
                ("DELETE", f"/api/v1/tokens/{token}", None),
                ("POST", "/api/v1/users", {"name": 1}),
                ("POST", "/api/v1/tokens", {"expires": "1d", "scopes": ["x"]}),
            ]
            for method, path, body in requests:
                answer = client.request(method, path, json=body, headers=headers)
                bodies.append(answer.text)
            bodies.append(client.get("/api/v1/user", headers={"Authorization": token}).text)
    town.registry.stop()
    log = town.registry.log()
    assert "/api/v1/user" in log
    for name, token in tokens.items():
        assert token not in log, name
        assert not any(token in body for body in bodies), name
