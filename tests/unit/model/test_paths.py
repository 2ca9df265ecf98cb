import time
import unicodedata

import pytest

from plait.errors import InvalidInput
from plait.model.paths import (
    FilePath,
    is_pickle,
    is_safetensors,
    parse_path,
    verify_paths_apart,
)


@pytest.mark.parametrize(
    "path",
    [
        "adapter_config.json",
        "a/b/c.safetensors",
        "with space/é.txt",
        ".hidden",
        "..a",
        "a..",
        "...a",
        "ab:c",
        "-rf",
        "CON",
        "日本語/模型.json",
        ".gitignore",
        ".gitattributes",
        ".plait-notes",
        "plait/x",
        "git~2",
        "x" * 255,
        "é" * 127,
        "/".join(["x" * 255] * 16),
        "%2e%2e/x",
        "a\u202eb",
    ],
)
def test_ordinary_path_is_taken_as_it_is(path: str) -> None:
    assert parse_path(path) == path


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "is empty"),
        ("/etc/passwd", "is absolute"),
        ("//server/share", "is absolute"),
        ("C:/windows", "is absolute"),
        ("c:x", "is absolute"),
        ("a/C:/x", "drive letter"),
        ("..", "dots or spaces"),
        ("../x", "dots or spaces"),
        ("a/../x", "dots or spaces"),
        ("a/..", "dots or spaces"),
        ("./a", "dots or spaces"),
        ("a/./b", "dots or spaces"),
        (".. /a", "dots or spaces"),
        ("a/. ./b", "dots or spaces"),
        ("...", "dots or spaces"),
        (" ", "dots or spaces"),
        ("a//b", "empty part"),
        ("a/", "empty part"),
        ("a\\..\\b", "backslash"),
        ("\\\\server\\share", "backslash"),
        ("a\x00.json", "control character"),
        ("a\nb", "control character"),
        ("a\x1b[31m", "control character"),
        ("a\x7f", "control character"),
        ("a\x85b", "control character"),
        ("a\u2028b", "control character"),
        ("a\ud800", "lone surrogate"),
        ("\udcff", "lone surrogate"),
        (unicodedata.normalize("NFD", "é"), "normal form C"),
        ("\u212b", "normal form C"),
        ("x" * 256, "over 255 bytes"),
        ("a/" + "é" * 128, "over 255 bytes"),
        ("a/" * 2048 + "x", "longer than 4096"),
        ("x" * 10_000_000, "longer than 4096"),
    ],
)
def test_unsafe_path_is_refused_with_its_reason(path: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason) as caught:
        parse_path(path)
    assert caught.value.kind == "invalid-path"
    assert len(caught.value.message) < 500
    caught.value.message.encode()


@pytest.mark.parametrize("folder", [".plait", ".git"])
@pytest.mark.parametrize(
    "disguise",
    [
        "{}",
        "{}/config",
        "a/{}/hooks/pre-push",
        "a/{}",
        "{}.",
        "{} . .",
        "{}::$INDEX_ALLOCATION/x",
        "{}:stream",
        "\u200c{}",
        "{}\ufeff",
        "\u202e{}/x",
    ],
)
def test_state_folder_is_refused_in_every_disguise(folder: str, disguise: str) -> None:
    middle = len(folder) // 2
    for name in (
        folder,
        folder.upper(),
        folder.title(),
        f"{folder[:middle]}\u200d{folder[middle:]}",
        f"{folder[1:]}~1",
        f"{folder[1:].upper()}~1",
    ):
        with pytest.raises(InvalidInput, match="belongs to"):
            parse_path(disguise.format(name))


@pytest.mark.parametrize("path", [None, 1, b"a", ["a"]])
def test_path_that_is_no_string_is_refused(path: object) -> None:
    with pytest.raises(InvalidInput, match="must be a string"):
        parse_path(path)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a", "A"),
        ("a/b", "A/B"),
        ("dir/straße", "dir/STRASSE"),
        ("É", "é"),
        ("ΐ", "Ϊ\u0301"),
        ("a", "a"),
        ("a", "a/b"),
        ("a", "A/b/c/d"),
        ("a/b", "a/B/c"),
    ],
)
def test_paths_that_collide_on_some_file_system_are_refused(one: str, other: str) -> None:
    between = ["a.", "a-", "a/0", "zz"] if one == "a" and other != "A/b/c/d" else []
    if other == "a/b":
        between = ["a.", "a-", "zz"]
    for paths in ([one, other, *between], [*between, other, one]):
        with pytest.raises(InvalidInput) as caught:
            verify_paths_apart([FilePath(path) for path in paths])
        assert caught.value.kind == "path-case-collision"


def test_paths_that_only_look_alike_live_side_by_side() -> None:
    verify_paths_apart(map(FilePath, ["a", "a.b", "a-b/c", "a b", "ab", "b/a", "b/aa", "b/a.b/c"]))
    verify_paths_apart([])


def test_thousands_of_deep_paths_are_compared_quickly() -> None:
    paths = [FilePath(f"{number}/" + "a/" * 1_900 + "x") for number in range(3_000)]
    started = time.perf_counter()
    verify_paths_apart(paths)
    assert time.perf_counter() - started < 10  # by joining every prefix it would be minutes


def test_weights_are_told_by_their_suffix_in_any_case() -> None:
    assert is_safetensors("x/adapter_model.SafeTensors")
    assert not is_safetensors("adapter_model.safetensors.index.json")
    for suffix in ("bin", "pt", "PTH", "ckpt", "pkl", "pickle"):
        assert is_pickle(f"a/weights.{suffix}")
    assert not is_pickle("pickle.json")
    assert not is_pickle("bin/readme.md")
