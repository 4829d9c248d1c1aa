import json
from functools import partial

import pytest
import torch

import eckart.cli.sources.demo_photographs as photographs
import eckart.cli.sources.demo_studies as demo
from eckart import Frontier, accuracy, load
from eckart.cli.sources.demo_networks import load_digits, make_cnn, make_mlp, train
from eckart.errors import InputError
from eckart.report.recommended import recommended_point

pytest.importorskip("sklearn")
pytest.importorskip("onnxscript")


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
    best = recommended_point(frontier)
    model = load(make_cnn(16), tmp_path / "out" / "cnn")
    assert sum(p.numel() for p in model.parameters()) == best.measurement.params
    assert f"Recommended: eckart, keep {best.keep:g}." in (tmp_path / "out/report.html").read_text()
    assert (tmp_path / "out" / "cnn.onnx").stat().st_size > 4 * best.measurement.params


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--network", "vgg"), "known: digits, resnet20"),
        (("--network", "resnet20"), "the folder with its images and weights"),
    ],
)
def test_a_network_that_is_not_there_is_refused(run, words, told):
    result = run("demo", *words)
    assert result.exit_code == 2
    assert told in " ".join(result.output.split())


def test_photographs_and_their_network_belong_together(data_root, monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setattr(photographs, "TESTED", 300)
    calibration, tested = photographs.photographs(data_root)
    assert (calibration.examples, tested.examples) == (1000, 300)
    model = photographs.trained_resnet20(data_root)
    assert accuracy(tested)(model).value > 0.85


def test_a_folder_without_photographs_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no folder 'cifar10'"):
        photographs.photographs(tmp_path)
