"""Networks as files that other programs run: equal outputs, any batch size, nothing changed."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eckart import Budget, allocate, apply, calibrate, curves, export
from eckart.errors import InputError, WriteError
from eckart.layers import Factored
from transformer_networks import llama, token_ids

X = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 24, 3, stride=2), nn.BatchNorm2d(24), nn.ReLU(), nn.Flatten()),
        nn.Linear(24 * 9, 10),
    )
    model.train()(torch.randn(64, 3, 8, 8))
    return model.eval()


def smaller(budget: Budget, *methods: str) -> nn.Module:
    model = network()
    moments = calibrate(model, [X])
    plan = allocate(curves(model, moments, methods=methods), budget)
    return apply(model, plan, moments)


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    return {
        "dense": network(),
        "factored": smaller(Budget(params=0.4), "weighted_svd"),
        "narrowed": smaller(Budget(params=0.6), "backward_elimination"),
        "in codes": smaller(Budget(bytes=0.15), "rounding"),
    }


NAMES = ("dense", "factored", "narrowed", "in codes")


def run_onnx(path: Path, *inputs: Tensor) -> Tensor:
    """The first output, by ONNX Runtime with one thread."""
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    numbers: Any = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
    return torch.from_numpy(session.run(None, numbers)[0])


@pytest.mark.parametrize("name", NAMES)
def test_onnx_runtime_gives_the_same(networks: dict[str, nn.Module], name: str, tmp_path: Path):
    pytest.importorskip("onnxscript")
    model = networks[name]
    before = copy.deepcopy(model.state_dict())
    path = export(model, tmp_path / "network.onnx", X[:1])
    with torch.no_grad():
        for x in (X, X[:1]):
            torch.testing.assert_close(run_onnx(path, x), model(x), **CLOSE)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert [p.name for p in tmp_path.iterdir()] == ["network.onnx"]


@pytest.mark.parametrize("name", NAMES)
def test_torch_gives_the_same(networks: dict[str, nn.Module], name: str, tmp_path: Path):
    model = networks[name]
    path = export(model, tmp_path / "network.pt2", X[:1], format="torch")
    program = torch.export.load(path)
    assert not any("batch_norm" in str(node.target) for node in program.graph.nodes)
    with torch.no_grad():
        for x in (X, X[:1]):
            torch.testing.assert_close(program.module()(x), model(x), **CLOSE)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(2, 3)

    def forward(self, a: Tensor, b: Tensor, scale: float = 1.0) -> Tensor:
        return scale * self.first(a) + self.second(b)


def test_inputs_by_name_are_free_together(tmp_path: Path):
    model = TwoInputs().eval()
    example = {"a": torch.randn(1, 4), "b": torch.randn(1, 2), "scale": 2.0}
    path = export(model, tmp_path / "network.pt2", example, format="torch")
    more = {"a": torch.randn(5, 4), "b": torch.randn(5, 2), "scale": 2.0}
    torch.testing.assert_close(torch.export.load(path).module()(**more), model(**more))


def test_a_decoder_is_written_without_its_cache(tmp_path: Path):
    model, ids = llama(), token_ids(3, 6)
    path = export(model, tmp_path / "network.pt2", {"input_ids": ids[:1]}, format="torch")
    with torch.no_grad():
        found = torch.export.load(path).module()(input_ids=ids)
        torch.testing.assert_close(found.logits, model(input_ids=ids).logits, **CLOSE)
    assert found.past_key_values is None
    assert model.config.use_cache


def test_the_batch_may_be_fixed(tmp_path: Path):
    path = export(network(), tmp_path / "a.pt2", X[:3], format="torch", dynamic_batch=False)
    program = torch.export.load(path).module()
    assert program(X[:3]).shape == (3, 10)
    with pytest.raises(AssertionError, match="3"):
        program(X[:2])


def test_factors_that_save_nothing_are_multiplied_out(tmp_path: Path):
    model = network()
    model[7] = Factored(nn.Linear(216, 100, bias=False), nn.Linear(100, 10))
    path = export(model, tmp_path / "network.pt2", X[:2], format="torch")
    program = torch.export.load(path)
    assert {tuple(t.shape) for t in program.state_dict.values()} >= {(10, 216)}
    assert not any(tuple(t.shape) == (100, 216) for t in program.state_dict.values())
    torch.testing.assert_close(program.module()(X), model(X), **CLOSE)


class Branching(nn.Module):
    """It cannot be traced, because its path depends on numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.sum() > 0 else x


def test_what_cannot_be_traced_is_said(tmp_path: Path):
    with pytest.raises(InputError, match=r"(?s)cannot be exported to .torch.*dynamic_batch=False"):
        export(Branching(), tmp_path / "network.pt2", torch.ones(2, 4), format="torch")
    assert not list(tmp_path.iterdir())


def test_bad_arguments(tmp_path: Path):
    with pytest.raises(InputError, match="unknown format 'tflite'; known: onnx, torch"):
        export(network(), tmp_path / "network", X, format="tflite")
    with pytest.raises(WriteError, match="not a folder"):
        export(network(), tmp_path / "missing" / "network.onnx", X)
    with pytest.raises(InputError, match="no example"):
        export(network(), tmp_path / "network.onnx", X[:0])


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx_ir", None)
    with pytest.raises(InputError, match=r"pip install 'eckart\[onnx\]'"):
        export(network(), tmp_path / "network.onnx", X)
