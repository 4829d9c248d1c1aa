"""The ResNet-18 study cuts and trains as the notebook does, and shows what training does to it."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from study_kit import resnet18

    return resnet18


def started(make) -> nn.Module:
    torch.manual_seed(0)
    return make()


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_has_the_notebooks_layers_and_parameters(kit):
    network = started(kit.resnet18)
    assert size(network) == 11_181_642
    kernels = [m.kernel_size[0] for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert sorted(kernels) == [1] * 3 + [3] * 16 + [7]
    assert (network.fc.in_features, network.fc.out_features) == (512, 10)
    for name in kit.CUT:
        assert network.get_submodule(name).weight.shape == (64, 64, 3, 3)


def test_puts_the_rank_8_weights_in_place_and_changes_nothing_else(kit):
    whole, cut = started(kit.resnet18).state_dict(), started(kit.in_place).state_dict()
    assert cut.keys() == whole.keys()
    for name, weight in whole.items():
        if name.removesuffix(".weight") in kit.CUT:
            U, S, Vh = torch.linalg.svd(weight.flatten(1), full_matrices=False)
            best = (U[:, :8] * S[:8] @ Vh[:8]).reshape(weight.shape)
            torch.testing.assert_close(cut[name], best, rtol=1e-4, atol=1e-5)
        else:
            assert torch.equal(cut[name], weight), name


def test_factors_begin_where_the_network_in_place_does_and_are_smaller(kit):
    stored, placed = started(kit.as_factors).eval(), started(kit.in_place).eval()
    assert (size(stored), size(placed)) == (11_118_154, 11_181_642)
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(stored(x), placed(x), rtol=1e-4, atol=1e-4)


def test_training_makes_the_rank_full_again_unless_factors_are_trained(kit):
    from study_kit.images import Images
    from study_kit.training import Recipe, train_epochs

    pixels = torch.randint(256, (16, 3, 32, 32), dtype=torch.uint8)
    images = Images(pixels, torch.arange(16) % 10)
    for make, ends in ((kit.in_place, [64, 64]), (kit.as_factors, [8, 8])):
        network = started(make)
        assert kit.spectrum(network)[0] == [8, 8]
        list(train_epochs(network, images, Recipe(epochs=1, rate=1e-3, batch=8, plain=True), 0))
        assert kit.spectrum(network)[0] == ends


def test_plain_sgd_is_the_notebooks(kit):
    from study_kit.images import Images
    from study_kit.training import Recipe, train_epochs

    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 10))
    weight = network[1].weight.detach().clone().requires_grad_()
    bias = network[1].bias.detach().clone().requires_grad_()
    images = Images(torch.randint(256, (4, 3, 2, 2), dtype=torch.uint8), torch.arange(4), batch=4)
    list(train_epochs(network, images, Recipe(epochs=3, rate=0.1, batch=4, plain=True), 0))
    speed = [torch.zeros_like(weight), torch.zeros_like(bias)]
    ((x, labels),) = images
    for _ in range(3):
        loss = F.cross_entropy(F.linear(x.flatten(1), weight, bias), labels)
        slopes = torch.autograd.grad(loss, (weight, bias))
        speed = [0.9 * v + slope for v, slope in zip(speed, slopes, strict=True)]
        with torch.no_grad():
            weight -= 0.1 * speed[0]
            bias -= 0.1 * speed[1]
    torch.testing.assert_close(network[1].weight, weight)
    torch.testing.assert_close(network[1].bias, bias)
