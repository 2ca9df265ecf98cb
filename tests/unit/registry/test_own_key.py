"""The registry's own key for validations: made and registered once, and used where no other is."""

import stat
from pathlib import Path

import pytest

from care.worlds import World
from plait.signing import load_key
from plait_registry.adapters.dsse_signatures import DsseSignatures
from plait_registry.domain.access import SYSTEM
from plait_registry.services.validation_services import (
    ValidationServices,
    build_validation_services,
)
from plait_registry.settings import read_settings
from plait_registry.worker.own_key import FILE_NAME, use_own_key


@pytest.fixture
def validations() -> ValidationServices:
    world = World()
    return build_validation_services(world.data, world.clock, DsseSignatures())


def test_key_is_made_and_registered_by_the_first_start_alone(
    tmp_path: Path, validations: ValidationServices
) -> None:
    settings = read_settings({"DATA": str(tmp_path)}, {})
    first = use_own_key(settings, validations)
    path = first.jobs.validator.key
    assert path == tmp_path / FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made = path.read_bytes()
    assert use_own_key(settings, validations) == first
    assert path.read_bytes() == made
    (key,) = validations.list_keys()
    assert key.keyid == load_key(path).keyid
    assert [item.name for item in tmp_path.iterdir()] == [FILE_NAME]


def test_key_that_is_set_is_used_in_place_of_an_own_one(
    tmp_path: Path, validations: ValidationServices
) -> None:
    settings = read_settings(
        {"DATA": str(tmp_path)}, {"PLAIT_VALIDATOR_KEY": str(tmp_path / "other.pem")}
    )
    assert use_own_key(settings, validations) == settings
    assert validations.list_keys() == []
    assert list(tmp_path.iterdir()) == []


def test_key_that_was_revoked_stays_so(tmp_path: Path, validations: ValidationServices) -> None:
    settings = read_settings({"DATA": str(tmp_path)}, {})
    use_own_key(settings, validations)
    (key,) = validations.list_keys()
    validations.revoke_key(SYSTEM, key.keyid)
    use_own_key(settings, validations)
    assert [item.revoked_at is None for item in validations.list_keys()] == [False]


def test_damaged_key_costs_the_signature_and_not_the_start(
    tmp_path: Path, validations: ValidationServices, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_text("no key")
    settings = read_settings({"DATA": str(tmp_path)}, {})
    assert use_own_key(settings, validations) == settings
    assert "not signed" in caplog.text
