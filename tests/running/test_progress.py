import pytest
import torch

from eckart.running.progress import tracked


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
