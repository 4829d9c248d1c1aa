"""Factored and merged networks go where dense ones go."""

import copy
import inspect
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from eckart import Budget, allocate, apply, curves, merge
from eckart.layers.carrying import Carrying
from eckart.methods import DEFAULT_METHODS
from tolerances import tolerance


@pytest.fixture(scope="module", params=["factored", "pivoted", "merged"])
def network(request: pytest.FixtureRequest, digits) -> nn.Module:
    methods = ("pivoted_svd",) if request.param == "pivoted" else DEFAULT_METHODS
    options = curves(digits.model, digits.moments, methods=methods)
    plan = allocate(options, Budget(params=0.4))
    smaller = apply(digits.model, plan, digits.moments).eval()
    return merge(smaller) if request.param == "merged" else smaller


def test_torch_export(digits, network: nn.Module):
    x = digits.test[0][0]
    program = torch.export.export(network, (x[:2],), dynamic_shapes=({0: torch.export.Dim("n")},))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), network(x), **tolerance(torch.float32))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_onnx(digits, network: nn.Module, tmp_path: Path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    x, path = digits.test[0][0], tmp_path / "network.onnx"
    torch.onnx.export(network, (x,), path, dynamo=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(output), network(x), **tolerance(torch.float32))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    "taken",
    [
        torch.jit.script,
        lambda network: torch.jit.trace(network, torch.randn(3, 1, 8, 8)),
        copy.deepcopy,
        lambda network: pickle.loads(pickle.dumps(network)),
        nn.DataParallel,
    ],
    ids=["script", "trace", "deepcopy", "pickle", "DataParallel"],
)
def test_the_records_a_network_carries_do_not_stand_in_the_way(digits, network, taken, monkeypatch):
    plain = inspect.unwrap(Carrying.forward)  # the type checks of the tests cannot be compiled
    monkeypatch.setattr(Carrying, "forward", plain)
    x = digits.test[0][0]
    with torch.no_grad():
        torch.testing.assert_close(taken(network)(x), network(x), **tolerance(torch.float32))
