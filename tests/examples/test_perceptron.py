"""The three networks of the study on MNIST are the notebook's."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from study_kit import perceptron

    return perceptron


def test_have_the_notebooks_layers_and_parameters(kit):
    def shapes(network):
        return {name: tuple(p.shape) for name, p in network.named_parameters()}

    ends = {"first.weight": (1000, 784), "first.bias": (1000,),
            "last.weight": (10, 1000), "last.bias": (10,)}  # fmt: skip
    dense, small = kit.Dense(1000), kit.Multiplied(1000, 5, seed=0)
    assert shapes(dense) == {**ends, "hidden.weight": (1000, 1000), "hidden.bias": (1000,)}
    assert shapes(small) == {**ends, "drawn": (1000, 1000), "hidden": (1000, 1000)}
    sizes = [sum(p.numel() for p in network.parameters()) for network in (dense, small)]
    assert sizes == [1_796_010, 2_795_010]


@pytest.mark.parametrize("kind", ["dense", "svd", "sampled"])
def test_compute_in_the_notebooks_order(kit, kind: str):
    torch.manual_seed(0)
    made = {"dense": (kit.Dense, 40), "svd": (kit.Multiplied, 40, 20),
            "sampled": (kit.Multiplied, 40, 20, 0)}  # fmt: skip
    make, *given = made[kind]
    network, x = make(*given).double(), torch.rand(6, 1, 28, 28).double()
    hidden = F.linear(x.reshape(6, 784), network.first.weight, network.first.bias).relu()
    if kind == "dense":
        hidden = F.linear(hidden, network.hidden.weight, network.hidden.bias).relu()
    else:  # no bias, and not transposed
        hidden = (hidden @ network.hidden).relu()
    expected = F.linear(hidden, network.last.weight, network.last.bias)
    torch.testing.assert_close(network(x), expected)
    network(x).sum().backward()
    unread = [name for name, p in network.named_parameters() if p.grad is None]
    assert unread == ([] if kind == "dense" else ["drawn"])


def test_start_as_in_the_notebook(kit):
    """Linear layers as PyTorch draws them; the drawn matrix Xavier-uniform; products of its SVD."""
    torch.manual_seed(0)
    dense, small = kit.Dense(400), kit.Multiplied(400, 200)
    for layer in (dense.first, dense.hidden, small.first):
        bound = layer.in_features**-0.5
        assert 0.99 * bound < layer.weight.abs().max() <= bound
        assert 0.95 * bound < layer.bias.abs().max() <= bound
    bound = (6 / 800) ** 0.5
    assert 0.99 * bound < small.drawn.abs().max() <= bound
    U, S, V = torch.svd(small.drawn.detach())  # as the notebook calls it: V, not its transpose
    product = U[:, :200] @ torch.diag(S[:200]) @ V[:200]
    torch.testing.assert_close(small.hidden.detach(), product, rtol=1e-4, atol=1e-5)
    found = kit.at_the_start(small)
    assert found["rank"] == 200
    assert found["error"] > 3 * found["least"]  # so it is no approximation of the drawn matrix
    sampled = kit.at_the_start(kit.Multiplied(400, 200, seed=1))
    assert sampled["error"] == pytest.approx(sampled["least"], rel=1e-3)  # 2 · 200 samples: exact


def test_are_trained_side_by_side_in_batches_of_ninety(kit):
    from study_kit.images import Images

    assert (kit.RATE, kit.BATCH) == (0.25, 90)
    images = Images(torch.zeros(200, 1, 28, 28, dtype=torch.uint8), torch.arange(200) % 10)
    networks = [kit.Dense(8), kit.Dense(8)]
    networks[1].load_state_dict(networks[0].state_dict())
    seen = list(kit.train(networks, images, epochs=2, every=4, seed=0))
    assert [done for done, _ in seen] == [4, 6]
    assert all(one == other for _, (one, other) in seen)


def test_the_notebooks_figures_are_those_of_its_last_evaluation(kit):
    assert [len(figures) for figures in kit.NOTEBOOK.values()] == [9, 9, 9]
    last = [figures[-1][1] for figures in kit.NOTEBOOK.values()]
    assert last == [98.44, 97.99, 98.11]
