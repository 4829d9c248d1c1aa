"""Weights and activations of 8 bits: predicted, measured, saved, refused."""

from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
import torch
from torch import nn

import eckart
from eckart.errors import InputError
from eckart.layers import Activations, FewBits, Levels, piece_of
from eckart.network.activation_ranges import Weighing, ranges_of
from eckart.records import Form
from eckart.records.timings import Timings, Whole
from known_runtime import known  # noqa: F401
from rounded_networks import Residual, everywhere, images, in_eight_bits, settled_residual


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return settled_residual()


@pytest.fixture(scope="module")
def moments(network: nn.Module) -> eckart.Moments:
    torch.manual_seed(0)
    return eckart.calibrate(network, [images(64) for _ in range(4)], progress=False)


@pytest.fixture(scope="module")
def options(network: nn.Module, moments: eckart.Moments) -> eckart.Curves:
    return eckart.curves(network, moments, activations=8, limits="ms", progress=False)


def change(one: nn.Module, other: nn.Module) -> float:
    """Half the squared change of the centred logits."""
    torch.manual_seed(1)
    x = images(512)
    with torch.no_grad():
        found = one(x) - other(x)
    return float(0.5 * (found - found.mean(1, keepdim=True)).square().sum(1).mean())


def test_the_predicted_loss_is_what_is_measured(network, moments, options):
    plan = everywhere(options)
    predicted = sum(choice.loss for choice in plan.choices.values())
    assert set(plan.choices) == set(moments.specs)
    found = change(network, eckart.apply(network, plan, moments))
    assert found == pytest.approx(predicted, rel=0.5)


@pytest.mark.parametrize("name", ["stem", "second", "last", "head"])
def test_each_layer_loses_what_was_predicted(name, network, moments, options):
    plan = everywhere(options)
    alone = replace(plan, choices={name: plan.choices[name]})
    found = change(network, eckart.apply(network, alone, moments))
    assert 0.5 < found / plan.choices[name].loss < 2.2  # errors of neighbours are not independent


def test_narrower_layers_are_offered_too(moments, options):
    widths = {
        (o.form.pieces[0].inputs, o.form.pieces[-1].outputs)
        for curve in options.curves
        for o in curve.options
        if curve.site.name == "second" and o.form.activations
    }
    assert {(8, 8), (4, 8), (1, 8)} <= widths


def test_neighbours_share_their_levels(network, moments):
    found = in_eight_bits(network, moments)
    levels = {
        name: next(m for m in layer.modules() if isinstance(m, Activations))
        for name, layer in found.named_children()
        if name in moments.specs
    }
    x = images(8)
    with torch.no_grad():
        after = torch.relu(found.stem_norm(found.stem(x)))
    assert torch.allclose(levels["first"].before(after), after, atol=1e-5)
    assert levels["first"].levels.zero == 0


