"""Weights in codes are exported as codes, in forms that ONNX Runtime has kernels for."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from eckart import export
from eckart.exporting import ready
from eckart.layers import Factored, piece_of, rebuild
from eckart.linalg.rounding import Grid, Rounded
from eckart.records import Form

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def coded(layer: nn.Module, bits: int, span: int = 0) -> Factored:
    """A layer in random codes."""
    piece = replace(piece_of(layer), bits=bits, span=span)
    grid = Grid((0.05 + 0.1 * torch.rand(piece.scales)).half(), None, bits, span or 10**6)
    codes = torch.randint(0, 2**bits, piece.matrix_shape, dtype=torch.uint8)
    return rebuild(layer, Form((piece,)), [Rounded(codes, grid, 0.0)])


def settled(width: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(width)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return norm


class Kinds(nn.Module):
    """One layer of each kind, each in codes of the same width."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.grouped = coded(nn.Conv2d(4, 6, 3, groups=2, padding=1, bias=False), bits)
        self.first_norm = settled(6)
        self.spans = coded(nn.Conv2d(6, 5, 3), bits, span=18)
        self.turned = coded(nn.ConvTranspose2d(5, 3, 2, stride=2), bits)
        self.second_norm = settled(3)
        self.rows = coded(nn.Linear(12, 40), bits)
        self.blocks = coded(nn.Linear(40, 33), bits, span=16)
        self.odd_spans = coded(nn.Linear(33, 8), bits, span=7)
        self.last = coded(nn.Linear(3 * 12 * 8, 10), bits)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first_norm(self.grouped(x)))
        y = torch.relu(self.second_norm(self.turned(self.spans(y))))
        y = torch.relu(self.odd_spans(self.blocks(torch.relu(self.rows(y)))))
        return self.last(y.flatten(1))


def outputs(path: Path, x: Tensor) -> Tensor:
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


@pytest.mark.parametrize(("bits", "stored"), [(2, 4), (3, 4), (7, 8)])
def test_all_kinds_of_layers_keep_their_codes(bits: int, stored: int, tmp_path: Path):
    model, x = Kinds(bits).eval(), torch.randn(3, 4, 8, 8)
    path = export(model, tmp_path / "network.onnx", x[:1])
    with torch.no_grad():
        expected = model(x)
    assert expected.std() > 0.1
    torch.testing.assert_close(outputs(path, x), expected, rtol=1e-4, atol=1e-4)
    graph = onnx.load(path).graph
    kinds = Counter(node.op_type for node in graph.node)
    assert kinds["DequantizeLinear"] == 4  # three convolutions, and the span of 7
    assert kinds["MatMulNBits"] == 3
    assert kinds["BatchNormalization"] == 0
    sizes = {t.name: t.data_type for t in graph.initializer}
    assert sizes["grouped.codes"] == {4: onnx.TensorProto.INT4, 8: onnx.TensorProto.INT8}[stored]
    assert not any(name.endswith(".weight") for name in sizes)


def test_the_file_is_as_small_as_its_codes(tmp_path: Path):
    torch.manual_seed(0)
    layers = [coded(nn.Conv2d(64, 64, 3, padding=1), 4), coded(nn.Conv2d(64, 64, 3), 4)]
    model = nn.Sequential(*layers).eval()
    path = export(model, tmp_path / "network.onnx", torch.randn(2, 64, 8, 8))
    codes = sum(part.codes.nbytes for layer in layers for part in layer)
    assert codes < path.stat().st_size < 1.1 * codes
    assert b"test_codes.py" not in path.read_bytes()  # where a node comes from


def test_codes_of_factors_are_kept_and_the_other_factor_is_not_touched():
    torch.manual_seed(0)
    chain = Factored(coded(nn.Linear(20, 5, bias=False), 3)[0], nn.Linear(5, 20))
    model, x = nn.Sequential(chain).eval(), torch.randn(4, 20)
    found = ready(model, x)
    assert list(found.codes) == ["0.0"]
    numbers = found.codes["0.0"].scales * found.codes["0.0"].numbers
    assert torch.equal(numbers, chain[0].weight)
    torch.testing.assert_close(found.model(x), model(x))


def test_layers_that_keep_their_weight_transposed(tmp_path: Path):
    utilities = pytest.importorskip("transformers.pytorch_utils")
    torch.manual_seed(0)
    model = nn.Sequential(coded(utilities.Conv1D(24, 16), 4)).eval()
    for number, x in enumerate((torch.randn(3, 16), torch.randn(3, 5, 16))):
        path = export(model, tmp_path / f"{number}.onnx", x)
        with torch.no_grad():
            torch.testing.assert_close(outputs(path, x), model(x), rtol=1e-4, atol=1e-4)
        assert "MatMulNBits" in {node.op_type for node in onnx.load(path).graph.node}
