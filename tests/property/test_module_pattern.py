import re

from hypothesis import given
from hypothesis import strategies as st

from plait.errors import InvalidInput
from plait.model.module_pattern import matches_module

WIDE = ["(?:", r"\.", r"\d", r"\w", "[ab]", "[^a]", "{2}", "{1,}", "{0,2}"]
pieces = st.sampled_from([*"ab1.()|*+?^$", *WIDE])
patterns = st.lists(pieces, max_size=10).map("".join)
modules = st.text("ab1.", max_size=10)


@given(pattern=patterns, module=modules)
def test_a_pattern_that_is_not_refused_matches_as_peft_matches_it(
    pattern: str, module: str
) -> None:
    try:
        found = matches_module(pattern, module)
    except InvalidInput:
        return
    assert found == (re.match(rf"(.*\.)?({pattern})$", module) is not None)


@given(pattern=st.text("ab1.-\u00e9", max_size=6), module=st.text("ab1.-\u00e9\n", max_size=10))
def test_a_plain_name_matches_as_peft_matches_it(pattern: str, module: str) -> None:
    assert matches_module(pattern, module) == (
        re.match(rf"(.*\.)?({pattern})$", module) is not None
    )
