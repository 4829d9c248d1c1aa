"""Outputs of convolutions that keep their size."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

import eckart
from eckart.cli.sources.demo_networks import load_digits, make_cnn, train
from eckart.layers import as_matrix
from eckart.records import Plan


def change(model, other, images):
    """Half the squared change of the logits, per image."""
    with torch.no_grad():
        return float((model(images) - other(images)).square().sum(1).mean()) / 2


def square(layer, a):
    """The mean square of a layer's outputs."""
    weight = as_matrix(layer).double()
    return float(((weight @ a) * weight).sum())


@pytest.fixture(scope="module")
def digits():
    """A trained network, its moments, a plan of half its parameters, and images of the test set."""
    known, unknown = load_digits(0)
    torch.manual_seed(0)
    model = train(make_cnn(16), known, epochs=4, seed=0).eval()
    moments = eckart.calibrate(model, list(known.batches())[:8], progress=False)
    options = eckart.curves(model, moments, methods=["weighted_svd"], progress=False)
    plan = eckart.allocate(options, eckart.Budget(params=0.5))
    return model, moments, plan, torch.cat([images for images, _ in unknown.batches()])


def test_outputs_keep_their_size_and_the_network_is_closer(digits):
    model, moments, plan, images = digits
    small, plain = (
        eckart.apply(model, plan, found) for found in (moments, replace(moments, sample=()))
    )
    assert change(model, small, images) < 0.97 * change(model, plain, images)
    done = small.eckart_plan
    assert len(done.scaled) >= 2
    assert not plain.eckart_plan.scaled
    assert "outputs kept in size" in str(done)
    assert Plan.loads(done.dumps()).scaled == done.scaled
    merged, unscaled, a = eckart.merge(small), eckart.merge(plain), moments.a
    for name, scale in done.scaled.items():
        dense, layer = model.get_submodule(name), merged.get_submodule(name)
        assert square(layer, a(name)) == pytest.approx(square(dense, a(name)), rel=1e-4)
        torch.testing.assert_close(layer.weight, scale * unscaled.get_submodule(name).weight)


def test_the_same_in_place(digits):
    model, moments, plan, images = digits
    small = eckart.apply(copy.deepcopy(model), plan, moments, inplace=True)
    assert change(eckart.apply(model, plan, moments), small, images) == 0
    assert small.eckart_plan.scaled


def test_weights_stay_where_the_network_is_not_closer():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Conv2d(12, 12, 3), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)).eval()
    moments = eckart.calibrate(model, list(torch.randn(64, 3, 8, 8).split(16)), progress=False)
    options = eckart.curves(model, moments, methods=["weighted_svd"], progress=False)
    plan = eckart.allocate(options, eckart.Budget(params=0.4))
    small, plain = (
        eckart.apply(model, plan, found) for found in (moments, replace(moments, sample=()))
    )
    assert not small.eckart_plan.scaled
    for name, weight in small.state_dict().items():
        assert torch.equal(weight, plain.state_dict()[name])


def test_removed_channels_are_left_out_of_the_size(digits):
    model, moments, _, images = digits
    options = eckart.curves(model, moments, methods=["backward_elimination"], progress=False)
    plan = eckart.allocate(options, eckart.Budget(params=0.6))
    assert plan.removals
    small, plain = (
        eckart.apply(model, plan, found) for found in (moments, replace(moments, sample=()))
    )
    assert change(model, small, images) <= change(model, plain, images)
    for name, scale in small.eckart_plan.scaled.items():
        ratio = small.get_submodule(name).weight / plain.get_submodule(name).weight
        torch.testing.assert_close(ratio, torch.full_like(ratio, scale))
        assert 1 <= scale < 1.5
