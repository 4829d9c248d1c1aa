"""What the group lasso refuses, and how it says so."""

from typing import Any

import pytest
import torch
from torch import Tensor

from eckart.errors import InputError, NonFiniteError
from eckart.linalg import alpha_max, debias, fista, group_lasso
from lasso_oracle import lasso

GRAM, CROSS = lasso(4, 3, seed=0).gram, lasso(4, 3, seed=0).cross


def replaced(matrix: Tensor, value: float) -> Tensor:
    changed = matrix.clone()
    changed[0, 1] = value
    return changed


ARGUMENTS = [
    ("alpha", {"alpha": -1e-9}),
    ("in two places", {"groups": [[0, 1], [1, 2, 3]]}),
    ("in two places", {"groups": [[0, 1], [2, 3]], "unpenalised": [3]}),
    ("neither in a group nor", {"groups": [[0, 1], [3]]}),
    ("has no column", {"groups": [[0, 1], [], [2, 3]]}),
    ("column 4", {"groups": [[0, 1], [2, 3, 4]]}),
    ("column -1", {"unpenalised": [-1]}),
    ("weights", {"weights": [1.0, 1.0]}),
    ("positive", {"weights": [1.0, 1.0, 0.0, 1.0]}),
    ("start", {"start": torch.zeros(3, 5).double()}),
    ("start", {"start": [CROSS, CROSS]}),
]
MATRICES = [
    ("not symmetric", replaced(GRAM, 9.0), CROSS),
    ("indefinite", GRAM - 0.5 * torch.eye(4).double() * GRAM.diagonal().max(), CROSS),
    ("indefinite", -GRAM, CROSS),
    ("expected", GRAM[:3], CROSS),
    ("expected", GRAM, CROSS[:, :3]),
    ("a matrix", GRAM[0], CROSS),
    ("floating point", GRAM.int(), CROSS),
    ("floating point", GRAM, CROSS.to(torch.complex128)),
    ("two tensors or two lists", [GRAM], CROSS),
    ("lists of", [GRAM, GRAM], [CROSS]),
    ("lists of", [], []),
    ("same number", [GRAM, GRAM[:3, :3]], [CROSS, CROSS[:, :3]]),
]


@pytest.mark.parametrize(("message", "wrong"), ARGUMENTS)
def test_arguments(message: str, wrong: dict[str, Any]):
    with pytest.raises(InputError, match=message):
        group_lasso(GRAM, CROSS, **({"alpha": 0.1} | wrong))


@pytest.mark.parametrize(("message", "gram", "cross"), MATRICES)
def test_matrices(message: str, gram: Any, cross: Any):
    with pytest.raises(InputError, match=message):
        group_lasso(gram, cross, 0.1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite(value: float):
    calls = [
        lambda: group_lasso(replaced(GRAM, value), CROSS, 0.1),
        lambda: group_lasso(GRAM, replaced(CROSS, value), 0.1),
        lambda: group_lasso(GRAM, CROSS, value),
        lambda: group_lasso(GRAM, CROSS, 0.1, weights=[1.0, value, 1.0, 1.0]),
        lambda: group_lasso(GRAM, CROSS, 0.1, start=replaced(CROSS, value)),
        lambda: alpha_max(GRAM, replaced(CROSS, value)),
        lambda: debias(GRAM, CROSS, replaced(CROSS, value)),
        lambda: fista(GRAM, replaced(CROSS, value), 0.1),
    ]
    for call in calls:
        with pytest.raises(NonFiniteError):
            call()


def test_lists_of_groups_are_one_per_consumer():
    groups = [[[0, 1], [2, 3]]]
    with pytest.raises(InputError, match="1 lists for 2 consumers"):
        group_lasso([GRAM] * 2, [CROSS] * 2, 0.1, groups=groups)
    with pytest.raises(InputError, match="same number"):
        group_lasso([GRAM] * 2, [CROSS] * 2, 0.1, groups=[*groups, [[0, 1, 2, 3]]])


def test_a_single_solution_of_several_consumers_is_refused():
    result = group_lasso([GRAM] * 2, [CROSS] * 2, 0.1)
    with pytest.raises(InputError, match="2 consumers"):
        _ = result.solution


def test_a_column_that_is_never_seen_but_explained_is_refused():
    gram = torch.diag(torch.tensor([1.0, 0.0])).double()
    with pytest.raises(InputError, match="column 1"):
        group_lasso(gram, torch.ones(1, 2).double(), 0.1)


def test_slightly_negative_eigenvalues_are_rounding():
    values, vectors = torch.linalg.eigh(GRAM)
    values[0] = -1e-9 * values[-1]
    gram = vectors * values @ vectors.mT
    gram = (gram + gram.mT) / 2
    assert group_lasso(gram, CROSS @ vectors[:, 1:] @ vectors[:, 1:].mT, 0.1).gap <= 1e-6


def test_debias_says_what_does_not_fit():
    with pytest.raises(InputError, match="solution"):
        debias(GRAM, CROSS, CROSS[:, :3])
    with pytest.raises(InputError, match="damping"):
        debias(GRAM, CROSS, CROSS, damping=-1.0)
    with pytest.raises(InputError, match="2 matrices for 1"):
        debias(GRAM, CROSS, [CROSS, CROSS])
    with pytest.raises(InputError, match="q ="):
        fista(GRAM, CROSS, 0.1, q=-1.0)
    with pytest.raises(InputError, match="start"):
        fista(GRAM, CROSS, 0.1, start=CROSS[:, :3])
