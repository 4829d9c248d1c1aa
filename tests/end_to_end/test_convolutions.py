"""Networks of convolutions with one to three axes, transposed or not, go the whole way."""

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import eckart
from eckart.layers import Factored
from eckart.network.costs import network_costs
from tolerances import tolerance

CLOSE = tolerance(torch.float32)
FACTORS, CHANNELS = ("weighted_svd", "spatial", "tucker2"), ("backward_elimination",)


def signal() -> nn.Sequential:
    """Kernels of one axis: strided, depthwise, with a dilation, of even length."""
    return nn.Sequential(
        *(nn.Conv1d(3, 16, 9, stride=2, padding=4), nn.BatchNorm1d(16), nn.ReLU()),
        *(nn.Conv1d(16, 16, 5, groups=16, padding=2), nn.Conv1d(16, 24, 1), nn.ReLU()),
        *(nn.Conv1d(24, 16, 3, dilation=2, padding=2, padding_mode="circular"), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(16 * 16, 4)),
    )


def video() -> nn.Sequential:
    """Kernels of three axes, and one that is flat along the time."""
    return nn.Sequential(
        *(nn.Conv3d(2, 12, 3, padding=1), nn.BatchNorm3d(12), nn.ReLU()),
        *(nn.Conv3d(12, 16, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)), nn.ReLU()),
        *(nn.Conv3d(16, 8, (3, 1, 1), padding=(1, 0, 0)), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(8 * 4 * 16, 3)),
    )


def decoder() -> nn.Sequential:
    """Transposed kernels between convolutions, as in a generator or a network that segments."""
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.ConvTranspose2d(16, 12, 4, stride=2, padding=1), nn.BatchNorm2d(12), nn.ReLU()),
        *(nn.Conv2d(12, 12, 3, padding=1), nn.ReLU()),
        *(nn.ConvTranspose2d(12, 12, 3, stride=2, padding=1, output_padding=1, groups=2),),
        *(nn.ReLU(), nn.ConvTranspose2d(12, 2, 5, padding=2)),
    )


def vocoder() -> nn.Sequential:
    """Transposed kernels of one axis."""
    return nn.Sequential(
        *(nn.ConvTranspose1d(8, 16, 8, stride=4, padding=2), nn.LeakyReLU()),
        *(nn.ConvTranspose1d(16, 12, 5, stride=2, padding=2, output_padding=1), nn.LeakyReLU()),
        nn.Conv1d(12, 1, 7, padding=3),
    )


NETWORKS: dict[str, tuple[Callable[[], nn.Sequential], tuple[int, ...]]] = {
    "signal": (signal, (3, 32)),
    "video": (video, (2, 4, 8, 8)),
    "decoder": (decoder, (3, 8, 8)),
    "vocoder": (vocoder, (8, 12)),
}


@pytest.fixture(params=NETWORKS)
def named(request: pytest.FixtureRequest) -> str:
    return request.param


def made(name: str) -> nn.Sequential:
    torch.manual_seed(0)
    return NETWORKS[name][0]().eval()


def batch(name: str, n: int = 16, seed: int = 1) -> Tensor:
    torch.manual_seed(seed)
    return torch.randn(n, *NETWORKS[name][1])


@cache
def moments(name: str) -> eckart.Moments:
    return eckart.calibrate(made(name), [batch(name, 48)], metric=probe, progress=False)


@cache
def compressed(name: str, methods: tuple[str, ...]) -> eckart.Compressed:
    return eckart.compress(made(name), moments(name), keep=0.7, methods=methods, progress=False)


@pytest.fixture
def smaller(named: str) -> eckart.Compressed:
    return compressed(named, FACTORS)


def check_goes_on(name: str, smaller: eckart.Compressed, folder: Path) -> None:
    """It costs what the plan says, and is saved, loaded and merged."""
    counted = network_costs(smaller.model, batch(name, 1)).totals()
    assert smaller.plan.costs == counted
    assert counted["params"] <= 0.7 * smaller.plan.totals["params"]
    eckart.save(smaller.model, folder)
    x = batch(name, seed=2)
    assert torch.equal(eckart.load(made(name), folder).eval()(x), smaller.model(x))
    torch.testing.assert_close(eckart.merge(smaller.model)(x), smaller.model(x), **CLOSE)


def test_factors_take_part_in_every_layer(named: str, smaller: eckart.Compressed, tmp_path: Path):
    assert not moments(named).skipped
    assert any(isinstance(module, Factored) for module in smaller.model)
    check_goes_on(named, smaller, tmp_path)


def test_channels_are_removed(named: str, tmp_path: Path):
    smaller = compressed(named, CHANNELS)
    assert smaller.plan.removals
    check_goes_on(named, smaller, tmp_path)


def probe(outputs: Tensor, inputs: Tensor, generator: torch.Generator) -> Tensor:
    return (outputs * torch.randn(outputs.shape, generator=generator)).sum()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_it_is_scripted_exported_and_copied(named: str, smaller: eckart.Compressed):
    x = batch(named, 2)
    for other in (
        torch.jit.script(smaller.model),
        torch.export.export(smaller.model, (x,)).module(),
        copy.deepcopy(smaller.model),
    ):
        torch.testing.assert_close(other(x), smaller.model(x), **CLOSE)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("named", ["video", "decoder"], indirect=True)
def test_it_runs_in_onnx_runtime(named: str, smaller: eckart.Compressed, tmp_path: Path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    x, path = batch(named, 2), tmp_path / "network.onnx"
    torch.onnx.export(smaller.model, (x,), path, dynamo=True, verbose=False)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), smaller.model(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("treatment", ["refit", "correct"])
def test_healing_does_not_make_it_worse(named: str, treatment: str, smaller: eckart.Compressed):
    model, data = made(named), [batch(named, 64, seed) for seed in (3, 4)]
    healed = eckart.heal(smaller.model, model, data, treatments=[treatment], progress=False)
    x = batch(named, 64, seed=5)
    with torch.no_grad():
        before, after = (
            float((net(x) - model(x)).square().mean()) for net in (smaller.model, healed.model)
        )
    assert after <= before * 1.02
