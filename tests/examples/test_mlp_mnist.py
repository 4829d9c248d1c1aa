"""The study of the MLP runs, counts what it should, and keeps the text around its table."""

import json
from pathlib import Path

import numpy as np
import pytest

from examples.mlp_mnist import END, START, main

datasets = pytest.importorskip("datasets")
pytest.importorskip("matplotlib")


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Noise that looks like MNIST, as parquet."""
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)}
    )
    draw = np.random.default_rng(0)
    for split, count in (("train", 400), ("test", 100)):
        pixels = draw.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        rows = {"image": list(pixels), "label": draw.integers(0, 10, count).tolist()}
        file = tmp_path / "data" / "data" / f"{split}-00000-of-00001.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(rows, features).to_parquet(file)
    return str(tmp_path / "data")


def test_a_quick_run(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    page = tmp_path / "mlp-mnist.md"
    page.write_text(f"before {START} old {END} after\n")
    main(["--data", data, "--quick", "--output", str(tmp_path)])
    text = page.read_text()
    assert text.startswith("before ")
    assert text.endswith(" after\n")
    assert "old" not in text
    assert (tmp_path / "mlp-mnist.png").stat().st_size > 1000
    report = json.loads((tmp_path / "mlp-mnist.json").read_text())
    assert [at["iteration"] for at in report["history"]] == [20, 40, 20, 40]
    rows = {(row["kind"], row["rank"], row["run"]): row for row in report["rows"]}
    dense = rows["dense", None, 1]
    tenth = rows["SVD, trained", 5, 2]
    assert dense["hidden"] - 100 == 10 * (tenth["hidden"] - 100)
    assert dense["macs"] - tenth["macs"] == dense["params"] - tenth["params"] == 9_000
    course = next(row for row in report["rows"] if "course" in row["kind"])
    assert course["params"] == dense["params"]
    assert course["macs"] == dense["macs"] + 100 * 50 * 100
    assert text.count("\n| ") == 1 + len(report["rows"]) / 2
