"""`plait protect`: rules for the branches and tags of a repository."""

from __future__ import annotations

import argparse

from plait.accounts import Protections
from plait.cli.arguments import add_json, add_url
from plait.cli.context import Context
from plait.cli.org import ROLES
from plait.cli.ref_arguments import require, tell
from plait.model.address import RepositoryName
from plait.wire import encode
from plait.wire_accounts import Protection

USAGE = """plait protect NS/NAME
plait protect NS/NAME PATTERN [--role ROLE] [--fast-forward-only] [--attestations N]
plait protect -d NS/NAME PATTERN"""
EXAMPLES = """\
  plait protect team/sql                              list the rules
  plait protect team/sql main --fast-forward-only     for maintainers, and never back
  plait protect team/sql 'v*' --role owner            only owners make such tags
  plait protect team/sql prod --attestations 2        only what two validators attested
  plait protect -d team/sql 'v*'                      lift the rule

Of all rules whose patterns match a branch or tag, each one holds. * stands for any characters,
slashes too. A rule is set and lifted by maintainers who have the role that it demands.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("repository", metavar="NS/NAME", help="the repository")
    parser.add_argument("pattern", metavar="PATTERN", nargs="?", help="as main or 'release/*'")
    parser.add_argument(
        "--role",
        choices=ROLES,
        default="maintainer",
        help="the least role that may make, move or delete such refs (maintainer)",
    )
    parser.add_argument(
        "--fast-forward-only",
        action="store_true",
        help="nobody moves them so that commits are left behind, or deletes them",
    )
    parser.add_argument(
        "--attestations",
        metavar="N",
        type=int,
        default=0,
        help="they point only at commits that N validators, with distinct keys, attested (0)",
    )
    parser.add_argument("-d", "--delete", action="store_true", help="lift the rule")
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """List, set or lift rules."""
    name = RepositoryName.parse(arguments.repository)
    rules = Protections(context.open_transport(arguments.url), name)
    pattern = arguments.pattern
    if arguments.delete:
        require(pattern, "Say which rule: plait protect -d NS/NAME PATTERN.")
        rules.delete(pattern)
        text = f"Lifted the rule for {pattern} in {name}"
        tell(arguments, context, text, repository=str(name), deleted=pattern)
    elif pattern is None:
        _list(arguments, context, rules)
    else:
        made = rules.set(
            pattern,
            role=arguments.role,
            fast_forward_only=arguments.fast_forward_only,
            attestations=arguments.attestations,
        )
        if arguments.json:
            context.terminal.json(encode(made))
        else:
            context.terminal.table([_row(made)])


def _list(arguments: argparse.Namespace, context: Context, rules: Protections) -> None:
    found = rules.list()
    if arguments.json:
        context.terminal.json({"protections": encode(found)})
    else:
        context.terminal.table(map(_row, found))


def _row(rule: Protection) -> list[str]:
    demands = []
    if rule.fast_forward_only:
        demands.append("fast-forward only")
    if rule.attestations:
        demands.append(f"{rule.attestations} attestations")
    return [rule.pattern, rule.role, ", ".join(demands)]
