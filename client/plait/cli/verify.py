"""`plait verify`: who vouches for a version, and whether a merge here agrees with them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.cli.arguments import add_json, add_url
from plait.cli.composing import add_threads, count_threads
from plait.cli.context import Context
from plait.cli.ref_arguments import require
from plait.cli.terminal import printable
from plait.errors import Integrity, InvalidInput
from plait.model.address import Address, RepositoryName
from plait.model.ids import CommitId, abbreviate, parse_commit_id
from plait.model.manifest import Manifest
from plait.model.refs import HEAD

if TYPE_CHECKING:
    from plait.merge import Merged
    from plait.verify import CheckedAttestation, MergedHere, VerificationReport
    from plait.wire_validation import ValidatorKey

USAGE = """plait verify NS/NAME[@REV] [--base DIR] [--need N] [--keys PATH] [--save FILE]
plait verify DIR --attestations FILE --keys PATH [--commit ID] [--base DIR] [--need N]"""
EXAMPLES = """\
  plait verify team/sql@v1.0                        who vouches for it, by the registry's keys
  plait verify team/sql@v1.0 --keys keys/ --need 2  by keys of your own
  plait verify team/sql@v1.0 --base models/llama    merge again, and compare
  plait verify team/sql@v1.0 --save sql.intoto.jsonl
  plait verify adapters/sql --attestations sql.intoto.jsonl --keys keys.json    with no registry

Ends with status 0 where enough attestations count and the merge agrees, and with 1 where not. Keys
that the registry names are the registry's word: `plait key export`, kept elsewhere, is yours.
"""

_NAMED = 3
"""Tensors that a message names; --json has all."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "version", metavar="NS/NAME[@REV]|DIR", help="a version, or a folder that holds one"
    )
    parser.add_argument(
        "--need", metavar="N", type=int, default=1, help="how many distinct keys must vouch (1)"
    )
    parser.add_argument(
        "--keys", metavar="PATH", help="the validators' keys: a file of `plait key export`, or .pub"
    )
    parser.add_argument(
        "--attestations", metavar="FILE", help="the attestations, instead of the registry's"
    )
    parser.add_argument("--commit", metavar="ID", help="of a folder: the commit that it must be")
    parser.add_argument("--save", metavar="FILE", help="write the attestations there")
    merging = parser.add_argument_group("merging again")
    merging.add_argument("--base", metavar="DIR", help="the base model's folder")
    merging.add_argument(
        "--device", metavar="DEVICE", default="auto", help="auto (a GPU where there is one) or cpu"
    )
    add_threads(parser)
    add_url(parser)
    add_json(parser)