def test_saved_and_loaded_to_the_bit(network, moments, tmp_path: Path):
    rounded, x = in_eight_bits(network, moments), images(8)
    eckart.save(rounded, tmp_path)
    loaded = eckart.load(Residual(), tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(loaded(x), rounded(x))
    assert not torch.equal(loaded(x), eckart.load(Residual(), tmp_path, dequantize=True).eval()(x))


def test_bytes_are_those_that_are_stored(network, moments):
    for module in in_eight_bits(network, moments).modules():
        if isinstance(module, FewBits):
            stored = sum(t.nbytes for t in module.state_dict().values())
            assert module.piece.stored_bytes(4) == stored


def test_half_precision_keeps_the_levels():
    piece = replace(piece_of(nn.Conv2d(2, 3, 1)), bits=8, activations=8)
    found = Activations(piece, torch.device("cpu"))
    found.take(Levels(1e-3 / 3, 7), torch.randn(2, 3))
    output = found.output.clone()
    assert found.half().levels.scale == pytest.approx(1e-3 / 3, rel=1e-6)
    assert torch.equal(found.output, output)


def test_nothing_is_rounded_before_ranges_are_known():
    piece = replace(piece_of(nn.Conv2d(2, 3, 1)), bits=8, activations=8)
    found, x = Activations(piece, torch.device("cpu")), torch.randn(4, 2, 5, 5)
    assert torch.equal(found.before(x), x)
    assert torch.equal(found.after(x[:, :1].expand(4, 3, 5, 5)), x[:, :1].expand(4, 3, 5, 5))


def test_gradients_pass_rounding():
    piece = replace(piece_of(nn.Linear(2, 3)), bits=8, activations=8)
    found, x = Activations(piece, torch.device("cpu")), torch.randn(4, 2, requires_grad=True)
    found.take(Levels(0.1, 128))
    y = found.before(x)
    torch.testing.assert_close(y, (x / 0.1).round() * 0.1)
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_rare_large_numbers_are_cut_where_that_is_better():
    model = nn.Sequential(nn.Linear(1, 1))
    x = torch.rand(4000, 1)
    weighing = {"0": Weighing(torch.ones(1).double(), torch.ones(1).double())}
    even = ranges_of(model, weighing, list(x[:, None].split(64)))["0"].input
    assert even.scale == pytest.approx(1 / 255, rel=0.05)
    x = x * 0.1
    x[::64] = 1.0
    costly = ranges_of(model, weighing, list(x[:, None].split(64)))["0"].input
    assert costly.scale == pytest.approx(1 / 255, rel=0.05)  # one in 64 is not rare enough
    x = torch.randn(64, 400)
    wide = ranges_of(
        nn.Sequential(nn.Linear(400, 1)),
        {"0": Weighing(torch.ones(400).double(), torch.ones(1).double())},
        [x],
    )["0"].input
    assert wide.scale <= float(x.max() - x.min()) / 255 * 1.001


def test_other_budgets_refuse_rounded_activations(network, moments):
    with pytest.raises(InputError, match="save nothing but milliseconds"):
        eckart.curves(network, moments, activations=8, limits="params", progress=False)
    with pytest.raises(InputError, match="save nothing but milliseconds"):
        eckart.compress(network, moments, keep=0.5, activations=8)
    with pytest.raises(InputError, match="8 bits, or 0"):
        eckart.Offer(activations=4)


def test_a_runtime_without_kernels_is_refused(network, moments):
    with pytest.raises(InputError, match="time on onnxruntime, openvino"):
        eckart.profile(network, moments, activations=8)


@pytest.mark.parametrize("given", [{"bits": 4}, {"bits": 8, "span": 16}, {"bits": 0}])
def test_only_whole_rows_of_eight_bits_have_rounded_activations(given):
    piece = piece_of(nn.Linear(32, 3))
    form = Form((replace(piece, activations=8, **given),))
    assert "plain layer in codes of 8 bits" in form.pieces[0].contradiction()


def test_timings_without_eight_bits_are_refused(network, moments, known):  # noqa: F811
    timings = eckart.profile(network, moments, runtime="known", batch=4, threads=1)
    budget = eckart.Budget(ms=0.9)
    with pytest.raises(InputError, match="with activations=8"):
        eckart.compress(network, moments, budget=budget, timings=timings, activations=8)


def test_timings_are_continued_with_eight_bits(tmp_path: Path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 8))
    moments = eckart.calibrate(model, [torch.randn(64, 16)], progress=False)
    given = {"runtime": "onnxruntime", "batch": 8, "threads": 1, "path": tmp_path / "times.json"}
    plain = eckart.profile(model, moments, **given, progress=False)
    both = eckart.profile(model, moments, **given, activations=8, progress=False)
    assert plain.rounded == ()
    (in_bits,) = both.rounded
    assert in_bits.measured_ms > 0
    assert both.whole == plain.whole
    rounded = [surface for surface in both.surfaces if surface.kind.activations]
    assert [s for s in both.surfaces if s not in rounded] == list(plain.surfaces)
    assert len(rounded) == 1
    spec = moments.specs["0"]
    form = spec.dense.in_codes((8,), activations=8)
    assert both.layer_ms(spec, form) == rounded[0].at(form.pieces[0])
    assert plain.layer_ms(spec, form) == inf


def test_a_network_in_eight_bits_costs_what_was_measured(network, moments, known):  # noqa: F811
    timings = eckart.profile(network, moments, runtime="known", batch=4, threads=1)
    dense = timings.whole[0]
    fast = Whole(dense.layers_ms / 2, dense.measured_ms * 0.4)
    both = replace(timings, rounded=(fast,))
    assert both.constant < fast.measured_ms  # a line through the fast network, too
    assert both.constant + both.rounded_factor * fast.layers_ms == pytest.approx(fast.measured_ms)
    assert both.constant + both.factor * dense.layers_ms == pytest.approx(dense.measured_ms)
    assert Timings.from_json(both.as_json()) == both
