"""Layers with weights and activations of 8 bits run as whole numbers where they are exported to."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import eckart
from rounded_networks import images, in_eight_bits, settled_residual

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


class Exported:
    """A network in ONNX Runtime, and the graph that it runs after its own optimisation."""

    def __init__(self, model: nn.Module, x: Tensor, folder: Path) -> None:
        self.path = eckart.export(model, folder / "network.onnx", x[:2])
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(folder / "optimised.onnx")
        self.session = runtime.InferenceSession(
            self.path, options, providers=["CPUExecutionProvider"]
        )
        self.nodes = list(onnx.load(folder / "optimised.onnx").graph.node)

    @property
    def kinds(self) -> Counter[str]:
        return Counter(node.op_type for node in self.nodes)

    def __call__(self, x: Tensor) -> Tensor:
        name = self.session.get_inputs()[0].name
        return torch.from_numpy(self.session.run(None, {name: x.numpy()})[0])


@pytest.fixture(scope="module")
def dense() -> nn.Module:
    return settled_residual()


@pytest.fixture(scope="module")
def rounded(dense: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    moments = eckart.calibrate(dense, [images(64), images(64)], progress=False)
    return in_eight_bits(dense, moments)


@pytest.fixture(scope="module")
def exported(rounded: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(rounded, images(2), tmp_path_factory.mktemp("rounded"))


def test_every_layer_has_a_kernel_for_whole_numbers(exported: Exported):
    assert exported.kinds["QLinearConv"] == 5
    assert exported.kinds["QLinearAdd"] == 1  # the other sum is read by a mean, in float32
    assert exported.kinds["QGemm"] == 1
    assert exported.kinds["Conv"] == exported.kinds["BatchNormalization"] == 0


def test_no_tensor_is_rounded_twice(exported: Exported):
    assert exported.kinds["QuantizeLinear"] == 2  # the image, and the mean before the head
    made = {out: node for node in exported.nodes for out in node.output}
    twice = [
        node
        for node in exported.nodes
        if node.op_type == "QuantizeLinear"
        and node.input[0] in made
        and made[node.input[0]].op_type == "DequantizeLinear"
    ]
    assert not twice


def test_the_runtime_computes_what_the_network_says(dense, rounded, exported: Exported):
    x = images(128)
    with torch.no_grad():
        simulated, exact = rounded(x), dense(x)
    error = (simulated - exact).square().mean().sqrt()
    assert 0 < error < 0.01 * exact.std()
    assert (exported(x) - simulated).square().mean().sqrt() < error  # shortcuts are rounded there
    torch.testing.assert_close(exported(x), exact, rtol=0, atol=8 * float(error))


class Chain(nn.Module):
    """Convolutions without a shortcut, and linear layers on vectors and on sequences."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolutions = nn.Sequential(
            *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6()),
            *(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Hardswish()),
            *(nn.Conv2d(8, 6, 1), nn.ReLU()),
        )
        self.tokens = nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 6, bias=False))
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        rows: Tensor = self.tokens(self.convolutions(x).flatten(2).mT)
        out: Tensor = self.head(rows.mean(1))
        return out


def test_without_shortcuts_both_agree_up_to_ties(tmp_path: Path):
    model = Chain().eval()
    moments = eckart.calibrate(model, [images(64)], progress=False)
    rounded, x = in_eight_bits(model, moments), images(32)
    exported = Exported(rounded, x, tmp_path)
    assert exported.kinds["QLinearConv"] == 3
    assert exported.kinds["MatMulIntegerToFloat"] == 2
    assert exported.kinds["QGemm"] == 1
    with torch.no_grad():
        simulated, exact = rounded(x), model(x)
    error = (simulated - exact).square().mean().sqrt()
    assert error > 0
    assert (exported(x) - simulated).square().mean().sqrt() < 0.5 * error


def test_torch_programs_keep_activations_as_they_are(rounded: nn.Module, tmp_path: Path):
    x = images(4)
    path = eckart.export(rounded, tmp_path / "network.pt2", x, format="torch")
    program = torch.export.load(path).module()
    with torch.no_grad():
        difference = (program(x) - rounded(x)).abs().max()
        assert 0 < difference < 0.1
