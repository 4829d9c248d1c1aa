"""LeNet-5 is the notebook's network, trained, reconstructed and collapsed as the notebook does."""

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from study_kit import lenet

    return lenet


def in_the_notebooks_order(network: nn.Module, x: Tensor) -> Tensor:
    """Pooled convolutions, each with a ReLU, and two linear layers with one between."""
    for conv in (network.conv1, network.conv2):
        x = F.max_pool2d(F.conv2d(x, conv.weight, conv.bias), 2).relu()
    hidden = F.linear(x.reshape(len(x), -1), network.fc1.weight, network.fc1.bias).relu()
    return F.linear(hidden, network.fc2.weight, network.fc2.bias)


def test_has_the_notebooks_layers_and_parameters(kit):
    network = kit.LeNet5()
    assert [tuple(layer.weight.shape) for layer in network.children()] == [
        (20, 1, 5, 5), (50, 20, 5, 5), (500, 800), (10, 500),
    ]  # fmt: skip
    assert sum(parameter.numel() for parameter in network.parameters()) == 431_080


def test_computes_in_the_notebooks_order(kit):
    torch.manual_seed(0)
    network, x = kit.LeNet5(5, 6, 30).double(), torch.randn(4, 1, 28, 28).double()
    torch.testing.assert_close(network(x), in_the_notebooks_order(network, x))


def test_is_trained_as_in_the_notebook(kit):
    spec = importlib.util.spec_from_file_location("study", EXAMPLES / "lenet_reconstruction.py")
    study = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(study)
    recipe = study.TRAINING
    assert (recipe.epochs, recipe.rate, recipe.batch, recipe.adam) == (8, 1e-3, 256, True)
    assert (recipe.margin, recipe.smoothing, recipe.bfloat16) == (0, 0.0, False)
    assert study.NORMAL == {"mean": (0.1307,), "std": (0.3081,)}
    assert (study.SEEDS, study.ALPHA) == (3, 0.01)


@pytest.fixture
def images(kit):
    from study_kit.images import Images

    pixels = torch.randint(0, 256, (40, 1, 28, 28), generator=torch.Generator().manual_seed(1))
    return Images(pixels.to(torch.uint8), torch.zeros(40, dtype=torch.long), batch=16)


@pytest.mark.parametrize("bias", [False, True])
def test_moments_are_divided_by_their_columns_and_by_the_images(kit, images, bias: bool):
    torch.manual_seed(0)
    network = kit.LeNet5(4, 5, 30).eval()
    site = kit.Site(network, "fc2", kit.second_moment(network, "fc2", images), bias)
    x = images.inputs(images.pixels)
    for conv in (network.conv1, network.conv2):
        x = F.max_pool2d(conv(x), 2).relu()
    x = network.fc1(x.flatten(1)).relu().detach().double()
    weight = network.fc2.weight.detach().double()
    if bias:
        x = torch.cat([x, torch.ones(40, 1)], 1)
        weight = torch.cat([weight, network.fc2.bias.detach().double()[:, None]], 1)
    d, n = x.shape[1], 40
    assert d == 30 + bias
    torch.testing.assert_close(site.gram, (x.mT / d) @ (x / n), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(site.cross, weight @ site.gram)


def test_the_collapse_changes_no_answer_and_the_bias_column_is_the_new_bias(kit, images):
    torch.manual_seed(0)
    network = kit.LeNet5(4, 5, 30).eval()
    site = kit.Site(network, "fc2", kit.second_moment(network, "fc2", images), bias=True)
    solution = site.lasso([0.3])[0].solution
    kept = site.lasso([0.3])[0].support.tolist()
    assert 0 < len(kept) < 30
    small = kit.collapsed(network, "fc2", solution, kept)
    assert small.fc1.out_features == len(kept)
    torch.testing.assert_close(small.fc2.bias.double(), solution[:, -1], rtol=1e-5, atol=1e-6)
    x = images.inputs(images.pixels)
    zeroed = kit.with_matrix(network, "fc2", solution, kept)
    torch.testing.assert_close(small(x), zeroed(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_if_no_column_is_left_the_bias_alone_answers(kit, images, bias: bool):
    torch.manual_seed(0)
    network = kit.LeNet5(4, 5, 30).eval()
    site = kit.Site(network, "fc2", kit.second_moment(network, "fc2", images), bias)
    found = site.penalised(1.001 * site.largest)
    assert found.support.tolist() == []
    small = kit.collapsed(network, "fc2", site.refit(found.solution), [])
    x = images.inputs(images.pixels)
    assert (small(x) == small.fc2.bias).all()
    expected = network(x).mean(0) if bias else network.fc2.bias
    torch.testing.assert_close(small.fc2.bias, expected, rtol=1e-4, atol=1e-5)
    sizes = [sum(p.numel() for p in layer.parameters()) for layer in small.children()]
    assert sizes[2:] == [0, 10]
