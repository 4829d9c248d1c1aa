"""Every command, called in this process on a small network and a folder of images."""

import json
import re
import shlex

import pytest
import torch

from eckart import CalibrationInterrupted, Frontier, Moments, Plan, load
from eckart.cli.sources.models import load_model
from eckart.errors import FrontierInterrupted, InputError, WriteError
from eckart.layers import FewBits
from eckart.records.timings import Timings
from eckart.runtimes import RUNTIMES
from known_runtime import KnownRuntime


@pytest.fixture
def network(factory, weights):
    return [factory, "--weights", weights]


@pytest.fixture
def data(folder):
    return ["--data", folder, "--batch-size", 6, "--examples", 24]


def document(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_help_lists_the_commands(run):
    for words in ((), ("--help",), ("-h",)):
        result = run(*words)
        assert result.exit_code == 0
        for name in ("inspect", "calibrate", "frontier", "compress", "evaluate", "demo"):
            assert name in result.stdout


def test_inspect(run, network):
    found = document(run("inspect", *network, "--input-size", "3,8,8", "--json"))
    assert [layer["name"] for layer in found["layers"]] == ["0", "3", "7"]
    assert found["layers"][1]["shape"] == [16, 8, 3, 3]
    assert found["layers"][1]["macs"] == 64 * 16 * 8 * 9
    assert found["layers"][1]["moment_bytes"] == 8 * (72 * 73 + 16 * 16)
    assert [layer["examples"] for layer in found["layers"]] == [1, 2, 64]
    assert found["moment_bytes"] == sum(layer["moment_bytes"] for layer in found["layers"])
    assert found["params"] == sum(p.numel() for p in load_model(network[0]).parameters())
    assert document(run("inspect", *network, "--json"))["macs"] is None


def test_inspect_says_how_many_examples_calibration_needs(run, tmp_path):
    (tmp_path / "wide.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(800, 4))\n"
    )
    words = ["inspect", f"{tmp_path / 'wide.py'}:make", "--input-size", "8,100"]
    assert "Calibrate on 800 examples or more, or 1 sees" in " ".join(run(*words).stdout.split())


def test_inspect_says_what_is_left_out(run, tmp_path):
    path = tmp_path / "odd.py"
    path.write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.used, self.idle = nn.Linear(3, 3), nn.Linear(3, 3)\n"
        "        self.words = nn.EmbeddingBag(5, 3, mode='max')\n"
        "    def forward(self, x):\n"
        "        return self.used(x)\n"
    )
    shown = run("inspect", f"{path}:Net", "--input-size", "3").stdout
    assert "not called for this input" in shown
    assert "no layer type is registered for torch.nn.EmbeddingBag" in shown
    assert "38.5%" in shown
    found = document(run("inspect", f"{path}:Net", "--input-size", "3", "--json"))
    assert set(found["skipped"]) == {"idle", "words"}
    assert found["skipped_params"] == {"idle": 12, "words": 15}


def test_calibrate(run, network, data, tmp_path):
    out = tmp_path / "m.safetensors"
    found = document(run("calibrate", *network, *data, "--out", out, "--json"))
    moments = Moments.load(out)
    assert (found["examples"], found["batches"], found["layers"]) == (24, 4, 3)
    assert moments.examples == 24
    assert found["bytes"] == moments.nbytes
    assert set(moments.output_grams) == {"0", "3", "7"}
    found = document(run("calibrate", *network, *data, "--out", out, "--json", "--metric", "none"))
    assert found["metric"] is None
    assert not Moments.load(out).output_grams


def test_calibrate_goes_on_where_it_was_interrupted(run, network, data, tmp_path, monkeypatch):
    import eckart.stages.calibrate as module

    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    run("calibrate", *network, *data, "--out", whole)
    calibrate = module.calibrate

    def interrupted(model, batches, **settings):
        moments = calibrate(model, list(batches)[:1], **settings)
        raise CalibrationInterrupted("stop", moments) from KeyboardInterrupt()

    monkeypatch.setattr(module, "calibrate", interrupted)
    for done in (1, 2):
        result = run("calibrate", *network, *data, "--out", parts, "--resume")
        assert result.exit_code == 130
        assert f"{done} of 4 batches are in {parts}; go on with --resume" in result.stderr
    monkeypatch.setattr(module, "calibrate", calibrate)
    for _ in range(2):  # the second finds nothing left to do
        result = run("calibrate", *network, *data, "--out", parts, "--resume")
        assert result.exit_code == 0, result.output
        one, other = Moments.load(whole), Moments.load(parts)
        assert (one.examples, one.batches) == (other.examples, other.batches)
        for name in one.specs:
            torch.testing.assert_close(one.a(name), other.a(name))
            torch.testing.assert_close(one.g(name), other.g(name))
    result = run("calibrate", *network, *data, "--out", parts, "--resume", "--batch-size", 5)
    assert result.exit_code == 1
    assert "does not fit 24 examples in batches of 5" in result.stderr


