"""A plain `plait-registry serve` validates by itself: base, adapter, verdict, signature."""

from pathlib import Path

import pytest

from e2e.programs import Client

pytestmark = pytest.mark.timeout(300)

LIMIT = 240.0
"""Seconds: kernels are compiled the first time that anything is merged on a machine."""
CPP = "c54fcd51c3d5dd2d1ce170fbbad9807e44e81d907425ec645160301bce78955e"
"""The root of micro's cpp/v3 in its base, as an H100 computed it."""


def push_adapter(client: Client, name: str, micro: Path) -> None:
    folder = micro / "adapters" / "cpp" / "v3"
    client.run("push", folder, name, "-m", "v3", "--create", "--base-dir", micro / "base")


def test_version_is_validated_and_signed_with_nothing_else_configured(
    client: Client, name: str, micro_data: Path
) -> None:
    client.run("base", "push", micro_data / "base", f"{name}-base")
    push_adapter(client, name, micro_data)
    said = client.run("validate", name, "--wait", limit=LIMIT)
    assert "is verified" in said
    facts = client.facts("verify", name)
    assert (facts["verified"], facts["root"]) == (True, CPP)
    assert "the registry on" in facts["attestations"][0]["name"]


def test_validation_that_nobody_can_do_says_what_it_waits_for(
    client: Client, name: str, micro_data: Path, tmp_path: Path
) -> None:
    # No base of these weights is anywhere.
    folder = micro_data / "adapters" / "prose" / "v1"
    client.run("push", folder, name, "-m", "v1", "--create")
    base = "5d2c8e14f0ab" * 5 + "5d2c"
    outcome = client.try_run("validate", name, "--base-id", base)
    assert outcome.status == 0
    told = outcome.out + outcome.err
    assert "Waiting for a worker that has the base 5d2c8e14f0ab" in told
    assert "plait-registry worker --bases DIR" in told
    job = client.facts("validate", name, "--base-id", base)["job"]["id"]
    assert "Waiting for" in client.run("job", "show", job)
    client.run("job", "cancel", job)
