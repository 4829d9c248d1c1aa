"""Tucker-2: TensorLy as oracle for the plain one; every weighted loss is what is measured."""

import pytest
import torch
from torch import Tensor

from eckart.errors import InputError, NonFiniteError
from eckart.linalg import NestedTucker, Tucker2, quadratic_loss, separable_factors, tucker2
from random_moments import normal, second_moment
from tolerances import tolerance

CLOSE = tolerance(torch.float64)
SHAPES = [(6, 5, 3, 3), (3, 8, 2), (7, 4), (1, 3, 2, 2), (4, 1, 1, 3)]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def composed(found: Tucker2) -> Tensor:
    return torch.einsum("os,sr...,rc->oc...", found.left, found.core, found.right)


@each_shape
def test_full_width_gives_the_kernel_back(shape: tuple[int, ...]):
    kernel = normal(*shape, seed=0)
    found = tucker2(kernel, *shape[:2])
    torch.testing.assert_close(composed(found), kernel, **CLOSE)
    assert found.error < 1e-7


@each_shape
def test_the_error_is_what_is_measured(shape: tuple[int, ...]):
    kernel = normal(*shape, seed=0)
    found = tucker2(kernel, -(-shape[0] // 2), -(-shape[1] // 2))
    measured = (kernel - composed(found)).norm() / kernel.norm()
    assert found.error == pytest.approx(float(measured), rel=1e-9, abs=1e-7)
    for basis in (found.left.mT, found.right):
        torch.testing.assert_close(basis @ basis.mT, torch.eye(len(basis)).double(), **CLOSE)


@pytest.mark.parametrize("ranks", [(2, 2), (4, 3), (9, 2), (1, 1)])
def test_the_error_is_no_larger_than_the_oracles(ranks: tuple[int, int]):
    tensorly = pytest.importorskip("tensorly")
    from tensorly.decomposition import partial_tucker

    kernel = normal(10, 8, 3, 3, seed=1)
    with tensorly.backend_context("numpy"):
        _, errors = partial_tucker(kernel.numpy(), list(ranks), modes=[0, 1], n_iter_max=20)
    assert tucker2(kernel, *ranks).error <= errors[-1] * (1 + 1e-6)


def test_a_kernel_of_few_channels_is_recovered():
    kernel = torch.einsum(
        "os,srk,rc->ock", normal(9, 2, seed=1), normal(2, 3, 4, seed=2), normal(3, 7, seed=3)
    )
    torch.testing.assert_close(composed(tucker2(kernel, 2, 3)), kernel, **CLOSE)
    halved = tucker2(kernel.float(), 2, 3)
    torch.testing.assert_close(composed(halved), kernel.float(), **tolerance(torch.float32))


def test_odd_tensors_are_taken():
    kernel = normal(6, 5, 9, seed=0)
    for odd in (kernel.transpose(0, 1), kernel[::2], kernel[:1].expand(4, 5, 9), 1e30 * kernel):
        found = tucker2(odd.requires_grad_() if odd.is_leaf else odd, 2, 2)
        assert not found.core.requires_grad
        assert 0 <= found.error < 1
    assert tucker2(torch.zeros(3, 3, 2), 1, 1).error == 0
    assert tucker2(kernel.half(), 2, 2).core.dtype == torch.float16


@pytest.mark.parametrize(
    ("kernel", "error", "message"),
    [
        (torch.ones(3), InputError, "expected"),
        (torch.ones(0, 3, 3), InputError, "empty"),
        (torch.ones(3, 3, 3).long(), InputError, "int64"),
        (torch.ones(3, 3, 3).to(torch.complex64), InputError, "complex64"),
        (torch.ones(3, 3, 3, device="meta"), InputError, "meta"),
        (torch.full((3, 3, 3), torch.nan), NonFiniteError, "NaN"),
    ],
)
def test_bad_kernels_are_refused(kernel: Tensor, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        tucker2(kernel, 1, 1)


@pytest.mark.parametrize("widths", [(0, 1), (1, 0), (4, 1), (1, 6)])
def test_impossible_widths_are_refused(widths: tuple[int, int]):
    with pytest.raises(InputError, match=r"puts=.*keep 1 to"):
        tucker2(torch.ones(3, 5, 2), *widths)


def nested(groups: int) -> tuple[NestedTucker, Tensor, Tensor, Tensor]:
    kernel = normal(groups, 5, 4, 1, 6, seed=0)
    a, g = second_moment(groups, 24, seed=1), second_moment(groups, 5, seed=2)
    return (
        NestedTucker.behind(separable_factors(kernel, a, g, 4), range(1, 9)),
        kernel.flatten(2),
        a,
        g,
    )


@pytest.mark.parametrize("groups", [1, 3])
def test_every_pair_of_ranks_costs_what_is_measured(groups: int):
    tucker, weight, a, g = nested(groups)
    scale = quadratic_loss(weight, a, g)
    for inputs, losses in tucker.losses().items():
        for outputs in range(1, 6):
            right, core, left = tucker.built(outputs, inputs)
            merged = torch.einsum("gos,gsrk,grc->gock", left, core, right).flatten(2)
            measured = quadratic_loss(weight - merged, a, g)
            assert float(losses[outputs]) / scale == pytest.approx(measured / scale, abs=1e-9)


def test_core_and_outputs_are_optimal_for_the_inputs():
    tucker, weight, a, g = nested(1)
    right, core, left = tucker.built(2, 2)
    best = float(tucker.losses()[2][2])
    for seed in range(20):
        others = [p + 1e-3 * normal(*p.shape, seed=seed + i) for i, p in enumerate((core, left))]
        merged = torch.einsum("gos,gsrk,grc->gock", others[1], others[0], right).flatten(2)
        assert best < quadratic_loss(weight - merged, a, g)


def test_for_moments_that_are_products_the_inputs_are_optimal_too():
    """With all outputs left, 1×1 then k×k is the best there is where A is a Kronecker product."""
    kernel, over_channels = normal(1, 5, 4, 1, 6, seed=0), second_moment(1, 4, seed=1)
    positions, g = second_moment(1, 6, seed=2), second_moment(1, 5, seed=3)
    a = torch.kron(over_channels[0], positions[0])[None]
    factors = separable_factors(kernel, a, g, 4)
    roots = [torch.linalg.cholesky(m[0]) for m in (g, over_channels, positions)]
    whitened = torch.einsum("ock,op,cd,kl->dpl", kernel[0, :, :, 0], *roots).flatten(1)
    tails = torch.linalg.svdvals(whitened).square().flip(0).cumsum(0).flip(0) / 2
    scale = tails[0]
    torch.testing.assert_close(factors.losses[:4] / scale, tails / scale, rtol=1e-7, atol=1e-9)
