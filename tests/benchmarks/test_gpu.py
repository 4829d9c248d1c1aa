"""The script for a GPU, tried on small networks without one."""

import json
from pathlib import Path

import pytest

from benchmarks.gpu import main


def test_rows_of_small_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("transformers")
    output = tmp_path / "gpu.json"
    main(["--tiny", "--device", "cpu", "--output", str(output)])
    rows = json.loads(output.read_text())
    steps = ["calibration", "curves", "rounding", "profile", "point", "done"]
    assert [row["what"] for row in rows] == steps * 2
    assert all(row["seconds"] > 0 for row in rows if row["what"] in steps[:3])
    for row in rows:
        if row["what"] == "profile":
            assert row["dense_ms"] > 0
        elif row["what"] == "point" and "share" in row:
            assert row["share"] <= row["limit"]
            assert row["predicted"]["ms"] < 1
    main(["--tiny", "--device", "cpu", "--output", str(output)])
    assert json.loads(output.read_text()) == rows  # nothing is measured twice


def test_no_row_is_begun_after_the_time(tmp_path: Path):
    output = tmp_path / "gpu.json"
    main(["--tiny", "--device", "cpu", "--output", str(output), "--seconds", "-1"])
    assert not output.exists()
