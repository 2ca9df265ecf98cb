"""What `plait-registry gc`, `fsck`, `rebuild`, `backup`, `restore` and `quota` do.

They work straight on the database and the object store, beside servers that use them: what keeps
them apart is in the database. Only `rebuild` and `restore` want no server to run. Progress goes to
standard error, facts to standard output.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from plait.errors import InvalidInput
from plait_registry.bootstrap import Care, open_care
from plait_registry.domain.access import SYSTEM
from plait_registry.domain.inspection import Finding
from plait_registry.services.check_store import Depth
from plait_registry.services.collect_garbage import DEFAULT_GRACE
from plait_registry.services.garbage_report import GarbageReport
from plait_registry.settings import Settings

MOST_FINDINGS = 10_000
"""After which a check is cut short: somebody has to look at those first."""

_SPAN = re.compile(r"(\d{1,6})([dhms])|0")
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command has to say, and its exit status."""

    lines: Sequence[str]
    status: int = 0


SECONDS_BETWEEN_LINES = 2.0
"""Of progress on standard error."""


def run_care_command(settings: Settings, options: argparse.Namespace) -> Outcome:
    """Run one of the commands.

    Raises:
        PlaitError: as the service does that the command calls.
    """
    with open_care(settings, alone=options.command in {"rebuild", "restore"}) as care:
        return RUNS[options.command](care, options)


def _collect(care: Care, options: argparse.Namespace) -> Outcome:
    grace = DEFAULT_GRACE if options.grace is None else parse_span(options.grace)
    if options.sweep:
        care.journal_refs()
    report = care.collect_garbage(grace=grace, sweep=options.sweep, tell=_tell(options))
    if options.sweep:
        care.prune_journal(grace)
    return Outcome([_dump(report.to_json())] if options.json else list(_describe_garbage(report)))


def _check(care: Care, options: argparse.Namespace) -> Outcome:
    depth = Depth(parse_sample(options), options.seed)
    findings = []
    for finding in care.check_store(depth, _tell(options)):
        findings.append(finding)
        if not options.json:
            print(_describe_finding(finding), flush=True)
        if len(findings) == MOST_FINDINGS:
            break
    damage = [finding for finding in findings if finding.is_damage]
    facts: dict[str, Any] = {"damage": len(damage), "garbage": len(findings) - len(damage)}
    if options.repair:
        facts["repaired"] = asdict(care.repair_store(damage))
    if options.json:
        return Outcome(
            [_dump({**facts, "findings": [_write(it) for it in findings]})], bool(damage)
        )
    said = "no damage was found" if not damage else f"{len(damage)} findings are damage"
    lines = [f"{said}; {facts['garbage']} findings are garbage, which gc removes"]
    if options.repair:
        lines.append("repaired: " + ", ".join(f"{n} {k}" for k, n in facts["repaired"].items()))
    return Outcome(lines, bool(damage))


def _rebuild(care: Care, options: argparse.Namespace) -> Outcome:
    report = care.rebuild(_tell(options))
    if options.json:
        return Outcome([_dump(asdict(report))], bool(report.failed))
    found = f"{report.commits} commits, {report.files} files, {report.refs} refs"
    lines = [f"rebuilt {report.repositories} repositories: {found}"]
    lines += [f"not rebuilt: {reason}" for reason in report.failed]
    return Outcome(lines, bool(report.failed))


def _back_up(care: Care, options: argparse.Namespace) -> Outcome:
    care.journal_refs()
    made = care.back_up(Path(options.folder), with_objects=options.objects, tell=_tell(options))
    if options.json:
        return Outcome([_dump(asdict(made))])
    also = "with their bytes" if made.copied else "which lie in the object store"
    return Outcome([f"backed up as of {made.created_at}: {made.objects} objects, {also}"])


