import io

import pytest
import torch

from eckart.running.progress import tracked, with_lines


def test_tokens_per_second_are_told(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    batches = [{"input_ids": torch.zeros(2, 8, dtype=torch.int64)}, ({"input_ids": None}, 3)]
    assert list(tracked(batches, "reading", True)) == batches
    shown = capsys.readouterr().err
    assert "reading" in shown
    assert "tokens/s" in shown
    list(tracked([torch.zeros(3)], "looking", True))
    assert "tokens/s" not in capsys.readouterr().err
    list(tracked(batches, "silent", False))
    assert capsys.readouterr().err == ""


def test_without_a_terminal_there_is_a_line_per_stage_and_per_minute(capsys):
    clock = iter([0.0, 30.0, 59.0, 61.0, 100.0, 130.0, 131.0])
    assert list(with_lines("abcde", "reading", 5, lambda: next(clock))) == list("abcde")
    assert capsys.readouterr().err.splitlines() == [
        "reading: started, 5 to do",
        "reading: 3 of 5 in 1 min 1 s, about 40.7 s left",
        "reading: 5 of 5 in 2 min 10 s, about 0.0 s left",
        "reading: done, 5 in 2 min 11 s",
    ]


def test_lines_without_a_length_have_no_estimate(capsys):
    clock = iter([0.0, 70.0, 71.0])
    list(with_lines("a", "reading", None, lambda: next(clock)))
    assert capsys.readouterr().err.splitlines() == [
        "reading: started",
        "reading: 1 in 1 min 10 s",
        "reading: done, 1 in 1 min 11 s",
    ]


def test_lines_are_shown_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch, capsys):
    for show, lines in ((None, 0), (False, 0), (True, 2)):
        assert list(tracked([1, 2], "adding", show)) == [1, 2]
        assert len(capsys.readouterr().err.splitlines()) == lines
    monkeypatch.setattr("sys.stderr", None)
    for show in (None, True):
        assert list(tracked([1, 2], "adding", show)) == [1, 2]


def test_a_standard_error_that_nobody_reads_stops_no_work(monkeypatch: pytest.MonkeyPatch):
    class Nobody(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Nobody())
    assert list(with_lines([1, 2], "adding", 2)) == [1, 2]
