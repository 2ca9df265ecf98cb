"""`plait validate`: have a version merged into its base and judged, by a worker or here."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from plait.cli.arguments import add_json, add_url
from plait.cli.composing import add_threads, count_threads
from plait.cli.context import Context
from plait.cli.job import follow
from plait.cli.key import read_passphrase
from plait.cli.terminal import printable
from plait.errors import Integrity, InvalidInput
from plait.jobs import Jobs
from plait.lookup import resolve
from plait.model.address import Address
from plait.model.ids import abbreviate
from plait.model.refs import HEAD
from plait.wire import encode

if TYPE_CHECKING:
    from plait.validate import Validated

USAGE = """plait validate NS/NAME[@REV] [--wait] [--again] [--base-id FINGERPRINT]
plait validate NS/NAME[@REV] --here --base DIR [--key FILE] [--device DEVICE] [--ask-model]"""
EXAMPLES = """\
  plait validate team/sql@v1 --wait                  by a worker of the registry
  plait validate team/sql@v1 --wait --again          by whichever worker takes it, once more
  plait validate team/sql@v1 --here --base models/llama --key validator.pem

A worker merges the version into its base and compares the digests with those that are stored for
it. With --here, this machine does, and publishes what it saw; --key signs it. Ends with status 1
where the verdict is not `verified`.
"""
VERIFIED = "verified"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("address", metavar="NS/NAME[@REV]", help="the version")
    parser.add_argument("--wait", action="store_true", help="wait for the verdict of a worker")
    parser.add_argument(
        "--again", action="store_true", help="also where it was validated by a worker already"
    )
    parser.add_argument(
        "--base-id", metavar="FINGERPRINT", help="the base, where the version names none"
    )
    parser.add_argument("--here", action="store_true", help="merge on this machine")
    parser.add_argument("--base", metavar="DIR", help="of --here: the folder of the base")
    parser.add_argument("--key", metavar="FILE", help="of --here: the private key to sign with")
    parser.add_argument(
        "--passphrase-file", metavar="FILE", help="of --key: what the key is locked with is in it"
    )
    parser.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="of --here (auto)"
    )
    parser.add_argument(
        "--ask-model", action="store_true", help="of --here: load the merged model and ask it, too"
    )
    add_threads(parser)
    add_url(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Validate, or have it validated."""
    if arguments.here:
        _run_here(arguments, context)
    else:
        _run_there(arguments, context)


def _run_there(arguments: argparse.Namespace, context: Context) -> None:
    for name in ("base", "key", "passphrase_file", "ask_model"):
        if getattr(arguments, name):
            flag = name.replace("_", "-")
            raise InvalidInput("usage", f"--{flag} goes with --here. See --help.")
    address = Address.parse(arguments.address)
    jobs = Jobs(context.open_transport(arguments.url))
    details = jobs.validate(
        address.repository,
        address.revision or HEAD,
        base=arguments.base_id,
        again=arguments.again,
    )
    if details.job.state == "queued" and details.job.attempts == 0 and details.job.progress.what:
        context.terminal.remark(f"{printable(details.job.progress.what)}.")
    if arguments.wait:
        details = follow(context, jobs, details.job.id)
    job = details.job
    if arguments.json:
        context.terminal.json(encode(details))
    elif job.result is None:
        context.terminal.print(
            f"Validation {job.id} is {job.state}: plait job show {job.id} --follow"
        )
    else:
        at = abbreviate(job.result.commit)
        context.terminal.print(f"{address.repository}@{at} is {job.result.verdict}")
    if job.result is not None and job.result.verdict != VERIFIED:
        raise Integrity(
            "not-verified",
            f"{address.repository}@{abbreviate(job.result.commit)} is {job.result.verdict}: "
            f"`plait verify {address.repository}@{abbreviate(job.result.commit)}` shows what "
            "validators saw.",
            verdict=job.result.verdict,
        )


def _run_here(arguments: argparse.Namespace, context: Context) -> None:
    from plait.validate import Tools, ValidationWish, open_signer, validate

    if arguments.base is None or arguments.base_id or arguments.again or arguments.wait:
        raise InvalidInput(
            "usage",
            "--here takes the folder of the base (--base DIR), and none of --base-id, --again and "
            "--wait. See --help.",
        )
    address = Address.parse(arguments.address)
    key = None if arguments.key is None else context.path(arguments.key)
    locked_by = arguments.passphrase_file
    passphrase = read_passphrase(None if locked_by is None else context.path(locked_by))
    sign = open_signer(key, str(address.repository), passphrase=passphrase)
    transport, cache = context.open_transport(arguments.url), context.open_cache()
    commit, _ = resolve(transport, address.repository, address.revision or HEAD)
    wish = ValidationWish(
        repository=address.repository,
        commit=commit,
        base=context.path(arguments.base),
        device=arguments.device,
        threads=count_threads(arguments),
        remembered=context.configuration.cache_dir,
        asks_model=arguments.ask_model,
    )
    found = validate(
        transport, cache, wish, context.terminal.progress, Tools(sign=sign, now=context.now)
    )
    _tell(arguments, context, found)


def _tell(arguments: argparse.Namespace, context: Context, found: Validated) -> None:
    seen = found.validation
    repository = Address.parse(arguments.address).repository
    where = f"{repository}@{abbreviate(seen.commit)}"
    if arguments.json:
        context.terminal.json(
            {
                "id": found.id,
                "first": found.is_first,
                "attestation": found.attestation,
                "validation": seen.to_json(),
            }
        )
    else:
        context.terminal.print(f"{where} is {seen.verdict}")
        if found.is_first:
            context.terminal.print("Nothing was expected of it yet: others compare with this.")
        if seen.root is not None:
            rows = [["root", seen.root], ["base", str(seen.base)], ["weights", seen.base_weights]]
            context.terminal.table([*rows, ["device", seen.environment.get("device", "")]])
        if found.attestation is not None:
            context.terminal.print(f"Signed: attestation {abbreviate(found.attestation)}")
    if seen.verdict.value != VERIFIED:
        first = "; ".join(
            f"{item.name}{f' ({item.detail})' if item.detail else ''}"
            for item in seen.differences[:3]
        )
        why = seen.message or f"{seen.differing} tensors differ: {first}"
        raise Integrity(
            "not-verified", f"{where} is {seen.verdict}: {printable(why)}", verdict=seen.verdict
        )
