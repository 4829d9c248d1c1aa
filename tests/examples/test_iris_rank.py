"""The network for Iris is the notebook's, and gives the matrices that the notebook prints."""

from pathlib import Path

import pytest
import torch
from torch import nn

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from study_kit import flowers

    return flowers


def test_have_the_notebooks_layers_and_parameters(kit):
    dense, core = kit.network(), kit.core_network()
    assert [type(layer) for layer in dense] == [nn.Linear, nn.ReLU, nn.Linear]
    assert [tuple(p.shape) for p in dense.parameters()] == [(10, 4), (10,), (3, 10), (3,)]
    sizes = [sum(p.numel() for p in network.parameters()) for network in (dense, core)]
    assert sizes == [83, 60]


def test_compute_in_the_notebooks_order(kit):
    torch.manual_seed(0)
    dense, core, x = kit.network(), kit.core_network(), torch.randn(5, 4)
    hidden = (x @ dense[0].weight.mT + dense[0].bias).relu()
    torch.testing.assert_close(dense(x), hidden @ dense[2].weight.mT + dense[2].bias)
    y = x
    for part in core[0]:  # three matrices with their biases, no activation between
        y = y @ part.weight.mT + part.bias
    torch.testing.assert_close(core(x), y.relu() @ core[2].weight.mT + core[2].bias)


def test_the_split_is_that_of_the_notebook(kit):
    data = kit.iris()
    assert [len(part[1]) for part in (data.train, data.test)] == [120, 30]
    assert data.train[0].mean(0).abs().max() < 1e-5
    assert data.test[1].bincount().tolist() == [10, 9, 11]


def test_the_printed_matrices_are_reproduced(kit):
    """To the digits printed, in the order in which its cells had been run: 8,000 steps, so 3 s."""
    printed = {row["what"]: row for row in kit.as_printed(kit.iris(), 42, 1000)}
    assert printed["once"]["difference"] > 0.5
    assert printed["original"]["difference"] < 2e-4
    assert printed["two"]["difference"] < 2e-4
    assert printed["again"]["difference"] < 6e-3  # two decimals
    assert printed["again"]["values"][2] > 0.01  # above the rank that it was cut to
    assert printed["core"]["middle"] < 0.3 < 1 < printed["core"]["learned"]
