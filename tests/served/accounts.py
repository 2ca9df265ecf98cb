"""People at a registry that listens: users, their roles, and clients that send their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from plait_registry.adapters.sql.database import SqlDatabase
from plait_registry.domain.access import SYSTEM
from plait_registry.services.account_services import AccountServices, build_account_services
from plait_registry.services.tokens import TokenWish
from served.running import Running, running

API = "/api/v1"
FORGED = "plait_" + "A" * 43


class LongAgo:
    """A clock of when what is made today would be over."""

    def now(self) -> str:
        """Return always the same."""
        return "2020-01-01T00:00:00Z"


@dataclass
class People:
    """A registry with whoever a test makes; `admin` sends the token of the data folder."""

    server: Running
    _clients: list[httpx.Client] = field(default_factory=list)

    @property
    def admin(self) -> httpx.Client:
        """Sends the token of the data folder."""
        return self.server.client

    def add(self, name: str, *, admin: bool = False, **roles: str) -> str:
        """Make a user with roles by namespace, and return an unscoped token."""
        succeed(self.admin.post(f"{API}/users", json={"name": name, "admin": admin}))
        for namespace, role in roles.items():
            url = f"{API}/namespaces/{namespace}/members/{name}"
            succeed(self.admin.put(url, json={"role": role}))
        return self.token(name)

    def token(self, user: str, *scopes: str, **wish: Any) -> str:
        """Make a token and return its secret."""
        body = {"user": user, "scopes": list(scopes) or None, **wish}
        made: dict[str, Any] = succeed(self.admin.post(f"{API}/tokens", json=body))
        return str(made["secret"])

    def expired(self, user: str) -> str:
        """Return a token of the user that is over since years."""
        with closing(SqlDatabase.in_file(self.server.folder.database_path)) as database:
            services: AccountServices = build_account_services(database, LongAgo())
            return services.create_token(SYSTEM, TokenWish(expires="1d", user=user)).secret

    def revoked(self, user: str) -> str:
        """Return a token of the user that was revoked."""
        wish = {"user": user, "label": "to be revoked"}
        made = succeed(self.admin.post(f"{API}/tokens", json=wish))
        succeed(self.admin.delete(f"{API}/tokens/{made['token']['id']}"))
        return str(made["secret"])

    def client(self, token: str | None) -> httpx.Client:
        """Return a client that sends a token, or none."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        made = httpx.Client(base_url=self.server.url, headers=headers, timeout=30)
        self._clients.append(made)
        return made

    def make_repository(self, name: str, *, private: bool = True) -> str:
        """Make a repository as an administrator, and return its path in the API."""
        namespace, _, short = name.partition("/")
        body = {"namespace": namespace, "name": short, "private": private}
        succeed(self.admin.post(f"{API}/repositories", json=body))
        return f"{API}/repositories/{name}"

    def close(self) -> None:
        """Close all clients."""
        for made in self._clients:
            made.close()


@contextmanager
def peopled(root: Path, namespaces: Sequence[str] = ("team",), **flags: str) -> Iterator[People]:
    """Serve a registry with organisations that have no members yet."""
    with running(root, **flags) as server, closing(People(server)) as people:
        for name in namespaces:
            succeed(people.admin.post(f"{API}/namespaces", json={"name": name}))
        yield people


def succeed(answer: httpx.Response) -> Any:
    """Return the JSON of an answer, which must be a success."""
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


def kind_of(answer: httpx.Response) -> str:
    """Return the kind of error that an answer holds."""
    return str(answer.json()["error"]["kind"])


def refusal_of(answer: httpx.Response) -> tuple[int, str]:
    """Return the status and the kind of a refusal."""
    return answer.status_code, kind_of(answer)
