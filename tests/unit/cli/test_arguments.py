"""What is read from the command line into values."""

import argparse

import pytest

from plait.cli.arguments import Parser, ShownHelp, parse_metrics
from plait.cli.context import parse_person
from plait.errors import InvalidInput
from plait.model.commit import Person


def make_parser() -> Parser:
    parser = Parser(
        "try", "try things", usage="plait try [X]\nplait try -v", examples="  plait try"
    )
    parser.add_argument("x", nargs="?", help="x")
    parser.add_argument("--verbose", action="store_true", help="v")
    return parser


def test_wrong_arguments_raise_instead_of_ending_the_process() -> None:
    with pytest.raises(InvalidInput, match="plait try --help") as caught:
        make_parser().parse_args(["--unknown"])
    assert caught.value.kind == "usage"


def test_help_is_printed_and_told_to_the_caller(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ShownHelp):
        make_parser().parse_args(["--help"])
    out = capsys.readouterr().out
    assert out.startswith("usage: plait try [X]\n       plait try -v\n")
    assert "Try things." in out


def test_options_cannot_be_abbreviated() -> None:
    with pytest.raises(InvalidInput):
        make_parser().parse_args(["--verb"])
    assert make_parser().parse_args(["--verbose"]) == argparse.Namespace(x=None, verbose=True)


def test_metrics_become_numbers_and_truths_where_they_are_such() -> None:
    pairs = ["loss=1.5", "step=300", "best=true", "worst=false", "note=a=b", "huge=1e400", "x=nan"]
    assert parse_metrics(pairs) == {
        "loss": 1.5,
        "step": 300,
        "best": True,
        "worst": False,
        "note": "a=b",
        "huge": "1e400",
        "x": "nan",
    }


@pytest.mark.parametrize("pair", ["loss", "=1", "loss=", ""])
def test_malformed_metric_is_wrong_usage(pair: str) -> None:
    with pytest.raises(InvalidInput, match="NAME=VALUE"):
        parse_metrics([pair])


@pytest.mark.parametrize(
    ("text", "person"),
    [
        ("Ada", Person("Ada", "")),
        ("Ada L <ada@example.org>", Person("Ada L", "ada@example.org")),
        ("  Ada  < ada@example.org > ", Person("Ada", "ada@example.org")),
    ],
)
def test_author_is_a_name_with_or_without_an_address(text: str, person: Person) -> None:
    assert parse_person(text) == person


@pytest.mark.parametrize("text", ["", "<ada@example.org>", "Ada <ada@example.org", "Ada <"])
def test_malformed_author_is_wrong_usage(text: str) -> None:
    with pytest.raises(InvalidInput, match="NAME <EMAIL>"):
        parse_person(text)
