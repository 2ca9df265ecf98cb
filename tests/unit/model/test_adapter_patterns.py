import time
import tracemalloc

import pytest

from plait.errors import InvalidInput
from plait.model.module_pattern import LONGEST_MODULE, LONGEST_PATTERN, matches_module

MODULE = "model.layers.10.self_attn.q_proj"


@pytest.mark.parametrize(
    "pattern",
    [
        "q_proj",
        "self_attn.q_proj",
        MODULE,
        ".*",
        ".*q_proj",
        r"layers\.\d+\..*",
        r"layers\.[0-9]{1,2}\.self_attn\.(?:q|v)_proj",
        r"^model\.layers.*$",
        "(q|k)_proj",
        "q_proj|k_proj",
        r"(model\.)?layers.+",
        r"layers\.10?\.self.*?",
        r"[^\d]+_proj",
        r"\w{6}",
        r"\w{2,}",
        "q_proj(|x)",
    ],
)
def test_a_pattern_matches_the_module(pattern: str) -> None:
    assert matches_module(pattern, MODULE)


@pytest.mark.parametrize(
    "pattern",
    [
        "proj",
        "attn.q_proj",
        "layers",
        r"layers\.1\..*",
        "^layers.*",
        "q_proj.",
        "",
        r"\w{7}",
        "q$x",
    ],
)
def test_a_pattern_does_not_match_the_module(pattern: str) -> None:
    assert not matches_module(pattern, MODULE)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a|a)*(b*)*",
        "(.*)+x",
        "(a{1,9}){1,9}",
        "a**",
        "a*+",
        "*a",
        "a(",
        "a)",
        "a)|(b",
        "(?=a)a",
        "(?i)a",
        r"(a)\1",
        r"\bq",
        "a\\",
        "[a",
        "[]",
        "[z-a]",
        "[[a]]",
        "[a--b]",
        "a{",
        "a{,3}",
        "a{3,2}",
        "a{12345}",
        "a{500}",
        "(" * 20 + "a" + ")" * 20,
        "a|" * LONGEST_PATTERN,
        "a" * 2_000,
    ],
)
def test_a_pattern_of_another_form_is_refused_with_advice(pattern: str) -> None:
    with pytest.raises(InvalidInput, match="write it as a module's name") as caught:
        matches_module(pattern, MODULE)
    assert caught.value.kind == "invalid-adapter-config"


def test_a_name_beyond_all_modules_is_refused() -> None:
    with pytest.raises(InvalidInput):
        matches_module("a", "a" * (LONGEST_MODULE + 1))


@pytest.mark.parametrize(
    "pattern",
    [
        "(a|a)" * 50 + "b",
        "a?" * 100 + "a" * 50 + "b",
        ".*" * 100 + "b",
        "(a|a|a)*b",
        "(a|.|[a-z])+b",
        "(aa?){100}b",
        "." * 900 + "b",
    ],
)
def test_a_hostile_pattern_is_answered_at_once(pattern: str) -> None:
    start = time.perf_counter()
    assert not matches_module(pattern, "a" * 500 + ".a" * 250)
    assert time.perf_counter() - start < 5  # seconds; a backtracking matcher needs years


def test_what_is_remembered_of_hostile_patterns_is_little() -> None:
    tracemalloc.start()
    try:
        for number in range(1_500):
            matches_module(f"(?:{number:05d}{'ab' * 110})", "")
            matches_module(f"{number:05d}{'ab' * 500}", "")
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 20_000_000  # bytes; a compiled expression for each letter takes 700 MB
