"""What a network costs: against torch's own counter, and by hand."""

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from eckart import Score, measure
from eckart.errors import InputError
from stages.networks import Attention, SmallCnn, mlp


class Normalised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3, stride=2, padding="valid", groups=2)
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.norm(self.conv(x)))


def encoder() -> nn.Module:
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: mlp(7, 5, 3), (7,)),
        (SmallCnn, (3, 11, 9)),
        (Attention, (4, 6)),
        (Normalised, (4, 9, 9)),
        (encoder, (5, 8)),
        (lambda: torchvision.models.mobilenet_v2(), (3, 64, 64)),
        (lambda: torchvision.models.resnet18(), (3, 64, 64)),
    ],
    ids=["mlp", "cnn", "attention", "other layers", "encoder", "mobilenet_v2", "resnet18"],
)
def test_macs_are_half_of_torchs_flops(make: Any, shape: tuple[int, ...]):
    model = make()
    counter = FlopCounterMode(display=False)
    with counter, torch.enable_grad():  # with gradients torch takes no fused path it cannot count
        model.eval()(torch.randn(1, *shape))
    found = measure(model, torch.randn(2, *shape), latency=False)
    assert found.macs == counter.get_total_flops() / 2
    assert found.params == sum(p.numel() for p in model.parameters())
    assert found.bytes == sum(tensor.nbytes for tensor in model.state_dict().values())


def test_macs_by_hand():
    found = measure(SmallCnn(), torch.randn(2, 3, 9, 8), latency=False)
    assert found.layer_macs == {
        "conv1": 6 * 3 * 9 * 9 * 8,
        "conv2": 8 * 6 * 9 * 5 * 4,
        "fc1": 8 * 7,
        "fc2": 7 * 4,
    }


def test_bytes_follow_the_dtype_and_shared_weights_count_once():
    model = mlp(4, 4, 4).half()
    model[2].weight = model[0].weight
    found = measure(model, torch.randn(1, 4).half(), latency=False)
    assert (found.params, found.bytes) == (24, 48)


def test_latency_has_a_median_and_a_spread():
    found = measure(mlp(4, 8, 4), {"input": torch.randn(3, 4)}, seconds=0.01)
    assert found.latency_ms is not None
    assert found.latency_spread_ms is not None
    assert 0 < found.latency_ms < 1000
    assert found.latency_spread_ms >= 0
    assert found.batch == 3


def test_the_network_is_left_as_it_was():
    model = mlp(4, 8, 4).train()
    state = torch.get_rng_state()
    measure(model, torch.randn(3, 4, generator=torch.Generator()), seconds=0.01)
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("result", [0.5, Score(0.5), torch.tensor(0.5)])
def test_scores(result: Any):
    found = measure(mlp(4, 3), torch.randn(1, 4), evaluate=lambda model: result, latency=False)
    assert found.score == Score(0.5)


@pytest.mark.parametrize("result", [float("nan"), float("inf"), None, "good"])
def test_a_score_that_is_none_is_refused(result: Any):
    with pytest.raises(InputError, match=r"must be finite|must return a number"):
        measure(mlp(4, 3), torch.randn(1, 4), evaluate=lambda model: result, latency=False)


def test_inputs_without_a_batch_are_refused():
    with pytest.raises(InputError, match="no tensor with a batch axis"):
        measure(mlp(4, 3), torch.tensor(1.0))
