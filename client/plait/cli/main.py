"""The entry of `plait`: finds the command, runs it, and turns failures into messages.

Exit status: 0 done; 1 a failure that plait foresaw; 2 wrong usage; 70 a bug; 130 interrupted; 141
when who reads the output has gone away. Only the module of the command that is run is imported,
and as little as possible before that, since people wait for it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from plait.cli.context import Context
    from plait.errors import PlaitError

FAILED, USAGE, BUG, INTERRUPTED, READER_GONE = 1, 2, 70, 130, 141

GROUPS = {
    "start a working copy": {
        "init": "make a folder a working copy",
        "clone": "get a repository with all its history",
    },
    "work on versions": {
        "status": "what changed since the last commit",
        "commit": "record the folder as a new version",
        "diff": "what changed between two versions",
        "switch": "go to another branch or commit",
        "revert": "take back what a commit changed",
    },
    "look at history": {
        "log": "the commits, newest first",
        "show": "one commit and its files",
        "merge-base": "where two lines of history parted",
        "branch": "list, make, rename and delete branches",
        "tag": "list, make and delete tags",
        "note": "metrics and other facts about a commit",
    },
    "compose": {
        "compose": "several adapters become one, by a recipe",
        "resize": "one adapter at another rank",
        "convert": "any adapter as a plain LoRA, and other tools' layouts",
        "cast": "one adapter in another dtype",
        "extract": "a full fine-tune minus its base, as a LoRA",
        "reproduce": "carry a version's recipe out again, and compare every byte",
    },
    "merge and validate": {
        "merge": "adapters into their base, to the same bits on every machine",
        "validate": "have a version merged and checked, and the outcome signed",
        "verify": "who vouches for a version, and whether a merge here agrees",
        "key": "the keys that validators sign with",
    },
    "share": {
        "push": "send a branch, or a folder in one step",
        "pull": "get the newest version, or any one in one step",
        "fetch": "get what is new without changing a file",
        "bundle": "carry versions in one file, to where no network goes",
    },
    "validate": {
        "verify": "who vouches for a version, and whether a merge here agrees",
    },
    "registry": {
        "login": "remember a registry and a token for it",
        "whoami": "who the registry takes you for",
        "repo": "make, list, change and delete repositories",
        "base": "the models that adapters belong to",
        "protect": "rules for branches and tags",
        "org": "namespaces and their members",
        "token": "make, list and revoke tokens",
        "key": "the keys that validators sign with",
        "user": "make and disable users, for administrators",
        "audit": "who changed what",
        "events": "what happened, and what happens now",
        "webhook": "where events are sent, and how that goes",
        "job": "what the registry does by itself, such as compositions",
        "cache": "show, verify and clear the cache of this machine",
    },
}
"""Every command with one line of help, as `plait --help` shows them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments in (["--version"], ["-V"]):
        from plait import __version__

        print(f"plait {__version__}")
        return 0
    is_debugging = "--debug" in arguments or bool(os.environ.get("PLAIT_DEBUG"))
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("plait: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return READER_GONE
    except Exception as error:
        if is_debugging:
            raise
        print(
            f"plait: unexpected {type(error).__name__}: {error}. This is a bug in plait: please "
            "report it to its developers with what the same command prints with --debug.",
            file=sys.stderr,
        )
        return BUG
    return status


def _run(arguments: list[str]) -> int:
    from plait.errors import PlaitError, Unavailable

    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        if arguments[1:] and arguments[1] not in {"-h", "--help", "help"}:
            return _run([arguments[1], "--help"])
        print(_write_help())
        return 0 if arguments else USAGE
    name = arguments[0]
    if not any(name in group for group in GROUPS.values()):
        print(_suggest(name), file=sys.stderr)
        return USAGE
    try:
        return _run_command(name, arguments[1:])
    except PlaitError as error:
        return _fail(error, as_json="--json" in arguments)
    except BrokenPipeError:
        raise
    except OSError as error:  # a folder that may not be read, a disk that went away
        where = f"{error.filename}: " if error.filename else ""
        refused = Unavailable("unavailable", f"{where}{error.strerror or error}")
        return _fail(refused, as_json="--json" in arguments)
    except MemoryError as error:
        why = f" ({error})" if str(error) else ""
        refused = Unavailable(
            "unavailable", f"This needs more memory than this machine has or gives{why}."
        )
        return _fail(refused, as_json="--json" in arguments)


def _run_command(name: str, rest: list[str]) -> int:
    import importlib

    from plait.cli.arguments import Parser, ShownHelp

    module = importlib.import_module(f"plait.cli.{name.replace('-', '_')}")
    summary = next(group[name] for group in GROUPS.values() if name in group)
    parser = Parser(name, summary, usage=module.USAGE, examples=module.EXAMPLES)
    module.configure(parser)
    try:
        options = parser.parse_args(rest)
    except ShownHelp:
        return 0
    context = _make_context()
    try:
        module.run(options, context)
    finally:
        context.close()
    return 0


def _make_context() -> Context:
    import io
    import time
    from pathlib import Path

    from plait.cli.context import Context
    from plait.cli.terminal import Terminal
    from plait.errors import NotFound

    def now() -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names and messages of others may not fit the terminal's encoding.
        sys.stdout.reconfigure(errors="backslashreplace")
    terminal = Terminal(sys.stdout, sys.stderr, environ=os.environ)
    try:
        folder = Path.cwd()
    except FileNotFoundError:
        raise NotFound(
            "file-not-found",
            "The folder that you are in was removed, as by a switch to a version without it: go "
            "to another one by `cd`.",
        ) from None
    return Context(environ=os.environ, folder=folder, terminal=terminal, now=now)


def _fail(error: PlaitError, *, as_json: bool) -> int:
    if as_json:
        import json

        print(json.dumps(error.to_json(), indent=2, default=str))
    from plait.cli.terminal import printable

    print(f"plait: {printable(error.message)}", file=sys.stderr)
    return USAGE if error.kind == "usage" else FAILED


def _write_help() -> str:
    lines = ["usage: plait COMMAND [OPTIONS]", "", "git for adapters."]
    for title, commands in GROUPS.items():
        lines += ["", title]
        lines += [f"  {name:<11} {summary}" for name, summary in commands.items()]
    lines += [
        "",
        "plait COMMAND --help tells more, with examples. plait --version tells the version;",
        "--debug shows the traceback of an unexpected error.",
    ]
    return "\n".join(lines)


def _suggest(name: str) -> str:
    import difflib

    known = [command for group in GROUPS.values() for command in group]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean `plait {near[0]}`?" if near else "`plait --help` lists the commands."
    return f"plait: there is no command {name!r}: {hint}"


if __name__ == "__main__":
    sys.exit(main())
