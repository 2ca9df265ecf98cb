from urllib.parse import quote

import pytest

from plait.errors import InvalidInput
from plait.model.refs import LONGEST_NAME, parse_ref_name


@pytest.mark.parametrize(
    "name",
    [
        "main",
        "v1.2",
        "feature/x",
        "a/b/c/d",
        "run_7+lr-3e4",
        "_private",
        "+x",
        "1",
        "abcdef1",
        "0" * 39,
        "0" * 41,
        "Head",
        "HEAD/x",
        "locked",
        "a.lock.b",
        "x" * LONGEST_NAME,
    ],
)
def test_ordinary_name_is_taken_as_it_is_and_survives_a_url(name: str) -> None:
    assert parse_ref_name(name) == name
    assert quote(name, safe="/+") == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is empty"),
        ("x" * (LONGEST_NAME + 1), "longer than 200"),
        ("x" * 1_000_000, "longer than 200"),
        ("HEAD", "reserved"),
        ("@", "reserved"),
        ("0" * 40, "looks like a commit id"),
        ("abcdef0123" * 4, "looks like a commit id"),
        ("f" * 64, "looks like a commit id"),
        ("/main", "empty part"),
        ("main/", "empty part"),
        ("a//b", "empty part"),
        (".hidden", "not allowed"),
        ("-x", "not allowed"),
        ("--force", "not allowed"),
        ("a/-b", "not allowed"),
        ("a/.b", "not allowed"),
        ("..", "not allowed"),
        ("../main", "not allowed"),
        ("a b", "not allowed"),
        ("a%2fb", "not allowed"),
        ("a?b", "not allowed"),
        ("a#b", "not allowed"),
        ("a&b=c", "not allowed"),
        ("a;b", "not allowed"),
        ("a\\b", "not allowed"),
        ("a:b", "not allowed"),
        ("a~1", "not allowed"),
        ("a^", "not allowed"),
        ("a*", "not allowed"),
        ("a[0]", "not allowed"),
        ("a@{0}", "not allowed"),
        ("ns/name@x", "not allowed"),
        ("main\n", "not allowed"),
        ("a\x00", "not allowed"),
        ("a\x7f", "not allowed"),
        ("größe", "not allowed"),
        ("\uff41", "not allowed"),
        ("٣", "not allowed"),
        ("a\ud800", "not allowed"),
        ("a..b", "holds '..'"),
        ("a.", "ends with '.'"),
        ("a./b", "ends with '.'"),
        ("a.lock", "'.lock'"),
        ("a.lock/b", "'.lock'"),
    ],
)
def test_name_that_a_url_or_a_shell_would_mangle_is_refused(name: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason) as caught:
        parse_ref_name(name)
    assert caught.value.kind == "invalid-ref-name"
    assert len(caught.value.message) < 500
    caught.value.message.encode()


@pytest.mark.parametrize("name", [None, 1, b"main", ["main"]])
def test_name_that_is_no_string_is_refused(name: object) -> None:
    with pytest.raises(InvalidInput, match="must be a string"):
        parse_ref_name(name)
