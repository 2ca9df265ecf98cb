"""Settings: flags before the environment before defaults, and clear words against the rest."""

import logging
from pathlib import Path

import pytest

from plait.errors import InvalidInput
from plait_registry.adapters.s3_location import S3Location
from plait_registry.settings import is_loopback, read_settings


def test_defaults_serve_a_local_registry_from_the_current_folder() -> None:
    settings = read_settings({}, {})
    assert settings.data == Path("plait-data")
    assert (settings.host, settings.port) == ("127.0.0.1", 8420)
    assert settings.database_url is None
    assert settings.serving.largest_request == 64 * 1024 * 1024
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
        ("DATABASE_POOL", "0"),
        ("STATEMENT_TIMEOUT_SECONDS", "1.5"),
        ("DATABASE_URL_FILE", "/does/not/exist"),
        ("OBJECT_STORE", "/srv/objects"),
        ("OBJECT_STORE", "s3://UPPER"),
        ("OBJECT_STORE", "s3://bucket/a b"),
        ("OBJECT_STORE", "s3://bucket?endpoint=s3.example.org"),
        ("OBJECT_STORE", "s3://bucket?addressing=both"),
        ("OBJECT_STORE", "s3://bucket?color=blue"),
        ("OBJECT_STORE", "s3://bucket?region=a&region=b"),
        ("S3_SECRET_KEY_FILE", "/does/not/exist"),
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


def test_database_is_read_from_its_url_or_a_file_and_is_not_shown(tmp_path: Path) -> None:
    url = "postgresql+psycopg://plait:secret@db/plait"
    settings = read_settings({}, {"PLAIT_DATABASE_URL": url, "PLAIT_DATABASE_POOL": "3"})
    assert settings.database_url == url
    assert (settings.database_pool, settings.statement_timeout_seconds) == (3, 30)
    assert "secret" not in repr(settings)
    (tmp_path / "url").write_text(f"{url}\n")
    from_file = read_settings({}, {"PLAIT_DATABASE_URL_FILE": str(tmp_path / "url")})
    assert from_file.database_url == url


def test_bucket_is_read_from_its_url_and_the_keys_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("very-secret\n")
    url = "s3://adapters/team/a?endpoint=https://s3.example.org/&region=here&addressing=path"
    environ = {
        "PLAIT_OBJECT_STORE": url,
        "PLAIT_S3_ACCESS_KEY": "me",
        "PLAIT_S3_SECRET_KEY_FILE": str(file),
    }
    settings = read_settings({}, environ)
    assert settings.object_store == S3Location(
        bucket="adapters",
        prefix="team/a/",
        endpoint="https://s3.example.org",
        region="here",
        addressing="path",
        access_key="me",
        secret_key="very-secret",
    )
    assert "very-secret" not in repr(settings)


def test_bucket_alone_leaves_the_rest_to_boto3() -> None:
    settings = read_settings({}, {"PLAIT_OBJECT_STORE": "s3://adapters"})
    assert settings.object_store == S3Location("adapters")


def test_credentials_in_the_url_are_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidInput, match="PLAIT_S3_SECRET_KEY") as caught:
        read_settings({}, {"PLAIT_OBJECT_STORE": "s3://me:very-secret@bucket"})
    assert "very-secret" not in caught.value.message


@pytest.mark.parametrize(
    "environ",
    [
        {"PLAIT_S3_ACCESS_KEY": "me", "PLAIT_S3_SECRET_KEY": "s"},
        {"PLAIT_OBJECT_STORE": "s3://bucket", "PLAIT_S3_ACCESS_KEY": "me"},
        {"PLAIT_OBJECT_STORE": "s3://bucket", "PLAIT_S3_SECRET_KEY": "s"},
        {
            "PLAIT_OBJECT_STORE": "s3://bucket",
            "PLAIT_S3_SECRET_KEY": "s",
            "PLAIT_S3_SECRET_KEY_FILE": "f",
        },
    ],
)
def test_keys_that_do_not_fit_together_are_refused(environ: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="PLAIT_S3"):
        read_settings({}, environ)
