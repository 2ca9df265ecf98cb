"""Settings of the client: what the environment and the config file say, as one value.

- The environment wins over the config file, which wins over the defaults.
- The config file is TOML: `url = "..."`, then `[tokens]` by a registry's address, `[author]` with
  `name` and `email`.
- A token belongs to the address that it was given for and is sent nowhere else. The one exception
  is PLAIT_TOKEN without PLAIT_URL, which means whatever registry is addressed.
- For the embedded registry's own address, the admin token that `plait-registry serve` wrote under
  the current folder is found without any setting, if nobody else can read it.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from plait.errors import InvalidInput
from plait.model.commit import Person

DEFAULT_URL = "http://127.0.0.1:8420"
DEFAULT_DATA = "plait-data"
ADMIN_TOKEN = "admin.token"  # noqa: S105 - a file's name

ANY_URL = "*"
"""Stands for every address in `Configuration.tokens`."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings of one client."""

    url: str
    """Of the registry that is used where nothing names another."""
    cache_dir: Path
    author: Person
    """Who makes commits, where nothing names another."""
    config_file: Path
    """Where `plait login` writes; it need not exist."""
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By a registry's address, or `ANY_URL`."""
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)

    def token_for(self, url: str) -> str | None:
        """Return the token that may be sent to the registry at `url`."""
        return self.tokens.get(url) or self.tokens.get(ANY_URL)

    def override(
        self,
        *,
        url: str | None = None,
        token: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> Configuration:
        """Return these settings with what was given by hand."""
        chosen = self.url if url is None else parse_url(url)
        tokens = self.tokens if token is None else {**self.tokens, chosen: token}
        cache = self.cache_dir if cache_dir is None else Path(cache_dir)
        return replace(self, url=chosen, tokens=tokens, cache_dir=cache)


def from_environment(environ: Mapping[str, str], *, folder: Path | None = None) -> Configuration:
    """Return the settings of the process whose environment is `environ`.

    `folder` is where the embedded registry's data are looked for: the current one, by default.

    Raises:
        InvalidInput: an address or the config file is malformed.
    """
    config_file = _find_config_file(environ)
    document = _read_config(config_file)
    url = parse_url(environ.get("PLAIT_URL") or _text(document, "url", config_file) or DEFAULT_URL)
    tokens = {
        parse_url(address): _text(_table(document, "tokens", config_file), address, config_file)
        for address in _table(document, "tokens", config_file)
    }
    if url == DEFAULT_URL and not tokens.get(url):
        data = Path(environ.get("PLAIT_DATA") or (folder or Path.cwd()) / DEFAULT_DATA)
        tokens[url] = read_private_file(data / ADMIN_TOKEN) or ""
    if environ.get("PLAIT_TOKEN"):
        given_for = url if environ.get("PLAIT_URL") else ANY_URL
        if given_for == ANY_URL:
            tokens.clear()
        tokens[given_for] = environ["PLAIT_TOKEN"].strip()
    return Configuration(
        url=url,
        cache_dir=_find_cache(environ),
        author=_find_author(environ, _table(document, "author", config_file), config_file),
        config_file=config_file,
        tokens={address: token for address, token in tokens.items() if token},
        proxies=_find_proxies(environ),
    )


def parse_url(text: str) -> str:
    """Return a registry's address in the one form that tokens are filed under.

    Raises:
        InvalidInput: it is no plain http or https address.
    """
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment:
        raise InvalidInput(
            "invalid-input",
            f"{text!r:.200} is not a registry's address: expected one like {DEFAULT_URL}.",
        )
    if parts.username is not None:
        raise InvalidInput(
            "invalid-input",
            "A registry's address holds no user or password: put the token into PLAIT_TOKEN, or "
            "run `plait login`.",
        )
    netloc = f"[{host}]" if ":" in host else host
    if port is not None and port != {"http": 80, "https": 443}[parts.scheme]:
        netloc = f"{netloc}:{port}"
    return f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}"


