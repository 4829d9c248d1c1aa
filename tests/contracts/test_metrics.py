"""What every registered output metric promises, and what its probes average to."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from eckart.errors import InputError
from eckart.metrics import METRICS, Fisher, Logits, Probe, logits_of, probe_of
from random_moments import normal, seeded

HIDDEN, CLASSES = normal(3, seed=1), 0.7 * normal(4, 3, seed=2)
SAMPLES = 20_000


def network(hidden: Tensor) -> Tensor:
    """The head of a network whose layer gives ``hidden``, one row per example."""
    return torch.tanh(hidden) @ CLASSES.T


def mean_gram(probe: Probe, wrap: Callable[[Tensor], object] = lambda logits: logits) -> Tensor:
    """``E[g gᵀ]`` at the hidden layer, from one batch of many copies of one example."""
    hidden = HIDDEN.repeat(SAMPLES, 1).requires_grad_()
    labels = torch.zeros(SAMPLES, dtype=torch.long)
    value = probe(wrap(network(hidden)), (hidden, labels), seeded(0))
    assert value.shape == ()
    (grads,) = torch.autograd.grad(value, hidden)
    return grads.T @ grads / SAMPLES


def expected(inner: Tensor) -> Tensor:
    """``Jᵀ M J`` for a matrix ``M`` over the logits."""
    jacobian = torch.autograd.functional.jacobian(network, HIDDEN)
    return jacobian.T @ inner @ jacobian


def centring() -> Tensor:
    return torch.eye(4, dtype=torch.float64) - 0.25


def softmax_fisher(temperature: float) -> Tensor:
    chances = (network(HIDDEN) / temperature).softmax(-1)
    return (chances.diag() - chances.outer(chances)) / temperature**2


def empirical_fisher() -> Tensor:
    error = network(HIDDEN).softmax(-1) - torch.eye(4, dtype=torch.float64)[0]
    return error.outer(error)


@pytest.mark.parametrize(
    ("probe", "inner"),
    [
        (Logits(), lambda: torch.eye(4, dtype=torch.float64)),
        (Logits(class_dim=1), centring),
        (Fisher(), lambda: softmax_fisher(1.0)),
        (Fisher(temperature=3.0), lambda: softmax_fisher(3.0)),
        (Fisher(targets="true"), empirical_fisher),
    ],
    ids=lambda value: str(value) if isinstance(value, Logits | Fisher) else "",
)
def test_probes_average_to_the_metric(probe: Probe, inner: Callable[[], Tensor]):
    wanted = expected(inner())
    atol = 0.04 * float(wanted.diagonal().max())  # 5 standard errors of the mean of 20,000
    torch.testing.assert_close(mean_gram(probe), wanted, rtol=0, atol=atol)


LANGUAGE = {
    "next_token",
    "embedding",
    "similarity",
}  # of other outputs than classes: test_language_metrics.py


@pytest.fixture(params=sorted(set(METRICS) - LANGUAGE))
def probe(request: pytest.FixtureRequest) -> Probe:
    return probe_of(request.param)


def gradient(probe: Probe, logits: Tensor, seed: int) -> Tensor:
    leaf = logits.clone().requires_grad_()
    targets = torch.zeros(logits.shape[0], dtype=torch.long)
    (grad,) = torch.autograd.grad(probe(leaf, (leaf, targets), seeded(seed)), leaf)
    return grad


def test_the_same_seed_gives_the_same_probe(probe: Probe):
    logits = normal(50, 10, seed=3)
    assert torch.equal(gradient(probe, logits, 7), gradient(probe, logits, 7))
    assert not torch.equal(gradient(probe, logits, 7), gradient(probe, logits, 8))


def test_a_probe_is_a_sum_over_the_batch(probe: Probe):
    """Twice the examples give gradients of the same size, not of half."""
    few, many = (normal(1, 4, seed=4).repeat(n, 1) for n in (2_000, 4_000))
    norms = [gradient(probe, x, 0).square().sum(1).mean() for x in (few, many)]
    assert norms[1] == pytest.approx(float(norms[0]), rel=0.1)


@pytest.mark.parametrize("shape", [(6, 5), (2, 5, 3, 4), (2, 3, 5)], ids=str)
@pytest.mark.parametrize("softmax", [lambda dim: Logits(class_dim=dim), lambda dim: Fisher()])
def test_a_shift_of_all_classes_is_seen_by_no_metric_of_a_softmax(
    softmax: Callable[[int], Probe], shape: tuple[int, ...]
):
    dim = shape.index(5)
    grad = gradient(softmax(dim), normal(*shape, seed=5), 0)
    torch.testing.assert_close(grad.sum(dim), torch.zeros_like(grad.sum(dim)), rtol=0, atol=1e-5)
    others = [d for d in range(len(shape)) if d not in (0, dim)]
    for other in others:
        assert grad.sum(other).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("shape", "class_dim"),
    [((6, 1), None), ((6, 1), -1), ((6,), None), ((2, 3, 1), None), ((2, 3, 1), -1)],
    ids=str,
)
def test_a_single_output_is_not_centred(shape: tuple[int, ...], class_dim: int | None):
    logits = normal(*shape, seed=6)
    v = torch.randn(shape, generator=seeded(0))
    torch.testing.assert_close(
        gradient(Logits(class_dim), logits, 0), v.double(), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("shape", [(6, 1), (6,)], ids=str)
def test_the_fisher_of_a_single_output_is_refused(shape: tuple[int, ...]):
    with pytest.raises(InputError, match="logits"):
        gradient(Fisher(), normal(*shape, seed=6), 0)


def test_class_dim_overrides_the_guess():
    grad = gradient(Logits(class_dim=-1), normal(3, 4, 5, 6, seed=7), 0)
    assert grad.sum(-1).abs().max() < 1e-5
    assert grad.sum(1).abs().max() > 1e-3


@pytest.mark.parametrize(
    "wrap",
    [
        lambda z: {"logits": z, "loss": z.sum()},
        lambda z: SimpleNamespace(logits=z),
        lambda z: (z, z * 2),
        lambda z: [z],
    ],
    ids=["dict", "attribute", "tuple", "list"],
)
@pytest.mark.parametrize("probe", [Logits(), Fisher()], ids=str)
def test_logits_are_found_in_other_outputs(probe: Probe, wrap: Callable[[Tensor], object]):
    logits = normal(2, 3, seed=8)
    assert logits_of(wrap(logits)) is logits
    torch.testing.assert_close(mean_gram(probe, wrap), mean_gram(probe), rtol=0, atol=0)


@pytest.mark.parametrize("outputs", [{"scores": torch.zeros(1)}, (), 3.0, None, {"logits": 1}])
def test_outputs_without_logits_are_refused(outputs: object):
    with pytest.raises(InputError, match="found no logits"):
        logits_of(outputs)


def test_true_targets_must_come_with_the_batch():
    with pytest.raises(InputError, match="inputs, targets"):
        Fisher(targets="true")(normal(2, 3, seed=9), normal(2, 3, seed=9), seeded(0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_probes_take_half_precision(probe: Probe, dtype: torch.dtype):
    assert torch.isfinite(gradient(probe, normal(4, 3, seed=10).to(dtype), 0)).all()


def test_an_unknown_metric_lists_the_known_ones():
    with pytest.raises(
        InputError, match=r"'hinge'.*known: auto, embedding, fisher, logits, next_token, outputs"
    ):
        probe_of("hinge")


def test_a_probe_of_ones_own_is_taken_as_it_is():
    probe = Logits(class_dim=1)
    assert probe_of(probe) is probe
