import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath, PureWindowsPath

from hypothesis import given
from hypothesis import strategies as st

from plait.errors import InvalidInput
from plait.model.paths import FilePath, parse_path, verify_paths_apart

pieces = st.sampled_from(
    ["..", ".", "/", "//", "\\", "C:", "~", ".plait", ".GIT", "a", "B", " ", "\x00", "é", "e\u0301"]
)
hostile = st.lists(pieces | st.text(max_size=3), max_size=6).map("".join) | st.text(max_size=300)
small_paths = st.lists(st.sampled_from(["a", "A", "b", "ß", "SS"]), min_size=1, max_size=4).map(
    "/".join
)


@given(text=hostile)
def test_accepted_path_stays_inside_its_folder_on_every_system(text: str) -> None:
    try:
        path = parse_path(text)
    except InvalidInput as error:
        error.message.encode()
        return
    assert path == text == unicodedata.normalize("NFC", text)
    assert text.encode().decode() == text
    for pure in (PurePosixPath(text), PureWindowsPath(text)):
        assert not pure.is_absolute()
        assert not pure.anchor
        assert ".." not in pure.parts
        assert "/".join(pure.parts) == text
    for part in text.split("/"):
        assert part.strip(". ")
        assert part.rstrip(". ").lower() not in {".plait", ".git"}
        assert len(part.encode()) <= 255
        assert not PureWindowsPath(part).drive


def collide(paths: Sequence[str]) -> bool:
    """Tell by comparing every pair."""
    folded = [path.casefold() for path in paths]
    return any(
        folded[i] == folded[k] or folded[k].startswith(folded[i] + "/")
        for i in range(len(folded))
        for k in range(len(folded))
        if i != k
    )


@given(paths=st.lists(small_paths, max_size=6))
def test_collisions_are_those_of_the_definition(paths: list[str]) -> None:
    try:
        verify_paths_apart(map(FilePath, paths))
    except InvalidInput:
        assert collide(paths)
    else:
        assert not collide(paths)
