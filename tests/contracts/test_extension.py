"""Layer types, methods, selections and costs from outside go the whole way by one registration."""

from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eckart import Budget, allocate, apply, calibrate, compress, curves, load, merge, save
from eckart.costs import COSTS, Cost, register_cost
from eckart.layers import LAYER_TYPES, Factored, InputSums, register_layer
from eckart.methods import (
    METHODS,
    SELECTIONS,
    Problem,
    Reading,
    low_rank_form,
    register_method,
    register_selection,
)
from eckart.records import Form, LayerSpec, Piece
from tolerances import tolerance


class Conv1dType:
    """``nn.Conv1d`` with zero padding."""

    name = "conv1d"
    module: type[nn.Module] = nn.Conv1d

    def refusal(self, module: nn.Module) -> str | None:
        return None if module.groups == 1 else "groups are not for this example"

    def piece(self, module: nn.Module) -> Piece:
        geometry = (module.kernel_size, module.stride, module.padding, module.dilation)
        bias = module.bias is not None
        return Piece(module.in_channels, module.out_channels, *geometry, module.groups, bias)

    def plain(self, piece: Piece, like: Tensor) -> nn.Module:
        geometry = (piece.kernel, piece.stride, piece.padding, piece.dilation)
        layer = nn.Conv1d(piece.inputs, piece.outputs, *geometry, piece.groups, piece.bias)
        return layer.to(like)

    def size(self, module: nn.Module, x: Tensor) -> tuple[int, ...]:
        return tuple(x.shape[-1:])

    def geometry(self, module: nn.Module) -> Hashable:
        return self.piece(module).axes

    def input_sums(self, module: nn.Module, x: Tensor) -> InputSums:
        ((kernel, stride, padding, dilation),) = self.piece(module).axes
        unfolded = nn.functional.unfold(
            x[:, :, None].float(), (1, kernel), (1, dilation), (0, padding), (1, stride)
        )
        rows = unfolded.transpose(1, 2).flatten(0, 1)
        return InputSums((rows.T @ rows)[None], rows.sum(0)[None], len(rows))

    def output_gram(self, module: nn.Module, grad: Tensor) -> Tensor:
        rows = grad.float().transpose(1, 2).flatten(0, 1)
        return (rows.T @ rows)[None]


class OutputRows:
    """Keeps whole output rows, the largest first, and gives zeros for the others."""

    name = "rows"

    def applies(self, piece: Piece) -> bool:
        return piece.groups == 1

    def losses(self, problem: Problem) -> list[tuple[Form, float]]:
        ranks = range(1, problem.weight.shape[1])
        return [(low_rank_form(problem.piece, r), self._loss(problem, r)) for r in ranks]

    def build(self, problem: Problem, form: Form) -> list[Tensor]:
        first, second = form.pieces
        kept = self._kept(problem, first.outputs)
        spread = torch.eye(problem.weight.shape[1], dtype=problem.weight.dtype)[:, kept]
        left, right = spread.reshape(second.weight_shape), problem.weight[0, kept]
        return [right.reshape(first.weight_shape), left]

    def _kept(self, problem: Problem, rank: int) -> Tensor:
        return problem.weight[0].norm(dim=1).argsort(descending=True)[:rank]

    def _loss(self, problem: Problem, rank: int) -> float:
        change = problem.weight[0].clone()
        change[self._kept(problem, rank)] = 0
        return 0.5 * float(((problem.g[0] @ change @ problem.a[0]) * change).sum())


class FirstFirst:
    """Keeps the first channels, whatever they carry."""

    name = "first"

    def order(self, readings: Sequence[Reading]) -> list[int]:
        return list(range(len(readings[0].columns)))


def _widest(spec: LayerSpec, form: Form) -> int:
    return max(piece.outputs for piece in form.pieces)


@pytest.fixture
def registered() -> Iterator[None]:
    tables: list[dict[str, Any]] = [LAYER_TYPES, METHODS, SELECTIONS, COSTS]
    before = [dict(table) for table in tables]
    register_layer(Conv1dType())
    register_method(OutputRows())
    register_selection(FirstFirst())
    register_cost(Cost("widths", "channels", _widest))
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    convolutions = (nn.Conv1d(3, 16, 5, padding=2), nn.ReLU(), nn.Conv1d(16, 16, 3, stride=2))
    return nn.Sequential(*convolutions, nn.ReLU(), nn.Flatten(), nn.Linear(16 * 9, 4)).eval()


@pytest.mark.usefixtures("registered")
def test_a_layer_type_goes_from_calibration_to_a_saved_network(tmp_path: Path):
    model, x = network(), torch.randn(32, 3, 20)
    smaller = compress(model, [x], keep=0.6, methods=["weighted_svd"])
    assert type(smaller.model[2]) is Factored
    assert [type(layer) for layer in smaller.model[2]] == [nn.Conv1d, nn.Conv1d]
    save(smaller.model, tmp_path)
    assert torch.equal(load(network(), tmp_path)(x), smaller.model(x))
    torch.testing.assert_close(
        merge(smaller.model)(x), smaller.model(x), **tolerance(torch.float32)
    )


@pytest.mark.usefixtures("registered")
def test_a_method_is_offered_predicted_and_built():
    model, x = network(), torch.randn(32, 3, 20)
    moments = calibrate(model, [x])
    options = curves(model, moments, methods=["rows"])
    smaller = apply(model, allocate(options, Budget(params=0.8)), moments)
    (name, choice), *_ = smaller.eckart_plan.choices.items()
    assert choice.method == "rows"
    dense, merged = model.get_submodule(name).weight, merge(smaller).get_submodule(name).weight
    kept = merged.flatten(1).norm(dim=1) > 0
    assert int(kept.sum()) == choice.form.rank
    torch.testing.assert_close(merged[kept], dense[kept], **tolerance(torch.float32))


@pytest.mark.usefixtures("registered")
def test_a_selection_decides_which_channels_stay(tmp_path: Path):
    model, x = network(), torch.randn(32, 3, 20)
    smaller = compress(model, [x], keep=0.5, methods=["first"])
    removals = smaller.plan.removals
    assert {removal.method for removal in removals.values()} == {"first"}
    assert all(r.kept == tuple(range(len(r.kept))) for r in removals.values())
    assert removals["2"].kept == tuple(range(smaller.model[2].out_channels))
    save(smaller.model, tmp_path)
    assert torch.equal(load(network(), tmp_path)(x), smaller.model(x))


@pytest.mark.usefixtures("registered")
def test_a_cost_limits_a_plan():
    model = network()
    options = curves(model, calibrate(model, [torch.randn(32, 3, 20)]))
    dense = options.totals["widths"]
    plan = allocate(options, Budget(costs={"params": 0.5, "widths": dense}))
    assert plan.costs["widths"] <= dense
