"""What every registered layer type promises: moments equal to those of explicit rows."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eckart.errors import InputError
from eckart.layers import (
    LAYER_TYPES,
    LayerType,
    alone,
    as_matrix,
    bias_of,
    matrix_of,
    oriented,
    piece_of,
    rebuild,
    refill,
    type_of,
    weight_of,
    weights_of,
)
from eckart.methods import low_rank_form
from eckart.methods.adjoint import convolution
from eckart.records import Form, Piece
from layer_zoo import EVEN_WARNING, LAYERS, inputs, layer, piece_of_layer
from random_moments import normal
from tolerances import tolerance

pytestmark = pytest.mark.filterwarnings(f"ignore:{EVEN_WARNING}")
CLOSE = tolerance(torch.float32)
each_layer = pytest.mark.parametrize("module", LAYERS, indirect=True)


@pytest.fixture
def module(request: pytest.FixtureRequest) -> nn.Module:
    return layer(request.param, torch.float32)


def kind_of(module: nn.Module) -> LayerType:
    kind = type_of(module)
    assert kind is not None
    return kind


@each_layer
def test_alone_it_has_the_same_matrix_and_nothing_else(module: nn.Module):
    """This is what travels to another machine."""
    module.extra = object()  # type: ignore[assignment]
    found = alone(module)
    assert type_of(found) is type_of(module)
    assert torch.equal(as_matrix(found), as_matrix(module))
    assert bias_of(found) is None
    assert not hasattr(found, "extra")


def rows_of(module: nn.Module, x: Tensor) -> Tensor:
    """What the weight is multiplied with, shape (groups, in, rows)."""
    piece = piece_of(module)
    if piece.table:
        return F.one_hot(x.flatten(), piece.inputs).T[None].float()
    if not piece.kernel:
        return x.flatten(0, -2).T[None]
    if piece.transposed:
        return x.flatten(2).unflatten(1, (piece.groups, -1)).permute(1, 2, 0, 3).flatten(2)
    return patches(x, piece)


def patches(x: Tensor, piece: Piece) -> Tensor:
    """Every patch under the kernel, shape (groups, in, rows)."""
    axes, mode = len(piece.kernel), piece.padding_mode
    ends = [(pad, pad + extra) for _, _, pad, _, extra in reversed(piece.axes)]
    x = F.pad(x, [n for pair in ends for n in pair], "constant" if mode == "zeros" else mode)
    for at, (k, step, _, apart, _) in enumerate(piece.axes, start=2):
        x = x.unfold(at, apart * (k - 1) + 1, step)[..., ::apart]
    rows = x.permute(1, *range(2 + axes, 2 + 2 * axes), 0, *range(2, 2 + axes))
    return rows.reshape(piece.groups, piece.matrix_shape[2], -1)


def gradient_rows(module: nn.Module, g: Tensor) -> Tensor:
    """The output gradients of every row, (groups, out, rows)."""
    piece = piece_of(module)
    if piece.transposed:
        return patches(g, convolution(piece))
    if piece.kernel:
        return g.flatten(2).unflatten(1, (piece.groups, -1)).permute(1, 2, 0, 3).flatten(2)
    return g.flatten(0, -2).T[None]


def without_bias(module: nn.Module) -> nn.Module:
    bias = bias_of(module)
    if bias is not None:
        bias.data.zero_()
    return module


@pytest.mark.parametrize("name", sorted(LAYER_TYPES))
def test_every_type_is_tried_and_matched_by_what_it_computes(name: str):
    kind = LAYER_TYPES[name]
    assert isinstance(kind, LayerType)
    assert kind.name == name
    tried = [layer(n) for n in LAYERS if type(layer(n)) is kind.module]
    assert tried, f"add a layer of type {name} to layer_zoo.py"
    assert type_of(tried[0]) is kind
    for members in ({}, {"extra_repr": lambda self: "the same"}):
        tried[0].__class__ = type("Same", (kind.module,), members)
        assert type_of(tried[0]) is kind
    for changed in ("forward", "_conv_forward", "__getattr__"):
        tried[0].__class__ = type("Changed", (kind.module,), {changed: lambda self, *_: None})
        assert type_of(tried[0]) is None, changed


def test_a_weight_that_is_computed_is_no_plain_layer():
    parametrised = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    adapted = type("Adapted", (nn.Linear,), {})(3, 2)
    adapted.adapter = nn.Parameter(torch.zeros(2))
    replaced = nn.Linear(3, 2)
    replaced.__class__ = type("Inherits", (nn.Linear,), {})
    replaced.forward = torch.relu
    assert [type_of(m) for m in (parametrised, adapted, replaced)] == [None, None, None]


@each_layer
def test_input_sums_equal_explicit_rows(module: nn.Module):
    x = inputs(module, n=3)
    sums, rows = kind_of(module).input_sums(module, x), rows_of(module, x)
    assert sums.rows == rows.shape[2]
    read = as_matrix(module) @ rows if piece_of(module).table else rows
    torch.testing.assert_close(sums.gram, read @ read.mT, **CLOSE)
    torch.testing.assert_close(sums.total, rows.sum(2), **CLOSE)


@each_layer
def test_moments_of_the_outputs_follow_from_those_of_the_inputs(module: nn.Module):
    """``Σ y yᵀ = W (Σ x xᵀ) Wᵀ``: the matrix view, the rows and the outputs belong together."""
    module, x = without_bias(module), inputs(module, n=3)
    kind, weight = kind_of(module), as_matrix(module)
    if piece_of(module).transposed:
        pytest.skip("its outputs are sums over several rows")
    gram = kind.input_sums(module, x).gram
    predicted = gram if piece_of(module).table else weight @ gram @ weight.mT
    actual = kind.output_gram(module, module(x).detach())
    torch.testing.assert_close(actual, predicted, rtol=1e-4, atol=1e-3)


@each_layer
def test_the_moments_are_those_of_the_rows_that_give_the_weights_gradient(module: nn.Module):
    x, kind, piece = inputs(module, n=2), kind_of(module), piece_of(module)
    y = module(x)
    g = normal(*y.shape, seed=3).to(y)
    (gradient,) = torch.autograd.grad((y * g).sum(), module.weight)
    rows = gradient_rows(module, g)
    expected = matrix_of(oriented(module, gradient), piece)
    torch.testing.assert_close(rows @ rows_of(module, x).mT, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(kind.output_gram(module, g), rows @ rows.mT, **CLOSE)


@each_layer
def test_one_example_without_a_batch_dimension_counts_the_same(module: nn.Module):
    x, kind = inputs(module, n=1), kind_of(module)
    alone, batched = (kind.input_sums(module, t) for t in (x[0], x))
    assert alone.rows == batched.rows
    torch.testing.assert_close(alone.gram, batched.gram, **CLOSE)
    y = module(x).detach()
    torch.testing.assert_close(kind.output_gram(module, y[0]), kind.output_gram(module, y), **CLOSE)


@each_layer
def test_positions_and_outputs_follow_from_the_size(module: nn.Module):
    x, kind = inputs(module, n=1), kind_of(module)
    positions = kind.piece(module).output_size(kind.size(module, x))
    y = module(x)
    assert torch.Size(positions).numel() * piece_of_layer(module).outputs == y.numel()


@each_layer
def test_half_precision_is_summed_in_float32(module: nn.Module):
    kind, x = kind_of(module), inputs(module)
    x = x.bfloat16() if x.is_floating_point() else x
    sums = kind.input_sums(module.bfloat16(), x)
    assert sums.gram.dtype == torch.float32
    rows = rows_of(module, x if piece_of(module).table else x.float())
    if piece_of(module).table:
        rows = as_matrix(module).float() @ rows
    torch.testing.assert_close(sums.gram, rows @ rows.mT, **CLOSE)


@each_layer
def test_a_plain_layer_is_known_by_its_shapes(module: nn.Module):
    piece = piece_of(module)
    again = type_of(module).plain(piece, weight_of(module))
    assert piece_of(again) == piece
    assert again.weight.shape == piece.weight_shape
    with torch.no_grad():
        for ours, theirs in (
            (weight_of(again), weight_of(module)),
            (bias_of(again), bias_of(module)),
        ):
            if theirs is not None:
                ours.copy_(theirs)
    torch.testing.assert_close(again(inputs(module)), module(inputs(module)), **CLOSE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", ["wide", "strided"])
def test_rebuild_keeps_dtype_mode_bias_and_what_is_trained(name: str, dtype: torch.dtype):
    module = layer(name, dtype).eval().requires_grad_(False)
    form = low_rank_form(piece_of(module), 2)
    built = rebuild(module, form, [torch.ones(p.weight_shape) for p in form.pieces])
    assert {p.dtype for p in built.parameters()} == {dtype}
    assert not any(p.requires_grad for p in built.parameters())
    assert not built.training
    assert torch.equal(built[-1].bias, module.bias)
    assert built[0].bias is None
    assert built.merge().weight.dtype == dtype


def test_a_table_keeps_its_settings_in_factors_and_back():
    module = nn.Embedding(9, 5, padding_idx=3, sparse=True, scale_grad_by_freq=True)
    form = low_rank_form(piece_of(module), 2)
    built = rebuild(module, form, [torch.ones(p.weight_shape) for p in form.pieces])
    for table in (built[0], built.merge()):
        assert (table.padding_idx, table.sparse, table.scale_grad_by_freq) == (3, True, True)
    assert (built.num_embeddings, built.embedding_dim, built.padding_idx) == (9, 5, 3)


def test_a_table_that_changes_as_it_is_read_is_refused():
    bounded = nn.Embedding(9, 5, max_norm=1.0)
    assert "max_norm" in (kind_of(bounded).refusal(bounded) or "")


def test_a_chain_of_one_merges_to_itself():
    module = layer("grouped")
    built = rebuild(module, Form((piece_of(module),)), [module.weight])
    assert torch.equal(built.merge().weight, module.weight)
    assert piece_of(built.merge()) == piece_of(module)


def test_output_padding_beyond_the_stride_is_refused():
    wide = nn.ConvTranspose2d(2, 2, 3, dilation=3, output_padding=2)
    assert "output_padding" in (kind_of(wide).refusal(wide) or "")
    usual = nn.ConvTranspose2d(2, 2, 3, stride=3, output_padding=2)
    assert kind_of(usual).refusal(usual) is None


def test_what_is_no_plain_layer_is_named():
    with pytest.raises(InputError, match=r"no layer type is registered for torch\.nn\.Bilinear"):
        piece_of(nn.Bilinear(2, 2, 3))


@each_layer
def test_what_carries_takes_its_own_weights_back_as_they_are(module: nn.Module):
    form = low_rank_form(piece_of(module), 2, pivoted=True)
    chain = rebuild(module, form, [torch.randn(p.weight_shape) for p in form.pieces])
    before = weights_of(chain)
    refill(chain, before)
    assert all(torch.equal(a, b) for a, b in zip(weights_of(chain), before, strict=True))
