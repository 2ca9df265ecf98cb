"""The progress bar: on a terminal only, while it counts everywhere."""

import io

import pytest

from plait.cli import progress_bar
from plait.cli.progress_bar import BAR, ProgressBar, format_progress
from plait.cli.terminal import Terminal


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def transfer(terminal: Terminal) -> None:
    """Move two thirds of 3 MB."""
    progress = terminal.progress
    progress.total(3_000_000, what="Uploading")
    progress.advance(1_000_000)
    progress.advance(1_000_000)
    progress.finish()


@pytest.fixture(autouse=True)
def drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_bar, "REFRESH", 0.0)


@pytest.mark.parametrize(
    ("err", "environ"), [(io.StringIO(), {}), (Screen(), {"TERM": "dumb"})], ids=["pipe", "dumb"]
)
def test_nothing_is_drawn_where_no_terminal_reads(
    err: io.StringIO, environ: dict[str, str]
) -> None:
    terminal = Terminal(Screen(), err, environ=environ)
    transfer(terminal)
    assert err.getvalue() == ""
    assert terminal.progress.moved("Uploading") == 2_000_000


def test_bar_is_drawn_on_a_terminal_and_cleared_at_the_end() -> None:
    out, err = Screen(), Screen()
    terminal = Terminal(out, err, environ={})
    transfer(terminal)
    lines = err.getvalue().split("\r")
    assert "33%" in lines[1]
    assert "67%" in lines[2]
    assert not lines[-2].strip()
    assert lines[-1] == out.getvalue() == ""


def test_bytes_are_counted_over_phases_of_one_name() -> None:
    bar = ProgressBar(None)
    for _ in range(2):
        bar.total(10, what="Downloading")
        bar.advance(10)
    bar.total(10, what="Reading")
    bar.advance(7)
    bar.finish()
    assert bar.moved("Downloading") == 20
    assert bar.moved("Reading") == 7
    assert bar.moved("Uploading") == 0


def test_line_tells_share_bytes_speed_and_time_left() -> None:
    line = format_progress("Uploading", 42_000_000, 84_000_000, 2.0)
    assert f"[{'#' * (BAR // 2)}{'-' * (BAR // 2)}]" in line
    assert " 50%  42.0 of 84.0 MB  21.0 MB/s  2 s left" in line


def test_line_without_anything_to_move_or_time_spent_is_no_division_by_zero() -> None:
    assert "100%" in format_progress("Uploading", 0, 0, 0.0)
    assert "left" not in format_progress("Uploading", 5, 5, 1.0)
    assert "100%" in format_progress("Uploading", 7, 5, 1.0)
