import json
from typing import Any

import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from plait.errors import InvalidInput
from plait.model import canonical
from reference.strategies import json_values

# Without floats and with few keys: what the fast writer takes, and what lies close to it.
almost_plain: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([2**53 - 1, 2**53, 1 - 2**53, -(2**53), 0, 10**30])
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["\ud800", "\x7f", "\x00", "\u2028", '"\\/', "\b\f\n\r\t"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(
            st.text(max_size=3) | st.sampled_from(["\U0001f600", "\ufb33", "a", "B", "\ud800"]),
            inner,
            max_size=4,
        )
        | st.dictionaries(st.integers() | st.none(), inner, max_size=1)
    ),
    max_leaves=10,
)

any_text = st.text(max_size=30) | st.text('{}[]",:-0123456789.eE \\utrfnls', max_size=30)


@given(value=almost_plain | json_values)
def test_written_bytes_are_those_of_the_library(value: Any) -> None:
    try:
        expected = rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        try:
            written = canonical.dumps(value)
        except InvalidInput:
            return
        raise AssertionError(written) from None
    assert canonical.dumps(value) == expected


@given(value=json_values)
def test_what_was_written_is_read_and_written_again_the_same(value: Any) -> None:
    written = canonical.dumps(value)
    again = canonical.loads(written)
    assert canonical.dumps(again) == written
    assert again == value


@given(value=json_values)
def test_json_of_another_writer_reads_as_the_same_value(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert canonical.loads(text) == canonical.loads(text.encode()) == value


@given(text=any_text, junk=st.binary(max_size=20))
def test_any_text_and_any_bytes_are_read_or_refused(text: str, junk: bytes) -> None:
    for data in (text, text.encode("utf-8", "surrogatepass"), junk):
        try:
            value = canonical.loads(data)
        except InvalidInput as error:
            error.message.encode()
            continue
        # Strictly less than what the standard library takes, and the same where both do.
        assert json.loads(data) == value


@given(value=st.floats())
def test_every_float_is_refused_or_comes_back_exactly(value: float) -> None:
    try:
        written = canonical.dumps([value])
    except InvalidInput:
        assert value != value or value in (float("inf"), float("-inf"))  # noqa: PLR0124 - NaN
        return
    assert float(canonical.loads(written)[0]) == value
