"""Rows survive an interruption, and are measured again only where that is asked."""

from pathlib import Path

from benchmarks.measuring.results_file import Results


def test_rows_are_there_after_an_interruption(tmp_path: Path):
    path = tmp_path / "rows.json"
    Results(path).add({"method": "cp", "keep": 0.5}, {"method": "svd", "keep": 0.5})
    again = Results(path)
    assert again.has(method="cp", keep=0.5)
    assert not again.has(method="cp", keep=0.3)


def test_what_is_forgotten_stays_in_the_file_until_something_is_added(tmp_path: Path):
    path = tmp_path / "rows.json"
    results = Results(path)
    results.add({"method": "cp", "keep": 0.5}, {"method": "cp", "keep": 0.3}, {"method": "svd"})
    results.forget(method="cp", keep=0.5)
    assert Results(path).has(keep=0.5)
    results.add({"method": "cp", "keep": 0.5, "accuracy": 1.0})
    assert [row["method"] for row in Results(path).rows] == ["cp", "svd", "cp"]
    results.forget()
    assert results.rows == []
