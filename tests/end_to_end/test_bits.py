"""Codes of few bits: chosen under a budget of bytes, kept in files, and run like any layer."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from eckart import (
    Budget,
    Moments,
    Offer,
    allocate,
    apply,
    calibrate,
    curves,
    load,
    measure,
    merge,
    save,
)
from eckart.errors import CheckpointError, InputError
from eckart.layers import Factored, FewBits, decoded, piece_of, rebuild
from eckart.linalg.rounding import Grid, Rounded
from eckart.records import Form, Piece
from eckart.storage.compact import squeezed
from resealed import with_structure, with_weights

METHODS = ("weighted_svd", "rounding")
X = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 24, 3, stride=2, bias=False), nn.ReLU(), nn.Flatten()),
        nn.Linear(24 * 9, 10),
    ).eval()


@pytest.fixture(scope="module")
def moments() -> Moments:
    return calibrate(network(), [X])


@pytest.fixture(scope="module")
def smaller(moments: Moments) -> nn.Module:
    plan = allocate(curves(network(), moments, methods=METHODS), Budget(bytes=0.15))
    return apply(network(), plan, moments)


def coded(model: nn.Module) -> list[FewBits]:
    return [module for module in model.modules() if isinstance(module, FewBits)]


def stored(model: nn.Module) -> int:
    """Bytes of all tensors that a file holds."""
    return sum(tensor.nbytes for tensor in model.state_dict().values())


def test_a_budget_of_bytes_is_met_by_codes(smaller: nn.Module):
    assert len(coded(smaller)) == 3
    dense = stored(network())
    assert stored(smaller) == smaller.eckart_plan.costs["bytes"] <= 0.15 * dense
    assert all(layer.codes.nbytes * 4 < layer.weight.nbytes for layer in coded(smaller))


def test_codes_are_counted_as_what_they_stand_for(smaller: nn.Module):
    dense, found = measure(network(), X, latency=False), measure(smaller, X, latency=False)
    assert (found.params, found.macs) == (dense.params, dense.macs)
    assert found.bytes == stored(smaller) == smaller.eckart_plan.costs["bytes"]
    assert "0 layers factored, 3 in codes" in str(smaller.eckart_plan)


def test_eight_bits_change_almost_nothing(moments: Moments):
    dense = network()
    plan = allocate(curves(dense, moments, methods=METHODS, bits=[8]), Budget(bytes=0.27))
    with torch.no_grad():
        change = apply(dense, plan, moments)(X) - dense(X)
        assert change.square().mean() < 1e-4 * dense(X).square().mean()


def test_more_bytes_never_cost_more_loss(moments: Moments):
    found = curves(network(), moments, methods=METHODS)
    losses = [allocate(found, Budget(bytes=share)).loss for share in (0.08, 0.1, 0.15, 0.25, 0.5)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 10 * losses[2] > 0


def test_codes_are_withheld_where_they_save_nothing(moments: Moments):
    found = curves(network(), moments)
    for limits in ({"params": 0.5}, {"bytes": 0.5, "macs": 0.5}):
        plan = allocate(found, Budget(**limits))
        assert "rounding" in plan.withheld
        assert not any(choice.form.bits for choice in plan.choices.values())


def test_it_loads_to_the_bit(smaller: nn.Module, tmp_path: Path):
    save(smaller, tmp_path)
    again = load(network(), tmp_path)
    assert torch.equal(again(X), smaller(X))
    assert [layer.piece for layer in coded(again)] == [layer.piece for layer in coded(smaller)]


def test_dequantized_once_it_is_plain_and_the_same_to_the_bit(smaller: nn.Module, tmp_path: Path):
    save(smaller, tmp_path)
    again = load(network(), tmp_path, dequantize=True)
    assert not coded(again)
    assert [type(m) for m in again] == [type(m) for m in network()]
    assert torch.equal(again(X), smaller(X))
    assert not hasattr(again, "eckart_plan")
    assert all(p.requires_grad for p in again.parameters())
    assert not again.training


@pytest.mark.parametrize("equation", ["linear", "convolution"])
def test_dequantized_factors_stay_factors(equation: str):
    """One of the two factors is in codes; the other is in the dtype that the network has by now."""
    torch.manual_seed(0)
    dense, ones = (nn.Linear(6, 5), ()) if equation == "linear" else (nn.Conv1d(6, 5, 1), (1,))
    shape = {"kernel": ones, "stride": ones, "dilation": ones, "padding": (0,) * len(ones)}
    coded_piece = Piece(6, 3, bits=4, **shape)
    grid = Grid(torch.rand(1, 3, 1).half(), None, 4, 6)
    codes = torch.randint(0, 16, (1, 3, 6), dtype=torch.uint8)
    weights = [Rounded(codes, grid, 0.0), torch.randn(5, 3, *ones)]
    form = Form((coded_piece, Piece(3, 5, bias=True, **shape)))
    chain = rebuild(dense, form, weights).double()
    x = torch.randn(2, 6, *ones, dtype=torch.float64)
    expected = chain(x)
    plain = decoded(chain)
    assert [type(part) for part in plain] == [type(dense)] * 2
    assert torch.equal(plain(x), expected)
    assert all(part.weight.requires_grad and part.weight.dtype == x.dtype for part in plain)


def test_only_what_was_trainable_is_trainable_when_dequantized(moments: Moments):
    dense = network()
    dense[0].weight.requires_grad_(False)
    plan = allocate(curves(dense, moments, methods=["rounding"]), Budget(bytes=0.2))
    built = apply(dense, plan, moments)
    assert [p.requires_grad for p in merge(built).parameters()] == [False, True, True, True, True]


def test_a_file_holds_little_more_than_codes_and_scales(smaller: nn.Module, tmp_path: Path):
    save(smaller, tmp_path)
    description = sum(path.stat().st_size for path in tmp_path.iterdir()) - stored(smaller)
    assert 0 < description < 2500  # names, shapes, digests and the plan of three layers


def many_layers(bits: int) -> nn.Sequential:
    """Twenty layers in codes, with their norms: about as many bytes as ResNet-20 in 2 bits."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(20):
        layer = nn.Conv2d(40, 40, 3, padding=1)
        form = Form((replace(piece_of(layer), bits=bits),))
        codes = torch.randint(0, 2**bits, (1, 40, 360), dtype=torch.uint8)
        grid = Grid(torch.rand(1, 40, 1).half(), None, bits, 360)
        layers += [rebuild(layer, form, [Rounded(codes, grid, 0.0)]), nn.BatchNorm2d(40)]
    return nn.Sequential(*layers).eval()


