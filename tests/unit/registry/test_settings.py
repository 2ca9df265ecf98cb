"""Settings: flags before the environment before defaults, and clear words against the rest."""

import logging
from pathlib import Path

import pytest

from plait.errors import InvalidInput
from plait_registry.settings import is_loopback, read_settings


def test_defaults_serve_a_local_registry_from_the_current_folder() -> None:
    settings = read_settings({}, {})
    assert settings.data == Path("plait-data")
    assert (settings.host, settings.port) == ("127.0.0.1", 8420)
    assert settings.database_url is None
    assert settings.largest_request == 64 * 1024 * 1024
    assert settings.log_level == logging.INFO


def test_flag_wins_over_the_environment_and_that_over_the_default() -> None:
    environ = {"PLAIT_PORT": "9000", "PLAIT_DATA": "/srv/plait"}
    settings = read_settings({"PORT": "9001", "DATA": None}, environ)
    assert settings.port == 9001
    assert settings.data == Path("/srv/plait")


def test_empty_variable_counts_as_unset() -> None:
    assert read_settings({}, {"PLAIT_PORT": "", "PLAIT_DATABASE_URL": ""}) == read_settings({}, {})


def test_environment_of_the_process_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIT_LOG_LEVEL", "WARNING")
    assert read_settings().log_level == logging.WARNING


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "http"),
        ("PORT", "-1"),
        ("PORT", "65536"),
        ("PORT", "٣"),
        ("LARGEST_REQUEST", "1"),
        ("SIGNED_URL_SECONDS", "0"),
        ("LOG_LEVEL", "loud"),
        ("BEHIND_TLS", "maybe"),
        ("OBJECT_STORE", "s3://bucket?endpoint=https://s3.example.org"),
    ],
)
def test_value_that_cannot_work_is_refused_by_the_name_of_its_setting(name: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=f"PLAIT_{name}") as caught:
        read_settings({}, {f"PLAIT_{name}": text})
    assert caught.value.kind == "usage"


@pytest.mark.parametrize("host", ["192.0.2.1", "::", "10.1.2.3", "registry.example.org"])
def test_host_that_others_can_reach_is_refused_until_tls_is_said_to_be_in_front(host: str) -> None:
    with pytest.raises(InvalidInput, match="TLS belongs in front"):
        read_settings({"HOST": host}, {})
    assert read_settings({"HOST": host, "BEHIND_TLS": "1"}, {}).host == host
    assert read_settings({"HOST": host}, {"PLAIT_BEHIND_TLS": "yes"}).behind_tls


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_tls(host: str) -> None:
    assert is_loopback(host)
    assert read_settings({"HOST": host}, {}).host == host
