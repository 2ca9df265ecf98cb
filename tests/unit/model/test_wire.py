import dataclasses
import json
import typing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait import wire, wire_accounts, wire_events, wire_jobs
from plait.errors import Unavailable
from reference.strategies import json_values, text

CLASSES: list[type[Any]] = [
    value
    for module in (wire, wire_accounts, wire_events, wire_jobs)
    for value in vars(module).values()
    if isinstance(value, type) and dataclasses.is_dataclass(value)
]

few = settings(max_examples=8, deadline=None)  # of each of some forty classes
documents = st.dictionaries(text, json_values, max_size=3)


def from_class(cls: type[Any]) -> st.SearchStrategy[Any]:
    """Instances of a wire class, with any JSON where it has `dict[str, Any]`."""
    hints = typing.get_type_hints(cls)
    return st.builds(cls, **{name: from_hint(hint) for name, hint in hints.items()})


def from_hint(hint: Any) -> st.SearchStrategy[Any]:
    if hint == dict[str, Any]:
        return documents
    if typing.get_origin(hint) is list:
        return st.lists(from_hint(typing.get_args(hint)[0]), max_size=2)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_class(hint)
    if type(None) in typing.get_args(hint):
        (inner,) = (one for one in typing.get_args(hint) if one is not type(None))
        return st.none() | from_hint(inner)
    return st.from_type(hint)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_class_comes_back_from_its_json(cls: type[Any]) -> None:
    @few
    @given(value=from_class(cls))
    def check(value: Any) -> None:
        assert wire.decode(cls, json.loads(json.dumps(wire.encode(value)))) == value

    check()


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_fields_of_a_newer_registry_are_ignored(cls: type[Any]) -> None:
    @few
    @given(value=from_class(cls))
    def check(value: Any) -> None:
        document = {**wire.encode(value), "from the future": {"x": [1]}}
        assert wire.decode(cls, document) == value

    check()


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_answer_of_another_shape_makes_the_registry_unavailable(cls: type[Any]) -> None:
    answers: list[Any] = [None, 1, True, "x", "namespace name kind", [], [["name", "x"]]]
    if any(
        item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        for item in dataclasses.fields(cls)
    ):
        answers.append({})
    for value in answers:
        with pytest.raises(Unavailable) as caught:
            wire.decode(cls, value)
        assert caught.value.kind == "registry-misbehaved"


@given(value=json_values | documents)
def test_any_json_at_all_is_decoded_or_refused(value: Any) -> None:
    for cls in CLASSES:
        try:
            wire.decode(cls, value)
        except Unavailable:
            continue


WRONG = [None, 1, 1.5, "x", True, [], {}, [1], [None], [[1]], [[1, 2, 3]], {"a": 1}]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_field_of_a_wrong_type_makes_the_registry_unavailable(cls: type[Any]) -> None:
    @few
    @given(value=from_class(cls))
    def check(value: Any) -> None:
        document = wire.encode(value)
        for name in document:
            for wrong in WRONG:
                try:
                    again = wire.decode(cls, {**document, name: wrong})
                except Unavailable:
                    continue
                # What was taken must be what was sent, to the type.
                assert json.dumps(wire.encode(again)[name]) == json.dumps(wrong) or (
                    dataclasses.is_dataclass(getattr(again, name))
                )

    check()


def test_field_with_a_default_may_be_absent() -> None:
    assert wire.decode(wire.RefMove, {"expected": "a", "new": "b"}).force is False
    note = wire.decode(wire.PushNote, {"commit": "a", "kind": "b", "body": {}})
    assert note == wire.PushNote("a", "b", {})
    with pytest.raises(Unavailable, match="is not a RefMove"):
        wire.decode(wire.RefMove, {"expected": "a"})


def test_boolean_is_no_number() -> None:
    with pytest.raises(Unavailable):
        wire.decode(wire.Extent, {"object": True, "offset": 0, "size": 0})


def test_range_must_be_a_pair() -> None:
    for ranges in ([[0]], [[0, 1, 2]], [0, 1], ["ab"], [{"0": 1}]):
        with pytest.raises(Unavailable):
            wire.decode(wire.FilePlan, {"sha256": "x", "size": 1, "ranges": ranges})


def test_every_field_describes_itself_for_openapi() -> None:
    for cls in CLASSES:
        for item in dataclasses.fields(cls):
            assert item.metadata["description"].endswith((".", ")"))
