import struct
import time
from typing import Any

import pytest

from plait.errors import InvalidInput
from plait.model import canonical


def double(bits: str) -> float:
    value: float = struct.unpack(">d", bytes.fromhex(bits))[0]
    return value


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


# RFC 8785, appendix B.
@pytest.mark.parametrize(
    ("bits", "text"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("ffefffffffffffff", "-1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555554", "333333333.33333325"),
        ("41b3de4355555555", "333333333.3333333"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_number_is_written_as_in_the_rfc(bits: str, text: str) -> None:
    assert canonical.dumps(double(bits)) == text.encode()


def test_number_written_canonically_is_read_and_written_again_the_same() -> None:
    for text in (b"9007199254740992", b"295147905179352830000", b"1e+21", b"-0.000001"):
        assert canonical.dumps(canonical.loads(text)) == text


def test_document_of_the_rfc_is_written_as_in_the_rfc() -> None:
    # RFC 8785, section 3.2.2 and 3.2.4.
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    assert canonical.dumps(value).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_keys_are_sorted_by_utf16_as_in_the_rfc() -> None:
    # RFC 8785, section 3.2.3: U+1F600 is D83D DE00 in UTF-16 and comes before U+FB33.
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    text = canonical.dumps(dict.fromkeys(keys, 0)).decode()
    assert list(canonical.loads(text)) == [
        "\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"
    ]  # fmt: skip


def test_only_what_must_be_escaped_is_escaped() -> None:
    assert canonical.dumps('\b\t\n\f\r\x00\x1f\x7f\u2028é/\\"') == (
        '"\\b\\t\\n\\f\\r\\u0000\\u001f\x7f\u2028é/\\\\\\""'.encode()
    )


def test_tuple_is_written_as_a_list_and_an_empty_value_as_it_is() -> None:
    assert canonical.dumps(({}, [], (), "")) == b'[{},[],[],""]'


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        [float("-inf")],
        2**53,
        [-(2**53)],
        10**400,
        "\ud800",
        {"\udfff": 1},
        {1: 2},
        {None: 2},
        {"a": 1, 2: 3},
        b"bytes",
        {"a": {1, 2}},
        1j,
    ],
)
def test_what_canonical_json_cannot_express_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        canonical.dumps(value)
    assert caught.value.kind == "invalid-json"


def test_depth_of_what_is_written_is_bounded_whatever_the_stack() -> None:
    canonical.dumps(nested(canonical.DEEPEST_WRITTEN))
    for depth in (canonical.DEEPEST_WRITTEN + 1, 100_000):
        with pytest.raises(InvalidInput, match="nested over 64 levels"):
            canonical.dumps(nested(depth))
        with pytest.raises(InvalidInput, match="nested over 64 levels"):
            canonical.dumps([1.5, nested(depth)])


def test_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value += [value, value]
    with pytest.raises(InvalidInput, match="nested over 64 levels"):
        canonical.dumps(value)


def test_depth_of_what_is_read_is_bounded_whatever_the_stack() -> None:
    deepest = canonical.DEEPEST_READ
    assert canonical.loads("[" * deepest + "]" * deepest) is not None
    for depth in (deepest + 2, 500, 100_000):
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            with pytest.raises(InvalidInput, match="nested too deeply"):
                canonical.loads(opening * depth + "0" + closing * depth)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b"{'a':1}",
        b"nul",
        b"01",
        b"+1",
        b"1 2",
        b"[NaN]",
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b"-1e999",
        b"[-0]",
        b"9" * 5_000,
        b'"\x01"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf{}",
        b'"\\ud800"',
        b'{"\\udc00":1}',
        b'["\\ud800\\u0041"]',
        '"\ud800"',
        b"\x00",
        "{}".encode("utf-16"),
        b'{"a":1,"a":1}',
        b'[{"b":{"a":1,"\\u0061":2}}]',
    ],
)
def test_json_that_parsers_disagree_about_is_refused(data: bytes | str) -> None:
    with pytest.raises(InvalidInput) as caught:
        canonical.loads(data)
    assert caught.value.kind == "invalid-json"
    caught.value.message.encode()


def test_duplicate_key_is_named() -> None:
    with pytest.raises(InvalidInput, match="the key 'b' appears twice"):
        canonical.loads(b'{"a":1,"b":2,"c":3,"b":4}')


def test_duplicate_at_the_end_of_many_keys_is_found_in_linear_time() -> None:
    keys = [*(f'"{number}":0' for number in range(200_000)), '"199999":0']
    started = time.perf_counter()
    with pytest.raises(InvalidInput, match="appears twice"):
        canonical.loads("{" + ",".join(keys) + "}")
    assert time.perf_counter() - started < 20  # by counting each key it would be an hour


def test_escaped_surrogate_pair_is_one_character() -> None:
    assert canonical.loads(b'"\\ud83d\\ude00"') == "\U0001f600"


def test_integer_beyond_a_double_is_read_but_not_written() -> None:
    assert canonical.loads(b"18446744073709551615") == 2**64 - 1
    assert canonical.loads(str(10**21)) == 10**21
    assert canonical.loads(b"9007199254740991") == 2**53 - 1
    with pytest.raises(InvalidInput):
        canonical.dumps(canonical.loads(b"9007199254740993"))
