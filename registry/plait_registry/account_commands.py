"""What `plait-registry user` and `plait-registry token` do, straight on the database.

The operator holds the database in their hands: no token is needed, and nothing is refused. It works
beside running servers, of which there may be several on PostgreSQL.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from plait.errors import InvalidInput
from plait_registry.bootstrap import open_accounts
from plait_registry.domain.access import SYSTEM, Scope
from plait_registry.domain.accounts import UserRecord
from plait_registry.services.account_services import AccountServices
from plait_registry.services.tokens import OwnedToken, TokenWish
from plait_registry.settings import Settings


@dataclass(frozen=True, slots=True)
class Told:
    """What a command has to say."""

    lines: Sequence[str]
    """The facts, which a pipe gets."""
    remark: str | None = None


Run = Callable[[AccountServices, argparse.Namespace], Told]


def run_account_command(settings: Settings, options: argparse.Namespace) -> Told:
    """Run `user ACTION` or `token ACTION`.

    Raises:
        PlaitError: as the service does that the command calls.
    """
    run = RUNS[options.command][options.action]
    with open_accounts(settings) as accounts:
        return run(accounts, options)


def _create_user(accounts: AccountServices, options: argparse.Namespace) -> Told:
    user = accounts.create_user(SYSTEM, _require(options.name, "NAME"), is_admin=options.admin)
    return Told([_show_user(user)])


def _list_users(accounts: AccountServices, _options: argparse.Namespace) -> Told:
    return Told([_show_user(user) for user in accounts.list_users(SYSTEM)])


def _change_user(*, is_admin: bool | None = None, disabled: bool | None = None) -> Run:
    def change(accounts: AccountServices, options: argparse.Namespace) -> Told:
        name = _require(options.name, "NAME")
        changed = accounts.update_user(SYSTEM, name, is_admin=is_admin, disabled=disabled)
        return Told([_show_user(changed)])

    return change


def _create_token(accounts: AccountServices, options: argparse.Namespace) -> Told:
    wish = TokenWish(
        label=options.label,
        scopes=None if options.scope is None else tuple(map(Scope.parse, options.scope)),
        expires=options.expires,
        user=_require(options.user, "--user NAME"),
    )
    made = accounts.create_token(SYSTEM, wish)
    remark = f"{_show_token(made.owned)}\nKeep the token now: it is never shown again."
    return Told([made.secret], remark)


def _list_tokens(accounts: AccountServices, options: argparse.Namespace) -> Told:
    found = accounts.list_tokens(SYSTEM, _require(options.user, "--user NAME"))
    return Told([_show_token(owned) for owned in found])


def _revoke_token(accounts: AccountServices, options: argparse.Namespace) -> Told:
    token = _require(options.id, "ID")
    accounts.revoke_token(SYSTEM, token)
    return Told([f"Revoked token {token}"])


RUNS: Mapping[str, Mapping[str, Run]] = {
    "user": {
        "create": _create_user,
        "list": _list_users,
        "disable": _change_user(disabled=True),
        "enable": _change_user(disabled=False),
        "promote": _change_user(is_admin=True),
        "demote": _change_user(is_admin=False),
    },
    "token": {"create": _create_token, "list": _list_tokens, "revoke": _revoke_token},
}


def _require(given: str | None, what: str) -> str:
    if not given:
        raise InvalidInput("usage", f"This needs {what}: see --help.")
    return given


def _show_user(user: UserRecord) -> str:
    kind = "administrator" if user.is_admin else "user"
    state = "works" if user.disabled_at is None else f"disabled at {user.disabled_at}"
    return f"{user.name}  {kind}  {state}"


def _show_token(owned: OwnedToken) -> str:
    token = owned.token
    scopes = "everything" if token.scopes is None else ",".join(map(str, token.scopes))
    end = f"expires at {token.expires_at}" if token.expires_at else "no end"
    state = f"revoked at {token.revoked_at}" if token.revoked_at else end
    return f"{token.id}  {owned.user}  {scopes}  {state}  {token.label}".rstrip()