def read_private_file(path: Path) -> str | None:
    """Return a secret's text, or None where the file is absent or others can read it."""
    try:
        status = path.stat()
        is_private = os.name == "nt" or (
            not stat.S_IMODE(status.st_mode) & 0o077 and status.st_uid == os.geteuid()
        )
        if not is_private or not stat.S_ISREG(status.st_mode):
            return None
        return path.read_text("utf-8").strip() or None
    except OSError:
        return None


def write_login(config_file: Path, url: str, token: str) -> None:
    """Remember a token for `url`, and `url` as the registry to use; readable by the owner only."""
    document = _read_config(config_file)
    document["url"] = parse_url(url)
    document["tokens"] = {
        **_table(document, "tokens", config_file),
        document["url"]: token,
    }
    config_file.parent.mkdir(parents=True, exist_ok=True)
    temporary = config_file.with_name(f"{config_file.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(_write_toml(document))
    temporary.replace(config_file)


def _find_config_file(environ: Mapping[str, str]) -> Path:
    if environ.get("PLAIT_CONFIG"):
        return Path(environ["PLAIT_CONFIG"])
    return _find_home(environ, "XDG_CONFIG_HOME", ".config") / "plait" / "config.toml"


def _find_cache(environ: Mapping[str, str]) -> Path:
    """Return the folder of this user's cache."""
    if environ.get("PLAIT_CACHE_DIR"):
        return Path(environ["PLAIT_CACHE_DIR"])
    return _find_home(environ, "XDG_CACHE_HOME", ".cache") / "plait"


def _find_home(environ: Mapping[str, str], variable: str, fallback: str) -> Path:
    # The XDG specification: a relative path is invalid and must be ignored.
    given = environ.get(variable, "")
    if given and Path(given).is_absolute():
        return Path(given)
    home = environ.get("HOME") or environ.get("USERPROFILE")
    return (Path(home) if home else Path.home()) / fallback


def _find_author(environ: Mapping[str, str], table: dict[str, Any], source: Path) -> Person:
    name = (
        environ.get("PLAIT_AUTHOR_NAME")
        or _text(table, "name", source)
        or environ.get("USER")
        or environ.get("USERNAME")
        or "unknown"
    )
    return Person(name, environ.get("PLAIT_AUTHOR_EMAIL") or _text(table, "email", source))


def _find_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    proxies = {}
    for scheme in ("http", "https", "no"):
        # Upper case HTTP_PROXY can be set by a request's header in a CGI program; curl ignores it.
        names = (f"{scheme}_proxy", *((f"{scheme}_proxy".upper(),) if scheme != "http" else ()))
        value = next((environ[name] for name in names if environ.get(name)), None)
        if value:
            is_bare = scheme != "no" and "://" not in value
            proxies[scheme] = f"http://{value}" if is_bare else value
    return proxies


def _read_config(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            "invalid-input", f"Cannot read the config file {path}: {error}"
        ) from error
    # Most processes have no config file and need not pay for the parser.
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(
            "invalid-input", f"Cannot read the config file {path}: {error}"
        ) from error


def _table(document: Mapping[str, Any], name: str, source: Path) -> dict[str, Any]:
    value = document.get(name, {})
    if not isinstance(value, dict):
        raise InvalidInput("invalid-input", f"{source}: {name!r} must be a table.")
    return value


def _text(document: Mapping[str, Any], name: str, source: Path) -> str:
    value = document.get(name, "")
    if not isinstance(value, str):
        raise InvalidInput("invalid-input", f"{source}: {name!r} must be a string.")
    return value


def _write_toml(document: Mapping[str, Any]) -> str:
    """Return TOML for strings and tables of strings, which is all that the file has."""
    plain = {key: value for key, value in document.items() if isinstance(value, str)}
    lines = [f"{key} = {_quote(value)}" for key, value in plain.items()]
    for name, table in document.items():
        if isinstance(table, dict):
            lines += ["", f"[{name}]"]
            lines += [f"{_quote(str(key))} = {_quote(str(item))}" for key, item in table.items()]
    return "\n".join(lines) + "\n"


def _quote(text: str) -> str:
    # A JSON string is a TOML basic string: both escape quotes, backslashes and control characters.
    return json.dumps(text)
