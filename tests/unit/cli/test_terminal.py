import io

import pytest

from plait.cli.arguments import parse_metrics
from plait.cli.context import parse_person
from plait.cli.progress_bar import ProgressBar, format_progress
from plait.cli.terminal import Terminal, format_size, format_table, plural, printable
from plait.errors import InvalidInput
from plait.model.commit import Person


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_that_want_it() -> None:
    for stream, environ, has_colour in (
        (Screen(), {}, True),
        (Screen(), {"NO_COLOR": ""}, True),
        (Screen(), {"NO_COLOR": "1"}, False),
        (Screen(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ):
        terminal = Terminal(stream, io.StringIO(), environ=environ)
        assert (terminal.style("x", "red") != "x") is has_colour


def test_facts_and_remarks_go_to_different_streams() -> None:
    out, err = io.StringIO(), io.StringIO()
    terminal = Terminal(out, err, environ={})
    terminal.print("fact")
    terminal.remark("remark")
    terminal.json({"a": 1})
    terminal.table([["x", "y"]])
    assert out.getvalue() == 'fact\n{\n  "a": 1\n}\n  x  y\n'
    assert err.getvalue() == "remark\n"


def test_columns_are_aligned_and_harmless() -> None:
    rows = [["name", "1"], ["long\x1b[0mer", "22", "note"]]
    assert format_table(rows, right=(1,)) == ["  name         1", "  long?[0mer  22  note"]
    assert format_table([]) == []


def test_control_characters_are_shown_as_question_marks() -> None:
    assert printable("a\x1b[2J\r\x9b\u202eb\n\tc é 模") == "a?[2J???b\n\tc é 模"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (84_000_000, "84.0 MB"),
        (999_960, "1.0 MB"),
        (2e12, "2.0 TB"),
        (5e15, "5000.0 TB"),
    ],
)
def test_sizes_are_for_people(size: float, text: str) -> None:
    assert format_size(size) == text


def test_counts_agree_with_their_nouns() -> None:
    assert plural(1, "commit") == "1 commit"
    assert plural(1000, "commit") == "1,000 commits"


def test_bar_is_drawn_on_a_terminal_and_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.05, 1.0, 2.0])
    monkeypatch.setattr("plait.cli.progress_bar.time.monotonic", lambda: next(times))
    screen = Screen()
    bar = ProgressBar(screen)
    bar.total(100_000_000, what="Uploading")
    bar.advance(1)
    assert screen.getvalue() == ""  # too soon after the last drawing
    bar.advance(24_999_999)
    assert "Uploading" in screen.getvalue()
    assert "25.0 of 100.0 MB" in screen.getvalue()
    assert "25.0 MB/s" in screen.getvalue()
    bar.finish()
    assert screen.getvalue().endswith("\r")
    assert bar.moved("Uploading") == 25_000_000


def test_bar_counts_without_a_terminal_and_prints_nothing() -> None:
    err = io.StringIO()
    terminal = Terminal(io.StringIO(), err, environ={})
    terminal.progress.total(10, what="Uploading")
    terminal.progress.advance(12)
    terminal.progress.advance(-2)
    terminal.progress.finish()
    assert terminal.progress.moved("Uploading") == 10
    assert terminal.progress.moved("Downloading") == 0
    assert err.getvalue() == ""


def test_progress_of_nothing_is_complete() -> None:
    assert "100%" in format_progress("Hashing", 0, 0, 0.0)
    assert "30 s left" in format_progress("Hashing", 25, 100, 10.0)


def test_metrics_are_numbers_where_they_look_so() -> None:
    assert parse_metrics(["loss=1.5", "epoch=3", "ok=true", "name=a=b", "x=nan", "y=-inf"]) == {
        "loss": 1.5,
        "epoch": 3,
        "ok": True,
        "name": "a=b",
        "x": "nan",
        "y": "-inf",
    }
    for wrong in ("loss", "=1", "loss="):
        with pytest.raises(InvalidInput, match="NAME=VALUE"):
            parse_metrics([wrong])


def test_author_is_a_name_with_or_without_an_address() -> None:
    assert parse_person("Ada L <ada@x.org>") == Person("Ada L", "ada@x.org")
    assert parse_person(" Ada ") == Person("Ada", "")
    for wrong in ("", "<a@b>", "Ada <a@b"):
        with pytest.raises(InvalidInput):
            parse_person(wrong)
