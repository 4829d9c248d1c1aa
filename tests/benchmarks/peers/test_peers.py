"""The peers on small random networks: budgets, limits, and formulas against another way."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.measuring.counts import count_macs, count_params
from benchmarks.peers import PEERS
from benchmarks.peers.calibration import (
    Calibration,
    gradient_squares,
    layer_inputs,
    parameter_gradients,
)
from benchmarks.peers.channels import largest, least_squares, shrunk
from benchmarks.peers.forms import compressible, factored, matrix
from benchmarks.peers.low_rank import Spectrum, plain, weighted, weighted_spectra
from benchmarks.peers.ranks import by_energy, largest_within, size, uniform
from benchmarks.peers.zero_sum import loss_changes
from benchmarks.subjects.networks import BasicBlock, CifarResNet, LeNet5, channel_chains
from benchmarks.subjects.scoring import accuracy
from tolerances import tolerance


class Small(nn.Module):
    """A convolution, a residual block and a linear layer, with batch norm that does something."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)
        self.block = BasicBlock(12, 12, 1)
        self.linear = nn.Linear(12, 10)
        for norm in (self.block.bn1, self.block.bn2):
            nn.init.uniform_(norm.running_mean, -0.2, 0.2)
            nn.init.uniform_(norm.weight, 0.5, 1.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.block(F.relu(self.conv(x))).mean((2, 3)))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(130, 3, 6, 6, generator=generator), torch.arange(130) % 10


each_peer = pytest.mark.parametrize("method", PEERS)


@each_peer
def test_keeping_everything_changes_nothing(
    method: str, model: nn.Module, calibration: Calibration
):
    kept = PEERS[method](model, calibration, 1.0)
    assert kept is not model
    torch.testing.assert_close(
        kept(calibration[0]), model(calibration[0]), **tolerance(torch.float32)
    )


@each_peer
@pytest.mark.parametrize("keep", [0.9, 0.6])
def test_budget_is_met_and_used(
    method: str, keep: float, model: nn.Module, calibration: Calibration
):
    before = [parameter.clone() for parameter in model.parameters()]
    small = PEERS[method](model, calibration, keep)
    example = calibration[0][:1]
    cost = count_macs(small, example) if method == "balf_macs" else count_params(small)
    dense = count_macs(model, example) if method == "balf_macs" else count_params(model)
    assert 0.75 * keep * dense < cost <= keep * dense
    assert small(calibration[0]).isfinite().all()
    assert all(map(torch.equal, before, model.parameters()))
    assert not any(module._forward_hooks for module in small.modules())


@each_peer
def test_unreachable_budget_says_what_can_be_reached(
    method: str, model: nn.Module, calibration: Calibration
):
    with pytest.raises(ValueError, match="least reachable"):
        PEERS[method](model, calibration, 0.01)


@each_peer
def test_lenet_shrinks(method: str):
    torch.manual_seed(0)
    lenet, images = LeNet5().eval(), torch.rand(20, 1, 28, 28)
    assert count_params(lenet) == 431_080
    small = PEERS[method](lenet, (images, torch.arange(20) % 10), 0.3)
    cost = count_macs if method == "balf_macs" else lambda network, _: count_params(network)
    assert cost(small, images[:1]) <= 0.3 * cost(lenet, images[:1])
    assert small(images).shape == (20, 10)


def test_resnet20_has_its_published_size():
    resnet = CifarResNet(20)
    assert count_params(resnet) == 269_722
    assert count_macs(resnet, torch.zeros(2, 3, 32, 32)) == 40_551_040
    assert len(channel_chains(resnet)) == 9


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(7, 5),
        nn.Conv2d(3, 5, 3, padding=1, stride=2),
        nn.Conv2d(3, 5, (1, 3), dilation=2, bias=False),
    ],
    ids=str,
)
def test_full_rank_gives_the_layer_back(layer: nn.Conv2d | nn.Linear):
    x = torch.randn(4, 7) if isinstance(layer, nn.Linear) else torch.randn(4, 3, 9, 9)
    spectrum = plain(matrix(layer))
    again = factored(layer, spectrum.left, spectrum.right)
    torch.testing.assert_close(again(x), layer(x), **tolerance(torch.float32))


def test_moments_are_those_of_the_outputs(model: nn.Module, calibration: Calibration):
    outputs = {}
    for name, layer in compressible(model).items():
        layer.register_forward_hook(lambda _, __, y, name=name: outputs.update({name: y}))
    model(calibration[0])
    for layer in compressible(model).values():
        layer._forward_hooks.clear()
    for name, layer in compressible(model).items():
        weight, found = matrix(layer), layer_inputs(model, calibration)[name]
        bias = 0 if layer.bias is None else layer.bias.reshape(-1, *[1] * (outputs[name].dim() - 2))
        y = (outputs[name] - bias).movedim(1, 0).flatten(1).double()
        assert found.positions * len(calibration[0]) == y.shape[1]
        torch.testing.assert_close(
            weight @ found.moment @ weight.T, y @ y.T / y.shape[1], **tolerance(torch.float32)
        )