def test_compress_saves_what_it_measured(run, network, data, tmp_path):
    out = tmp_path / "half"
    words = ["--keep", 0.5, "--out", out, "--no-latency"]
    found = document(run("compress", *network, *data, *words, "--json"))
    assert found["after"]["params"] <= 0.5 * found["before"]["params"]
    assert found["before"]["score"]["n"] == 16
    assert Plan.from_json(found["plan"]).costs["params"] == found["after"]["params"]
    model = load(load_model(network[0]), out)
    assert sum(p.numel() for p in model.parameters()) == found["after"]["params"]
    again = document(
        run("evaluate", network[0], *data[:4], "--compressed", out, "--no-latency", "--json")
    )
    assert again["score"] == found["after"]["score"]
    assert again["macs"] == found["after"]["macs"]


def test_codes_are_judged_as_weights_that_are_made_once(run, network, data, tmp_path, monkeypatch):
    out = tmp_path / "few"
    words = ["--bytes", 0.3, "--out", out, "--no-latency", "--json"]
    found = document(run("compress", *network, *data, *words))
    batches, forward = [], FewBits.forward

    def counted(self, x):
        batches.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(FewBits, "forward", counted)
    words = ["--compressed", out, "--no-latency", "--json"]
    again = document(run("evaluate", network[0], *data[:4], *words))
    assert again["score"] == found["after"]["score"]
    assert again["bytes"] == found["after"]["bytes"] < 0.3 * found["before"]["bytes"]
    assert set(batches) == {1}  # the example whose multiply-adds are counted


def test_compress_to_milliseconds(run, network, data, tmp_path, monkeypatch):
    known = KnownRuntime(name="openvino")  # in the place of the real one: its clock is exact
    monkeypatch.setitem(RUNTIMES, "openvino", known.runtime)
    path, words = tmp_path / "timings.json", ["--runtime", "openvino", "--batch", 4]
    given = [*network, *data, *words, "--timings", path]
    found = document(run("compress", *given, "--ms", 0.8, "--json"))
    assert found["plan"]["budget"]["ms"] == 0.8
    assert found["after"]["latency_ms"] <= 0.8 * found["before"]["latency_ms"]
    assert (found["after"]["batch"], found["after"]["runtime"]) == (4, "openvino")
    assert Timings.load(path).terms.batch == 4
    again = run("compress", *network, *data, "--ms", 0.8, "--batch", 8, "--timings", path)
    assert again.exit_code == 1
    assert "batch 4 instead of 8" in again.stderr
    assert run("compress", *network, *data, "--ms", 0.5, "--runtime", "fast").exit_code == 2


def test_compress_for_people(run, network, data):
    result = run("compress", *network, *data, "--keep", 0.6)
    assert result.exit_code == 0, result.output
    for text in ("parameters", "latency ms", "narrowed", "layers factored", "moments shrunk by"):
        assert text in result.stdout


def test_compress_from_moments_needs_no_data(run, network, data, tmp_path):
    moments = tmp_path / "m.safetensors"
    run("calibrate", *network, *data, "--out", moments)
    budget = ["--budget", "params=0.6,macs=0.7", "--moments", moments, "--no-latency", "--json"]
    found = document(run("compress", *network, *budget))
    assert found["after"]["score"] is None
    assert found["after"]["macs"] <= 0.7 * found["before"]["macs"]
    with_data = document(run("compress", *network, *budget, *data))
    assert with_data["plan"] == found["plan"]
    assert with_data["after"]["score"]["n"] == 16


