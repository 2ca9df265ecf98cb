import subprocess
import sys

import pytest

import plait
from plait import errors


def test_every_public_name_is_there() -> None:
    for name in plait.__all__:
        assert getattr(plait, name) is not None
        assert name in dir(plait)
    assert plait.Conflict is errors.Conflict


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = plait.nonsense


def test_connecting_loads_no_library_but_the_standard_ones_and_canonical_json() -> None:
    code = (
        "import plait, sys; plait.connect().repository('a/b'); "
        "print({name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    loaded = {name for name in eval(done.stdout) if not name.startswith("_")}  # noqa: S307
    assert loaded <= {"plait", "rfc8785"}


def test_connection_takes_what_is_given_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIT_URL", "http://127.0.0.1:1/")
    with plait.connect() as registry:
        assert registry.url == "http://127.0.0.1:1"
    with plait.connect("http://127.0.0.1:2") as registry:
        assert repr(registry.repository("a/b")) == "<plait repository a/b at http://127.0.0.1:2>"
        assert repr(registry) == "<plait registry at http://127.0.0.1:2>"