@pytest.mark.parametrize("bits", [2, 8])
def test_files_are_within_two_percent_of_the_bytes_that_count(bits: int, tmp_path: Path):
    model = many_layers(bits)
    save(model, tmp_path)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    counted = measure(model, X[:1].repeat(1, 14, 1, 1)[:, :40], latency=False).bytes
    assert counted < size < 1.02 * counted
    fresh = nn.Sequential(
        *(m for _ in range(20) for m in (nn.Conv2d(40, 40, 3, padding=1), norm()))
    )
    again = load(fresh, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(state(again), state(model), strict=True))


def norm() -> nn.Module:
    return nn.BatchNorm2d(40)


def state(model: nn.Module) -> list[Tensor]:
    return [*model.state_dict().values()]


def test_merged_it_is_plain_and_computes_the_same(smaller: nn.Module):
    whole = merge(smaller)
    assert not coded(whole)
    assert [type(m) for m in whole] == [type(m) for m in network()]
    torch.testing.assert_close(whole(X), smaller(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_scales_keep_their_dtype_when_the_network_changes_its_own(
    smaller: nn.Module, dtype: torch.dtype
):
    other = copy.deepcopy(smaller).to(dtype)
    assert other(X.to(dtype)).dtype == dtype
    for before, after in zip(coded(smaller), coded(other), strict=True):
        assert after.weight.dtype == dtype
        assert torch.equal(before.scale, after.scale)
        assert after.scale.dtype == torch.float16


def test_gradients_pass_through_to_inputs_and_biases(smaller: nn.Module):
    x = X[:2].clone().requires_grad_()
    smaller(x).sum().backward()
    assert x.grad is not None
    assert x.grad.any()
    assert coded(smaller)[0].bias.grad.any()


def test_it_is_exported(smaller: nn.Module):
    program = torch.export.export(smaller, (X[:2],), strict=False)
    torch.testing.assert_close(program.module()(X[:2]), smaller(X[:2]))


def test_a_network_reads_the_weight_that_codes_stand_for(smaller: nn.Module):
    for layer, dense in zip(smaller, network(), strict=True):
        if isinstance(layer, Factored):
            assert layer.weight.shape == dense.weight.shape
            assert torch.equal(layer.weight + 0, layer[0].weight.reshape(dense.weight.shape))


def test_codes_that_do_not_fit_are_refused(smaller: nn.Module, tmp_path: Path):
    save(smaller, tmp_path)
    other = nn.Sequential(*network())
    other[5] = nn.Linear(24 * 9, 9)
    with pytest.raises(CheckpointError, match="the saved layer '5'"):
        load(other, tmp_path)


DAMAGED: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "truncated": ("codes", lambda codes: codes[:-1].clone()),
    "longer": ("codes", lambda codes: torch.cat([codes, codes[:1]])),
    "of another kind": ("codes", lambda codes: codes.to(torch.int16)),
    "too many scales": ("scale", lambda scale: torch.cat([scale, scale], 2)),
    "too few scales": ("scale", lambda scale: scale[:, :-1].clone()),
    "scales in another dtype": ("scale", lambda scale: scale.float()),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_codes_and_scales_must_fit_each_other(tmp_path: Path, damage: str):
    model, x = nn.Sequential(nn.Linear(256, 256)), torch.randn(64, 256)  # not small: see compact.py
    sums = calibrate(model, [x])
    plan = allocate(curves(model, sums, methods=["rounding"], bits=[8]), Budget(bytes=0.3))
    save(apply(model, plan, sums), tmp_path)
    part, change = DAMAGED[damage]
    name = f"0.0.{part}"
    with_weights(tmp_path, lambda tensors: {**tensors, name: change(tensors[name])})
    with pytest.raises(CheckpointError, match=f"'{name}'"):
        load(model, tmp_path)


@pytest.mark.parametrize("compressed", [None, 5, "", "@", squeezed([1]), squeezed("text")])
def test_a_compressed_structure_that_is_none_is_refused(
    smaller: nn.Module, tmp_path: Path, compressed: object
):
    save(smaller, tmp_path)
    with_structure(tmp_path, lambda structure: {**structure, "compressed": compressed})
    with pytest.raises(CheckpointError, match=r"eckart\.json"):
        load(network(), tmp_path)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"bits": 1}, "bits are 0 or one of"),
        ({"bits": 9}, "bits are 0 or one of"),
        ({"bits": 4, "span": -1}, "span"),
        ({"span": 8}, "only codes have spans"),
        ({"bits": 3, "outputs": 8, "inputs": 4, "carries": 4}, "carries"),
    ],
)
def test_hostile_pieces_are_refused(change: dict[str, int], why: str):
    with pytest.raises(CheckpointError, match=why):
        Form.from_json([{**Piece(4, 8).as_json(), **change}])