def test_compress_in_a_workspace_goes_on(run, network, data, tmp_path):
    words = [*network, *data, "--no-latency", "--json", "--workspace", tmp_path / "work"]
    found = document(run("compress", *words, "--keep", 0.6))
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.*")}
    again = document(run("compress", *words, "--keep", 0.6))
    assert again["plan"] == found["plan"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*.*")} == written
    other = run("compress", *words, "--keep", 0.6, "--seed", 1)
    assert "was begun with" in other.stderr
    both = run("compress", *words, "--keep", 0.6, "--moments", tmp_path / "work")
    assert "give one of the two" in both.stderr
    kept = [*words[:-2], "--moments", tmp_path / "work"]
    assert document(run("compress", *kept, "--keep", 0.6))["plan"] == found["plan"]


@pytest.mark.parametrize("of", ["sites", "reached"])
def test_compress_options_reach_the_plan(run, network, data, of):
    words = ["--keep", 0.8, "--of", of, "--dense", "0,7", "--methods", "weighted_svd"]
    more = ["--multiple", 2, "--damping", 0.03, "--rescale", "--no-latency", "--json"]
    found = document(run("compress", *network, *data, *words, *more))
    plan = Plan.from_json(found["plan"])
    assert plan.damping == 0.03
    assert set(plan.choices) == {"3"}
    assert plan.choices["3"].method == "weighted_svd"
    assert plan.choices["3"].form.rank % 2 == 0
    assert plan.budget.of == of
    assert {"0", "7"} <= set(plan.dense)


@pytest.mark.filterwarnings(
    "ignore::eckart.errors.NotMonotoneWarning"
)  # few images, random weights
def test_compress_to_a_tolerance(run, network, data):
    words = ["--tolerance", 0.1, "--select-examples", 8, "--no-latency", "--json"]
    found = document(run("compress", *network, *data, *words))
    assert found["evaluations"] == found["search"]["evaluations"] > 0
    assert found["search"]["dense_params"] == found["plan"]["totals"]["params"]
    assert found["before"]["score"]["n"] == 16
    strict = ["--tolerance", 0, "--select-split", "test", "--select-examples", 6]
    found = document(run("compress", *network, *data, *strict, "--no-latency", "--json"))
    assert found["before"]["score"]["n"] == 10  # what the choice has left
    sure = ["--tolerance", 0.9, "--confidence", 0.5, "--select-examples", 8]
    found = document(run("compress", *network, *data, *sure, "--no-latency", "--json"))["search"]
    assert (found["confidence"], found["unit"]) == (0.5, "example")
    assert 0 < found["examples"] <= 8 * found["evaluations"]
    assert found["bound"] < 0.9


def test_frontier(run, network, data, tmp_path):
    out, page = tmp_path / "f.json", tmp_path / "f.html"
    words = ["--keeps", "0.8,0.5", "--out", out, "--report", page, "--eval-examples", 12]
    found = document(run("frontier", *network, *data, *words, "--json"))
    assert {(p["keep"], p["label"]) for p in found["points"]} >= {(0.8, "eckart"), (0.5, "eckart")}
    assert {"out", "report"} <= set(found)
    assert Frontier.load(out).dense.score.n == 12
    text = page.read_text()
    assert network[0] in text
    assert "--eval-examples 12" in text
    found = json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.S)[1])
    (point,) = (p for p in found["points"] if (p["label"], p["keep"]) == ("eckart", 0.5))
    _, *again = shlex.split(point["command"])
    smaller = document(run(*again[:-2], "--out", tmp_path / "smaller", "--no-latency", "--json"))
    assert again[-2:] == ["--out", "smaller-0.5"]
    assert smaller["after"]["params"] == point["params"]
    assert smaller["after"]["score"]["value"] == point["score"]
    result = run("frontier", *network, *data, *words, "--no-baselines")
    assert "uniform" not in result.stdout
    assert "eckart" in result.stdout
    assert re.search(r"predicted loss at most \(low rank alone.*\): 0\.8: \d", result.stderr)


def test_frontier_shows_its_points_even_if_the_page_cannot_be_written(
    run, network, data, tmp_path, monkeypatch
):
    def full(*_: object, **__: object) -> None:
        raise WriteError("the disk is full")

    monkeypatch.setattr("eckart.report.write_report", full)
    words = [*network, *data, "--keeps", "0.8", "--no-baselines", "--report", tmp_path / "page"]
    result = run("frontier", *words, "--json")
    assert result.exit_code == 1
    assert "error: the disk is full" in result.stderr
    found = json.loads(result.stdout)
    assert [point["keep"] for point in found["points"]] == [0.8]
    assert "report" not in found