def _restore(care: Care, options: argparse.Namespace) -> Outcome:
    report = care.restore(Path(options.folder), tell=_tell(options))
    facts = {
        "created_at": report.description.created_at,
        "taken": report.taken,
        "missing": report.missing,
    }
    if options.json:
        return Outcome([_dump(facts)], bool(report.missing))
    restored = f"restored as of {report.description.created_at}"
    lines = [f"{restored}; {report.taken} objects came from the backup"]
    lines += [f"missing in the object store: {item}" for item in report.missing]
    if report.missing:
        lines.append(
            f"Copy {options.folder}/objects into the object store, then run `plait-registry fsck`."
        )
    return Outcome(lines, bool(report.missing))


def _show_quota(care: Care, options: argparse.Namespace) -> Outcome:
    usage = care.read_usage(SYSTEM, options.namespace)
    if options.json:
        return Outcome([_dump(asdict(usage))])
    limit = "no limit" if usage.quota_bytes is None else f"of {usage.quota_bytes} bytes"
    return Outcome([f"{usage.namespace}: {usage.used_bytes} bytes in {usage.files} files, {limit}"])


RUNS: Mapping[str, Callable[[Care, argparse.Namespace], Outcome]] = {
    "gc": _collect,
    "fsck": _check,
    "rebuild": _rebuild,
    "backup": _back_up,
    "restore": _restore,
    "quota": _show_quota,
}


def parse_span(text: str) -> timedelta:
    """Return a span of time, as 14d, 36h or 0.

    Raises:
        InvalidInput: `usage`.
    """
    found = _SPAN.fullmatch(text)
    if found is None:
        raise InvalidInput("usage", f"{text!r:.80} as --grace: expected a span as 14d, 36h or 0.")
    number, unit = found.groups()
    return timedelta() if number is None else timedelta(**{_UNITS[unit]: int(number)})


def parse_sample(options: argparse.Namespace) -> float:
    """Return the part of the objects to read.

    Raises:
        InvalidInput: `usage`.
    """
    if options.full:
        return 1.0
    text = options.sample or "0%"
    number = text.removesuffix("%")
    if not text.endswith("%") or not number.isdecimal() or int(number) > 100:
        raise InvalidInput("usage", f"{text!r:.80} as --sample: expected a percentage as 5%.")
    return int(number) / 100


def _tell(options: argparse.Namespace) -> Callable[[str], None]:
    """Return what shows progress: a line now and then, since short work needs none."""
    next_line = time.monotonic() + SECONDS_BETWEEN_LINES

    def tell(line: str) -> None:
        nonlocal next_line
        if time.monotonic() >= next_line:
            next_line = time.monotonic() + SECONDS_BETWEEN_LINES
            print(line, file=sys.stderr, flush=True)

    return (lambda _: None) if options.quiet else tell


def _describe_garbage(report: GarbageReport) -> Sequence[str]:
    would = "removed" if report.swept else "would remove"
    lines = [
        f"{it.name}: {would} {it.commits} commits and {it.files} files ({it.bytes} bytes), "
        f"{it.expired_files} of them expired"
        for it in report.repositories
    ]
    lines.append(
        f"{would} {report.pushes} pushes, {report.uploads} uploads, {report.commits} commits, "
        f"{report.manifests} manifests and {report.files} files that nobody holds"
    )
    lines.append(f"{would} {report.objects} objects ({report.object_bytes} bytes) from the store")
    if report.waiting_objects:
        lines.append(
            f"{report.waiting_objects} objects ({report.waiting_bytes} bytes) wait for their grace"
        )
    lines += [f"{name} is busy: left to the next run" for name in report.busy_repositories]
    if report.held:
        lines.append("a backup is under way: the next run deletes what this one left")
    if not report.swept:
        lines.append("Nothing was changed: run with --sweep to remove it.")
    return lines


def _describe_finding(finding: Finding) -> str:
    where = f" ({', '.join(finding.repositories)})" if finding.repositories else ""
    return f"{finding.kind}: {finding.problem}{where} {finding.advice}"


def _write(finding: Finding) -> dict[str, Any]:
    return {**asdict(finding), "damage": finding.is_damage}


def _dump(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, indent=2)
