"""The residual MLP is the notebook's network, trained as the notebook trains it."""

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import eckart

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from study_kit import residual_mlp

    return residual_mlp


def in_the_notebooks_order(x: Tensor, layers: list[tuple[Tensor, Tensor]]) -> Tensor:
    """One layer, two blocks of two layers with the ReLU after the addition, one layer."""
    x = F.linear(x.flatten(1), *layers[0]).relu()
    for first, second in (layers[1:3], layers[3:5]):
        x = (F.linear(F.linear(x, *first).relu(), *second) + x).relu()
    return F.linear(x, *layers[5]).log_softmax(dim=1)


def test_has_the_notebooks_layers_and_parameters(kit):
    network = kit.network()
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    shapes = [(layer.in_features, layer.out_features) for layer in linear]
    assert shapes == [(3072, 1000), *[(1000, 1000)] * 4, (1000, 10)]
    assert sum(parameter.numel() for parameter in network.parameters()) == 7_087_010


def test_computes_in_the_notebooks_order(kit):
    torch.manual_seed(0)
    network, x = kit.network(60).double(), torch.randn(5, 3, 32, 32).double()
    layers = [(m.weight, m.bias) for m in network.modules() if isinstance(m, nn.Linear)]
    torch.testing.assert_close(network(x), in_the_notebooks_order(x, layers))


def test_is_trained_as_in_the_notebook(kit):
    from study_kit.images import Images

    spec = importlib.util.spec_from_file_location("study", EXAMPLES / "residual_mlp_cifar10.py")
    study = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(study)
    recipe = study.TRAINING
    assert (recipe.epochs, recipe.rate, recipe.batch, recipe.adam) == (7, 1e-3, 100, True)
    assert (recipe.margin, recipe.smoothing, recipe.bfloat16) == (0, 0.0, False)
    pixels = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, 3, 1, 1)
    images = Images(pixels, torch.zeros(2), mean=study.HALF, std=study.HALF)
    assert images.inputs(pixels)[:, :, 0, 0].tolist() == [[-1.0] * 3, [1.0] * 3]


def test_cross_entropy_of_log_probabilities_is_their_negative_log_likelihood(kit):
    torch.manual_seed(0)
    outputs, labels = kit.network(20)(torch.randn(8, 3072)), torch.arange(8)
    torch.testing.assert_close(F.cross_entropy(outputs, labels), F.nll_loss(outputs, labels))


def test_every_layer_is_cut_and_computed_as_two_factors(kit):
    torch.manual_seed(0)
    network, x = kit.network(60), torch.randn(2, 3072)
    small = kit.Smaller(network, None).make("SVD", 5)
    sizes = [(3072, 60), *[(60, 60)] * 4, (60, 10)]
    biases = sum(out for _, out in sizes)
    expected = sum(5 * (inputs + out) for inputs, out in sizes)
    assert sum(parameter.numel() for parameter in small.parameters()) == expected + biases
    assert eckart.measure(small, x[:1], latency=False).macs == expected
    for name, layer in eckart.merge(small).named_modules():
        if isinstance(layer, nn.Linear):
            U, S, Vh = torch.linalg.svd(network.get_submodule(name).weight, full_matrices=False)
            torch.testing.assert_close(
                layer.weight, U[:, :5] * S[:5] @ Vh[:5], rtol=1e-4, atol=1e-6
            )
    assert all(parameter.requires_grad for parameter in small.parameters())