def test_compress_says_where_the_network_is_if_it_cannot_be_measured(
    run, network, data, tmp_path, monkeypatch
):
    def failing(*_: object, **__: object) -> None:
        raise InputError("no such image")

    monkeypatch.setattr("eckart.measure", failing)
    result = run("compress", *network, *data, "--keep", "0.8", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert f"the smaller network is saved in {tmp_path / 'out'}" in result.stderr
    assert (tmp_path / "out" / "eckart.json").exists()


def test_frontier_says_how_to_go_on(run, network, data, tmp_path, monkeypatch):
    import eckart.pipeline as module

    def interrupted(*args, **kwargs):
        raise FrontierInterrupted("stopped", None) from KeyboardInterrupt()

    monkeypatch.setattr(module, "frontier", interrupted)
    out = tmp_path / "f.json"
    result = run("frontier", *network, *data, "--out", out)
    assert result.exit_code == 130
    assert f"the points so far are in {out}; run the same to go on" in result.stderr
    assert "give --out" in run("frontier", *network, *data).stderr


def test_evaluate(run, network, data):
    result = run("evaluate", *network, *data[:4])
    assert result.exit_code == 0, result.output
    assert "latency ms" in result.stdout
    found = document(run("evaluate", *network, *data[:4], "--json", "--eval-split", "train"))
    assert found["score"]["n"] == 32
    assert found["latency_ms"] > 0


def test_what_a_network_prints_stays_out_of_the_document(run, factory):
    found = run("inspect", factory.replace(":net", ":loud"), "--json")
    document(found)
    assert "a network is made" in found.stderr


def test_calibrate_keeps_what_it_has_when_the_data_fail(run, network, data, folder, tmp_path):
    out = tmp_path / "deep" / "m.safetensors"
    damaged = sorted((folder / "train" / "dark").iterdir())[3]
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:40])
    result = run("calibrate", *network, *data, "--out", out, "--batch-size", 1)
    assert result.exit_code == 1
    assert f"{damaged} cannot be read" in result.stderr
    assert "go on with --resume" in result.stderr
    result = run("compress", *network, *data, "--keep", 0.5, "--batch-size", 1)
    assert result.exit_code == 1
    assert "eckart calibrate keeps what it has" in result.stderr
    damaged.write_bytes(whole)
    result = run("calibrate", *network, *data, "--out", out, "--batch-size", 1, "--resume")
    assert result.exit_code == 0
    assert Moments.load(out).examples == 24


def test_resume_refuses_another_network_and_metric(run, network, data, tmp_path):
    out = tmp_path / "m.safetensors"
    run("calibrate", *network, *data, "--out", out)
    resume = [*data, "--out", out, "--resume"]
    for words, says in (
        ([network[0], *resume], "came from another network"),
        ([*network, *resume, "--metric", "none"], "was made with --metric outputs"),
    ):
        result = run("calibrate", *words)
        assert result.exit_code == 1
        assert says in result.stderr


def test_places_to_write_are_made_or_refused_first(run, network, data, tmp_path):
    (tmp_path / "file").touch()
    for words, says in (
        (["calibrate", *network, *data, "--out", tmp_path], "is a folder; name a file"),
        (["frontier", *network, *data, "--report", tmp_path], "is a folder; name a file"),
        (["compress", *network, *data, "--keep", 0.5, "--out", tmp_path / "file"], "is a file"),
        (["demo", "--output", tmp_path / "file"], "is a file"),
    ):
        result = run(*words)
        assert result.exit_code == 1
        assert says in result.stderr


def test_random_weights_are_pointed_out(run, folder):
    words = ["torchvision:squeezenet1_1", "--data", folder, "--image-size", 32, "--no-latency"]
    assert "the weights are random" in run("evaluate", *words).stderr
    assert "random" not in run("inspect", words[0]).stderr


def test_version(run):
    assert run("--version").stdout.startswith("eckart 0.")


def test_workers_share_the_work_of_a_frontier_and_change_nothing(run, network, data):
    words = ["--keeps", "0.7,0.5", "--no-baselines", "--eval-examples", 8, "--threads", 1, "--json"]
    one, two = (document(run("frontier", *network, *data, *words, "--workers", n)) for n in (1, 2))
    assert len(one["points"]) == 2
    assert one == two


def test_workers_must_be_a_number(run, network, data):
    result = run("compress", *network, *data, "--keep", 0.5, "--workers", "many")
    assert result.exit_code == 2
    assert "--workers" in result.stderr
    assert "'many' is not a number of processes" in result.stderr