@pytest.mark.parametrize("bits", [0, 1, 17, "int4", [4, 9], [True], 2.5])
def test_unknown_widths_are_refused(bits: object):
    with pytest.raises(InputError, match="a code has one of 2, 3, 4, 5, 6, 7, 8 bits"):
        Offer(bits=bits)  # type: ignore[arg-type]


def test_widths_are_a_choice(moments: Moments):
    assert Offer(bits=[8, 4]).bits == (4, 8)
    found = curves(network(), moments, methods=METHODS, bits=[3])
    assert {bits for c in found.curves for o in c.options for bits in o.form.bits} == {3}
    none = curves(network(), moments, methods=METHODS, bits=())
    assert not any(o.form.bits for c in none.curves for o in c.options)


def test_difficult_layers_are_rounded():
    """One column, zero rows, constant rows and subnormal weights, in half precision too."""
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(1, 6), nn.Linear(6, 5), nn.Linear(5, 3)).to(dtype)
        with torch.no_grad():
            model[1].weight[0], model[1].weight[1] = 0.0, 0.5
            model[2].weight *= 1e-30
        x: Tensor = torch.randn(32, 1).to(dtype)
        sums = calibrate(model, [x])
        plan = allocate(curves(model, sums, methods=["rounding"]), Budget(bytes=0.9))
        built = apply(model, plan, sums)
        assert torch.isfinite(built(x)).all()
