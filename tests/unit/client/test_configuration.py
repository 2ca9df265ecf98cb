import os
import re
import stat
from pathlib import Path

import pytest

from plait.configuration import (
    DEFAULT_URL,
    Configuration,
    from_environment,
    parse_url,
    read_private_file,
    write_login,
)
from plait.errors import InvalidInput


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def read(home: Path, **environ: str) -> Configuration:
    return from_environment({"HOME": str(home), **environ}, folder=home)


def write_config(home: Path, text: str) -> None:
    path = home / ".config" / "plait" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_nothing_set_means_the_embedded_registry(home: Path) -> None:
    settings = read(home, USER="ada")
    assert settings.url == DEFAULT_URL
    assert settings.token_for(DEFAULT_URL) is None
    assert settings.cache_dir == home / ".cache" / "plait"
    assert (settings.author.name, settings.author.email) == ("ada", "")


def test_environment_wins_over_the_config_file(home: Path) -> None:
    write_config(
        home,
        'url = "https://file.example"\n[tokens]\n"https://file.example/" = "of-file"\n'
        '[author]\nname = "Ada"\nemail = "ada@example.org"\n',
    )
    assert read(home).url == "https://file.example"
    assert read(home).token_for("https://file.example") == "of-file"
    assert str(read(home).author) == "Ada <ada@example.org>"
    settings = read(home, PLAIT_URL="https://env.example/", PLAIT_TOKEN="of-env")
    assert settings.url == "https://env.example"
    assert settings.token_for("https://env.example") == "of-env"
    assert read(home, PLAIT_AUTHOR_NAME="Grace").author.name == "Grace"


def test_token_goes_to_no_other_registry_than_its_own(home: Path) -> None:
    settings = read(home, PLAIT_URL="https://a.example", PLAIT_TOKEN="secret")
    assert settings.token_for("https://b.example") is None
    given = settings.override(url="https://b.example", token="other")
    assert given.token_for("https://b.example") == "other"
    assert given.token_for("https://a.example") == "secret"


def test_token_without_an_address_is_for_whatever_is_addressed(home: Path) -> None:
    write_config(home, '[tokens]\n"https://a.example" = "old"\n')
    settings = read(home, PLAIT_TOKEN="secret")
    assert settings.token_for("https://a.example") == "secret"
    assert settings.token_for("https://b.example") == "secret"


def test_secrets_are_not_shown(home: Path) -> None:
    settings = read(home, PLAIT_TOKEN="T0KEN", https_proxy="http://u:PASSW0RD@p:1")
    assert not {"T0KEN", "PASSW0RD"} & set(re.split(r"\W", repr(settings)))


def test_admin_token_of_the_embedded_registry_is_found(home: Path) -> None:
    data = home / "plait-data"
    data.mkdir(parents=True)
    token = data / "admin.token"
    token.write_text("admin\n")
    token.chmod(0o600)
    assert read(home).token_for(DEFAULT_URL) == "admin"
    assert read(home, PLAIT_URL="http://127.0.0.1:9999").token_for("http://127.0.0.1:9999") is None
    assert read(home, PLAIT_TOKEN="mine").token_for(DEFAULT_URL) == "mine"
    token.chmod(0o640)
    assert read(home).token_for(DEFAULT_URL) is None


def test_admin_token_is_found_in_the_named_data_folder(home: Path, tmp_path: Path) -> None:
    (tmp_path / "admin.token").write_text("elsewhere")
    (tmp_path / "admin.token").chmod(0o600)
    assert read(home, PLAIT_DATA=str(tmp_path)).token_for(DEFAULT_URL) == "elsewhere"


def test_private_file_must_be_a_file(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert read_private_file(tmp_path) is None
    assert read_private_file(tmp_path / "absent") is None


def test_cache_follows_the_environment(home: Path) -> None:
    assert read(home, PLAIT_CACHE_DIR="/cache").cache_dir == Path("/cache")
    assert read(home, XDG_CACHE_HOME="/xdg").cache_dir == Path("/xdg/plait")
    assert read(home, XDG_CACHE_HOME="relative").cache_dir == home / ".cache" / "plait"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HTTP://Example.org:80/", "http://example.org"),
        ("https://example.org:443/plait/", "https://example.org/plait"),
        ("http://127.0.0.1:8420", "http://127.0.0.1:8420"),
        ("http://[::1]:8420/", "http://[::1]:8420"),
    ],
)
def test_addresses_have_one_form(text: str, expected: str) -> None:
    assert parse_url(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.org",
        "ftp://example.org",
        "http://",
        "http://a:b@c",
        "http://a?x=1",
        "http://a:x",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_url(text)


@pytest.mark.parametrize("text", ["url = ", "url = 1", "tokens = 1", "[author]\nname = 2"])
def test_malformed_config_file_is_named(home: Path, text: str) -> None:
    write_config(home, text)
    with pytest.raises(InvalidInput, match=r"config\.toml"):
        read(home)


def test_login_is_remembered_for_the_owner_only(home: Path) -> None:
    write_config(home, '[author]\nname = "Ada \\"the\\" first"\n')
    path = read(home).config_file
    write_login(path, "https://a.example/", "one")
    write_login(path, "https://b.example", "two")
    settings = read(home)
    assert settings.url == "https://b.example"
    assert settings.token_for("https://a.example") == "one"
    assert settings.token_for("https://b.example") == "two"
    assert settings.author.name == 'Ada "the" first'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["config.toml"]  # noqa: PTH208 - names are compared


def test_proxies_are_read_as_curl_does(home: Path) -> None:
    settings = read(home, HTTPS_PROXY="proxy:3128", HTTP_PROXY="http://evil", no_proxy="a,.b")
    assert settings.proxies == {"https": "http://proxy:3128", "no": "a,.b"}