def test_weighted_truncation_is_svd_llm(model: nn.Module, calibration: Calibration):
    weight = matrix(model.block.conv2)
    moment = layer_inputs(model, calibration)["block.conv2"].moment
    lower = torch.linalg.cholesky(moment)
    left, values, right = torch.linalg.svd(weight @ lower, full_matrices=False)
    theirs = torch.linalg.solve_triangular(
        lower, (left[:, :4] * values[:4]) @ right[:4], upper=False, left=False
    )
    ours = weighted(weight, moment)
    torch.testing.assert_close(ours.left[:, :4] @ ours.right[:4], theirs, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(ours.energy, values.square(), rtol=1e-6, atol=1e-10)


def test_gradients_match_one_example_at_a_time(model: nn.Module, calibration: Calibration):
    images, labels = calibration[0][:3].clone(), calibration[1][:3].clone()
    squares, sums = 0, 0
    for image, label in zip(images, labels, strict=True):
        loss = F.cross_entropy(model(image[None]), label[None])
        (gradient,) = torch.autograd.grad(loss, [model.block.conv1.weight])
        squares, sums = squares + gradient.flatten(1).square() / 3, sums + gradient / 3
    found = gradient_squares(model, (images, labels))["block.conv1"]
    torch.testing.assert_close(found.float(), squares, **tolerance(torch.float32))
    mean = parameter_gradients(model, (images, labels))["block.conv1.weight"]
    torch.testing.assert_close(mean, sums, **tolerance(torch.float32))


def test_statistics_follow_the_weights(calibration: Calibration):
    torch.manual_seed(3)
    model = Small().eval()
    before = layer_inputs(model, calibration)
    assert layer_inputs(model, calibration) is before
    with torch.no_grad():
        model.conv.weight.mul_(2)
    after = layer_inputs(model, calibration)
    assert not torch.allclose(before["block.conv1"].moment, after["block.conv1"].moment)


def test_dropping_all_components_predicts_the_linear_change(
    model: nn.Module, calibration: Calibration
):
    weight, gradient = matrix(model.linear), torch.randn(10, 12, dtype=torch.float64)
    changes = loss_changes(weight, weighted_spectra(model, calibration)["linear"], gradient)
    assert changes.sum().item() == pytest.approx(-(gradient * weight).sum().item())


def test_least_squares_leaves_an_orthogonal_residual():
    root = torch.randn(9, 9, dtype=torch.float64)
    weight, moment, columns = torch.randn(4, 9).double(), root @ root.T, torch.tensor([0, 3, 7])
    refit = least_squares(weight, moment, columns)
    kept = torch.zeros(9, dtype=torch.bool).index_fill(0, columns, True)
    assert not refit[:, ~kept].any()
    gradient = (refit - weight) @ moment
    assert gradient[:, kept].abs().max() < 1e-4 * (weight @ moment).abs().max()


def test_shrunk_equals_zeroed_channels(model: nn.Module, calibration: Calibration):
    kept = largest(model, 0.5)
    small = shrunk(model, kept)
    zeroed = shrunk(model, [])
    mask = torch.zeros(12).index_fill(0, kept[0].channels, 1.0)
    zeroed.block.conv2.weight.data.mul_(mask.reshape(1, -1, 1, 1))
    torch.testing.assert_close(
        small(calibration[0]), zeroed(calibration[0]), **tolerance(torch.float32)
    )


def test_energy_goes_where_it_is():
    layers = {"flat": nn.Linear(8, 8), "steep": nn.Linear(8, 8)}
    flat, steep = torch.ones(8).double(), torch.logspace(0, -7, 8).double()
    ranks = by_energy(layers, {"flat": flat, "steep": steep}, allowed=64 + 16)
    assert ranks == {"steep": 1}
    assert size(layers, ranks) == 80
    assert uniform(layers, 64) == {"flat": 2, "steep": 2}


def test_bisection_finds_the_edge():
    assert largest_within(lambda x: x <= 0.3) == pytest.approx(0.3)
    assert largest_within(lambda x: True) == 1.0


def test_accuracy_counts_the_last_short_batch():
    images = torch.eye(7)
    labels = torch.tensor([0, 1, 2, 3, 4, 5, 0])
    assert accuracy(nn.Identity(), images, labels, batch=3) == pytest.approx(6 / 7)


def test_zero_weights_are_normal_input(calibration: Calibration):
    torch.manual_seed(0)
    model = Small().eval()
    with torch.no_grad():
        model.block.conv1.weight.zero_()
    for method in ("svd_global", "balf_params", "fwsvd", "zero_sum_svd", "l2_channels"):
        small = PEERS[method](model, calibration, 0.6)
        assert small(calibration[0]).isfinite().all(), method


def test_spectrum_is_sorted():
    spectrum = plain(torch.randn(5, 7, dtype=torch.float64))
    assert isinstance(spectrum, Spectrum)
    assert spectrum.energy.tolist() == sorted(spectrum.energy.tolist(), reverse=True)