@dataclass(frozen=True, slots=True)
class _Version:
    """What is to be verified."""

    label: str
    commit: CommitId | None
    manifest: Manifest
    open: Callable[[], Path]
    """Returns the folder of its files."""
    repository: RepositoryName | None = None
    """None: it is a folder, and no registry is asked."""


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Verify."""
    from plait.attestation_files import write_bundle
    from plait.verify import Claim, verify_attestations

    require(arguments.need >= 1, "At least one key must vouch: --need 1.")
    version = _find_version(arguments, context)
    envelopes = _find_envelopes(arguments, context, version)
    keys = _find_keys(arguments, context)
    if arguments.save is not None:
        context.path(arguments.save).write_bytes(write_bundle(envelopes))
    merged = None if arguments.base is None else _merge(arguments, context, version)
    claim = Claim(
        commit=version.commit,
        files={file.path: file.sha256 for file in version.manifest.files},
        now=context.now(),
        merged=None if merged is None else _compare_with(merged),
    )
    report = verify_attestations(envelopes, keys, claim)
    differing = _find_differences(arguments, context, version, merged)
    facts = {**_describe(report, version, merged, arguments.need), "differing": differing}
    if len(report.keyids) < arguments.need:
        if not arguments.json:
            _print_attestations(report, context)
        why = _explain(report, version, merged, arguments.need)
        raise Integrity("not-verified", why + _name(differing), **facts)
    if arguments.json:
        context.terminal.json(facts)
        return
    _print_attestations(report, context)
    count = len(report.keyids)
    by = "1 key vouches" if count == 1 else f"{count} keys vouch"
    context.terminal.print(f"Verified {version.label}: {by} for the root {report.root}")
    if merged is not None:
        context.terminal.print(f"Merged again here ({merged.device}): the same root")


def _find_version(arguments: argparse.Namespace, context: Context) -> _Version:
    folder = context.path(arguments.version)
    if folder.is_dir() and arguments.attestations is not None:
        return _describe_folder(arguments, context, folder)
    require(
        arguments.commit is None, "--commit goes with a folder: name a version as NS/NAME@COMMIT."
    )
    from plait.pull import PullRequest, find_version, pull

    address = Address.parse(arguments.version)
    transport, cache = context.open_transport(arguments.url), context.open_cache()
    found = find_version(transport, address.repository, cache, address.revision or HEAD)

    def fetch() -> Path:
        wanted = PullRequest(found.commit, verify=True)
        progress = context.terminal.progress
        return pull(transport, address.repository, cache, wanted, progress).path

    label = f"{address.repository}@{abbreviate(found.commit)}"
    return _Version(label, found.commit, found.manifest, fetch, address.repository)


def _describe_folder(arguments: argparse.Namespace, context: Context, folder: Path) -> _Version:
    from plait.describe import describe_folder

    require(arguments.keys is not None, "A folder is verified without a registry: name --keys.")
    described = describe_folder(folder, progress=context.terminal.progress)
    commit = None if arguments.commit is None else parse_commit_id(arguments.commit)
    return _Version(arguments.version, commit, described.manifest, lambda: folder)


def _find_envelopes(
    arguments: argparse.Namespace, context: Context, version: _Version
) -> Sequence[Any]:
    if arguments.attestations is not None:
        from plait.attestation_files import read_bundle

        return read_bundle(context.path(arguments.attestations))
    from plait.validations import fetch_attestations

    if version.repository is None or version.commit is None:
        raise InvalidInput("usage", "A folder is verified without a registry: --attestations.")
    transport = context.open_transport(arguments.url)
    found = fetch_attestations(transport, version.repository, version.commit)
    return [item.envelope for item in found]


def _find_keys(arguments: argparse.Namespace, context: Context) -> Sequence[ValidatorKey]:
    if arguments.keys is not None:
        from plait.attestation_files import read_keys

        return read_keys(context.path(arguments.keys))
    from plait.validations import fetch_keys

    return fetch_keys(context.open_transport(arguments.url))


def _merge(arguments: argparse.Namespace, context: Context, version: _Version) -> Merged:
    from plait.merge import MergeOptions, MergeSource, merge

    source = MergeSource(version.label, version.open(), manifest=version.manifest)
    options = MergeOptions(
        context.path(arguments.base),
        device=arguments.device,
        threads=count_threads(arguments),
        cache_dir=context.configuration.cache_dir,
        # The attestations name the base's fingerprint, and whether its weights were dequantised.
        allow_other_base=True,
        dequantise=True,
    )
    return merge([source], options, context.terminal.progress)


def _find_differences(
    arguments: argparse.Namespace, context: Context, version: _Version, merged: Merged | None
) -> list[str]:
    """Return the tensors that came out otherwise here than the registry's digests say, sorted."""
    is_offline = arguments.attestations is not None and arguments.keys is not None
    if merged is None or version.repository is None or version.commit is None or is_offline:
        return []

    from plait.validations import digests_of, fetch_expected

    found = fetch_expected(
        context.open_transport(arguments.url),
        version.repository,
        version.commit,
        definition=merged.digests.definition,
    )
    # A base in which one bit was changed has another fingerprint: compared all the same, the
    # tensors that differ tell where.
    found.sort(key=lambda item: item.base != merged.base)
    return digests_of(found[0]).find_differences(merged.digests) if found else []


def _name(differing: Sequence[str]) -> str:
    if not differing:
        return ""
    named = printable(", ".join(differing[:_NAMED]))
    return f" {len(differing)} of its tensors came out otherwise than the registry's say: {named}."


def _compare_with(merged: Merged) -> MergedHere:
    from plait.model.validation import BaseWeights
    from plait.verify import MergedHere

    digests, weights = merged.digests, BaseWeights(merged.base_weights)
    return MergedHere(digests.definition, merged.base, weights, digests.root)


def _describe(
    report: VerificationReport, version: _Version, merged: Merged | None, needed: int
) -> dict[str, Any]:
    here = None
    if merged is not None:
        here = {**merged.digests.to_json(), "base": merged.base, "device": merged.device}
    return {
        "version": version.label,
        "commit": version.commit,
        "needed": needed,
        "verified": len(report.keyids) >= needed,
        **report.to_json(),
        "merged": here,
    }


def _explain(
    report: VerificationReport, version: _Version, merged: Merged | None, needed: int
) -> str:
    """Return why a version is not verified, and what to do."""
    counting = len(report.keyids)
    if not report.attestations:
        said = "nobody has attested it: plait validate does, with a key that is registered"
    else:
        said = f"{counting} of {needed} needed keys vouch for it"
        reasons = sorted({item.standing.value for item in report.attestations} - {"counts"})
        if reasons:
            said += f" (not counted: {', '.join(reasons)})"
    if merged is not None:
        said += (
            f". Merged into the base {abbreviate(merged.base)} here, it has the root "
            f"{merged.digests.root}"
        )
    return f"{version.label} is not verified: {said}."


def _print_attestations(report: VerificationReport, context: Context) -> None:
    context.terminal.table(_row(item) for item in report.attestations)
    for item in report.attestations:
        if item.message:
            who = item.name or abbreviate(item.keyid or "an unknown key")
            context.terminal.remark(printable(f"{who}: {item.message}"))


def _row(item: CheckedAttestation) -> list[str]:
    said = item.statement
    row = [item.standing.value, printable(item.name or ""), abbreviate(item.keyid or "")]
    if said is None:
        return row
    device = printable(said.environment.get("device", ""))
    return [*row, said.result.value, said.definition, said.signed_at, device]
