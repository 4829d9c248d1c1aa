"""The documents show the committed results."""

from pathlib import Path

import pytest

from benchmarks.tables import filled

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "docs/results/main-path.md",
        "docs/results/channels.md",
        "docs/results/factorisation-kit.md",
    ],
)
def test_the_tables_are_those_of_the_committed_results(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    text = (ROOT / name).read_text()
    assert "| **eckart**" in text
    assert filled(text) == text
