import json
from functools import partial

import pytest
import torch

import eckart.cli.sources.demo_studies as demo
from eckart import Frontier, accuracy, load
from eckart.cli.sources.demo_networks import load_digits, make_cnn, make_mlp, train

pytest.importorskip("sklearn")


def test_digits_are_split_without_overlap():
    trained, tested = load_digits()
    assert (len(trained.labels), len(tested.labels)) == (1200, 597)
    assert trained.images.min() == 0
    assert trained.images.max() == 1
    together = torch.cat([trained.images, tested.images]).flatten(1)
    assert len(together.unique(dim=0)) == 1797


@pytest.mark.parametrize(("make", "epochs"), [(make_mlp, 8), (make_cnn, 3)])
def test_training_learns_and_repeats(make, epochs):
    trained, tested = load_digits()
    outputs = []
    for _ in range(2):
        torch.manual_seed(0)
        model = train(make(), trained, epochs=epochs)
        outputs.append(model(tested.images))
    assert torch.equal(*outputs)
    assert accuracy(tested.batches())(model).value > 0.5


def test_the_demo(run, tmp_path, monkeypatch):
    quick = tuple(
        demo.Subject(s.name, s.title, partial(s.make, 16), 2, s.report)
        for s in reversed(demo.SUBJECTS)
    )
    monkeypatch.setattr(demo, "SUBJECTS", quick)
    monkeypatch.setattr(demo, "KEEPS", (0.5, 0.3))
    result = run("demo", "--output", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert set(found["frontiers"]) == {"mlp", "cnn"}
    for name in ("report.html", "report-mlp.html"):
        assert (tmp_path / "out" / name).read_text().startswith("<!doctype html>")
    frontier = Frontier.load(tmp_path / "out" / "frontier-cnn.json")
    (half, _) = frontier.labelled("eckart")
    model = load(make_cnn(16), tmp_path / "out" / "cnn-0.5")
    assert sum(p.numel() for p in model.parameters()) == half.measurement.params
