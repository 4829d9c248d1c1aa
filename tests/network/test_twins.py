"""What twins are for: costs that are true, and layers that other networks hide."""

import copy
import warnings

import pytest
import torch
from torch import Tensor, nn

from eckart import Budget, allocate, apply, calibrate, curves, factorize, find_rank, heal, measure
from eckart.errors import LeftDenseWarning
from eckart.layers import Factored
from eckart.network.survey import survey
from eckart.network.twins import Recurrent, closed, composites, notes, opened

INPUTS, STATE, CLASSES, STEPS = 12, 16, 5, 9


class Tagger(nn.Module):
    """One class per step, by a recurrent layer."""

    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM, **options: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = kind(INPUTS, STATE, batch_first=True, **options)
        width = STATE * (1 + bool(options.get("bidirectional")))
        self.last = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.rnn(x)[0])


def sequences(count: int = 16, steps: int = STEPS) -> Tensor:
    return torch.randn(count, steps, INPUTS, generator=torch.Generator().manual_seed(1))


def linear_layer_of_rank(model: nn.Module, ranks: dict[str, int]) -> nn.Module:
    return factorize(model, ranks, layers=list(ranks))


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_multiply_adds_of_recurrent_layers_are_counted(kind: type[nn.RNNBase], gates: int):
    model = Tagger(kind).eval()
    found = measure(model, sequences(), latency=False)
    inside = STEPS * gates * STATE * (INPUTS + STATE)
    assert found.macs == inside + STEPS * STATE * CLASSES
    assert found.layer_macs["rnn.layers.0.recurrent"] == STEPS * gates * STATE * STATE


def test_what_saves_no_time_is_credited_with_none():
    """Rank 3 of the input weight saves multiply-adds; of the recurrent weight it saves bytes."""
    model = Tagger().eval()
    example = sequences(1)
    dense = measure(model, example, latency=False)
    for name, width, saves in (("input", INPUTS, True), ("recurrent", STATE, False)):
        smaller = factorize(model, {f"rnn.layers.0.{name}": 3}, layers=[f"rnn.layers.0.{name}"])
        found = measure(smaller, example, latency=False)
        gone = 4 * STATE * width - 3 * (4 * STATE + width)
        assert dense.params - found.params == gone
        assert dense.macs - found.macs == (STEPS * gone if saves else 0)


def test_predicted_costs_are_the_measured_ones():
    model, x = Tagger(bidirectional=True).eval(), sequences()
    moments = calibrate(model, [x])
    for cost in ("params", "macs"):
        plan = allocate(curves(model, moments), Budget(costs={cost: 0.8}))
        smaller = apply(model, plan, moments)
        found = measure(smaller, x, latency=False)
        assert (found.params, found.macs) == (plan.costs["params"], plan.costs["macs"])


def test_a_budget_of_time_leaves_recurrent_weights_dense():
    model, x = Tagger().eval(), sequences()
    moments = calibrate(model, [x])
    plan = allocate(curves(model, moments), Budget(macs=0.75))
    assert "rnn.layers.0.input" in plan.choices
    assert "rnn.layers.0.recurrent" not in plan.choices


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_gradients_at_each_step_are_those_of_a_loop_over_cells(kind: type[nn.RNNBase]):
    """Both moments of the recurrent weight, beside those of a loop over the equations."""
    model, x = Tagger(kind).eval(), sequences(6)
    torch.manual_seed(0)
    found = calibrate(model, [x], metric=SumOfLogits())
    before, gates = looped(model, x)
    name = "rnn.layers.0.recurrent"
    rows = before.flatten(0, 1)
    torch.testing.assert_close(found.a(name)[0].float(), rows.T @ rows / len(rows))
    g = gates.flatten(0, 1)
    torch.testing.assert_close(found.g(name)[0].float(), g.T @ g / len(x), rtol=1e-4, atol=1e-5)


class SumOfLogits:
    """A probe without chance."""

    def __call__(self, outputs: Tensor, batch: object, generator: torch.Generator) -> Tensor:
        return outputs.square().sum()


def looped(model: Tagger, x: Tensor) -> tuple[Tensor, Tensor]:
    """Every state before a step, and the gradient of the probe at the recurrent product there."""
    rnn, h = model.rnn, torch.zeros(len(x), STATE)
    c, befores, products = torch.zeros_like(h), [], []
    outputs = []
    for step in x.unbind(1):
        befores.append(h.detach())
        given = step @ rnn.weight_ih_l0.T + rnn.bias_ih_l0
        product = h @ rnn.weight_hh_l0.T + rnn.bias_hh_l0
        product.retain_grad()
        products.append(product)
        if isinstance(rnn, nn.LSTM):
            i, f, g, o = (given + product).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        elif isinstance(rnn, nn.GRU):
            (r, z, n), (hr, hz, hn) = given.chunk(3, 1), product.chunk(3, 1)
            n = (n + (r + hr).sigmoid() * hn).tanh()
            h = (z + hz).sigmoid() * (h - n) + n
        else:
            h = (given + product).tanh()
        outputs.append(model.last(h))
    SumOfLogits()(torch.stack(outputs, 1), None, torch.Generator()).backward()
    model.zero_grad()
    return torch.stack(befores), torch.stack([p.grad for p in products])


def test_each_layer_is_called_once_for_all_steps():
    model, x = Tagger().eval(), sequences(4, steps=50)
    moments = calibrate(model, [x])
    assert moments.specs["rnn.layers.0.recurrent"].sizes == ((50,),)
    assert moments.rows["rnn.layers.0.recurrent"] == 4 * 50


