"""The documents show the committed results."""

from pathlib import Path

import pytest

from benchmarks.tables.pages import PAGES, SECTIONS, filled

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", PAGES)
def test_the_tables_are_those_of_the_committed_results(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    text = (ROOT / name).read_text()
    assert any(f"<!-- end {section} -->\n" in text for section in SECTIONS)
    assert filled(text) == text