def test_the_kernel_runs_unless_somebody_listens():
    twin = opened(Tagger().eval())
    x, seen = sequences(2), list[str]()
    plain = twin(x)
    twin.rnn.layers[0].recurrent.register_forward_hook(lambda *_: seen.append("recurrent"))
    torch.testing.assert_close(twin(x), plain)
    assert seen == ["recurrent"]


def test_the_compiler_leaves_the_kernel_as_it_is(monkeypatch: pytest.MonkeyPatch):
    """AOTAutograd cannot trace it; types are checked here, which would break the graph anyway."""
    model, left = Tagger().eval(), []
    smaller = linear_layer_of_rank(model, {"rnn.layers.0.recurrent": 3}).eval()
    monkeypatch.setattr(torch.compiler, "is_dynamo_compiling", lambda: True)
    monkeypatch.setattr(torch.compiler, "disable", lambda kernel: left.append(kernel) or kernel)
    smaller(sequences(2))
    assert left == [torch.lstm]


def test_a_computed_weight_is_said_in_the_plan():
    model = nn.Sequential(nn.Linear(INPUTS, 20), nn.ReLU(), nn.Linear(20, 3)).eval()
    nn.utils.parametrizations.weight_norm(model[0])
    moments = calibrate(model, [sequences()])
    plan = allocate(curves(model, moments), Budget(params=0.6))
    assert "_WeightNorm" in plan.notes["0"]
    assert type(plan).loads(plan.dumps()).notes == plan.notes


def test_a_subclass_that_computes_something_else_keeps_its_forward_around_the_layer():
    class Clamped(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.clamp(-5, 5))

    class Noisy(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            return y + torch.randn_like(y) if self.training else y

    class Adapted(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 3)
            self.more = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + self.more(x)

    model, x = nn.Sequential(Clamped(4, 4), Noisy(4, 4), Adapted()), 9 * torch.randn(5, 4)
    assert [c.twin.name for c in composites(model)] == ["inherited"] * 3
    assert set(survey(opened(model))[0]) == {"0.inner", "1.inner", "2.inner", "2.more"}
    torch.manual_seed(0)
    expected = model(x)
    torch.manual_seed(0)
    assert torch.equal(opened(model)(x), expected)


def test_tied_and_hooked_modules_are_left_alone():
    rnn, other = nn.LSTM(4, 4), nn.LSTM(4, 4)
    other.weight_hh_l0 = rnn.weight_hh_l0
    hooked = nn.GRU(4, 4)
    hooked.register_forward_hook(lambda *_: None)
    assert composites(nn.ModuleList([rnn, other, hooked])) == []


def test_a_network_that_is_one_composite_is_opened_in_place():
    model, x = nn.LSTM(INPUTS, STATE, batch_first=True).eval(), sequences(3)
    before = model(x)[0]
    smaller = factorize(model, {"layers.0.input": 11}, layers=["layers.0.input"], inplace=True)
    assert smaller is model
    assert type(model) is Recurrent
    assert type(model.layers[0].input) is Factored
    assert model(x)[0].shape == before.shape


def test_inplace_changes_the_network_itself_and_nothing_else_of_it():
    model, x = Tagger().eval(), sequences()
    last, moments = model.last, calibrate(model, [x])
    dense = [name for name in moments.specs if name != "rnn.layers.0.input"]
    options = curves(model, moments, dense=dense, methods=["weighted_svd"])
    plan = allocate(options, Budget(params=0.9))
    copied = apply(model, plan, moments)
    assert type(model.rnn) is nn.LSTM
    assert apply(model, plan, moments, inplace=True) is model
    assert model.last is last
    assert torch.equal(model(x), copied(x))


def test_what_cannot_be_replaced_after_all_stays_of_its_class():
    class Reader(Tagger):
        def forward(self, x: Tensor) -> Tensor:
            assert isinstance(self.rnn, nn.LSTM) or type(self.rnn.layers[0].input) is nn.Linear
            return super().forward(x)

    model = Reader().eval()
    moments = calibrate(model, [sequences()])
    options = curves(model, moments, methods=["weighted_svd"])
    only = options.without(dict.fromkeys(set(moments.specs) - {"rnn.layers.0.input"}, "kept"))
    plan = allocate(only, Budget(params=0.9))
    with pytest.warns(LeftDenseWarning, match="input"):
        smaller = apply(model, plan, moments)
    assert type(smaller.rnn) is nn.LSTM
    assert not {id(p) for p in smaller.parameters()} & {id(p) for p in model.parameters()}


def test_healing_and_searching_see_the_layers_inside():
    model, x = Tagger().eval(), sequences(64)
    moments = calibrate(model, [x])
    smaller = apply(model, allocate(curves(model, moments), Budget(params=0.6)), moments)
    healed = heal(smaller, model, [x], moments=moments, treatments=["refit"])
    assert healed.log[-1].score is not None
    with torch.no_grad():
        y = model(x)
    found = find_rank(
        model, "rnn.layers.0.input", lambda m: -float((m(x) - y).detach().norm()), tolerance=1e-2
    )
    assert found.rank is None or 1 <= found.rank <= INPUTS


def test_a_whole_twin_is_closed_to_the_class_with_its_settings():
    model = nn.GRU(INPUTS, STATE, 2, batch_first=True, bidirectional=True, dropout=0.1)
    again = closed(nn.ModuleList([copy.deepcopy(opened(model))]))[0]
    assert type(again) is nn.GRU
    assert repr(again) == repr(model)
    assert notes(nn.Sequential(model))["0"].startswith("factors of its recurrent weights")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(again(sequences(2))[0].shape, (2, STEPS, 2 * STATE), msg="")
