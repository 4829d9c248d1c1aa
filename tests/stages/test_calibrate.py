"""The sums themselves: against explicit ones, over halves, over layers that share an input."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eckart import Fisher, Logits, Moments, calibrate
from eckart.errors import InputError
from stages.networks import Attention, Recorded, SmallCnn, mlp
from tolerances import tolerance

FLOAT32 = tolerance(torch.float32)


@pytest.fixture
def images() -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(n, 3, 9, 8) + 0.3 for n in (5, 3, 4)]


def patches(x: Tensor, layer: nn.Module) -> Tensor:
    """Rows that a layer multiplies its weight with, one by one."""
    if isinstance(layer, nn.Conv2d):
        window = (layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        return F.unfold(x, *window).mT.flatten(0, 1)
    return x.flatten(0, -2)


def rows_of(grad: Tensor) -> Tensor:
    return grad.flatten(2).mT.flatten(0, 1) if grad.dim() == 4 else grad.flatten(0, -2)


def explicit(model: nn.Module, batches: list[Tensor], probe: Recorded) -> dict[str, Any]:
    """A, mean and G of every layer by the definition, in float64 and with the same probes."""
    model = model.double()
    layers = {k: m for k, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    calls: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in layers}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            output.retain_grad()
            calls[name].append((patches(args[0].detach(), module), output))

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in layers.items()]
    for index, batch in enumerate(batches):
        logits = model(batch.double())
        (logits * probe.replayed(index, logits.shape)).sum().backward()
    for handle in handles:
        handle.remove()
    model.float().zero_grad()
    found = {}
    for name, seen in calls.items():
        x = torch.cat([rows for rows, _ in seen])
        g = torch.cat([rows_of(output.grad) for _, output in seen if output.grad is not None])
        examples = sum(map(len, batches))
        found[name] = (x.T @ x / len(x), x.mean(0), g.T @ g / examples, len(x))
    return found


def assert_same(left: Moments, right: Moments) -> None:
    """Equal to rounding, layer by layer."""
    assert left.specs.keys() == right.specs.keys()
    for count in ("examples", "outputs", "batches", "metric"):
        assert getattr(left, count) == getattr(right, count)
    for name in left.specs:
        torch.testing.assert_close(left.a(name), right.a(name), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(left.mean(name), right.mean(name), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(left.g(name), right.g(name), rtol=1e-12, atol=1e-12)


def test_moments_equal_explicit_sums(images: list[Tensor]):
    model, probe = SmallCnn(), Recorded()
    moments = calibrate(model, images, metric=probe)
    expected = explicit(model, images, probe)
    assert list(moments.specs) == ["conv1", "conv2", "fc1", "fc2"]
    for name, (a, mean, g, rows) in expected.items():
        torch.testing.assert_close(moments.a(name)[0], a, **FLOAT32)
        torch.testing.assert_close(moments.mean(name)[0], mean, **FLOAT32)
        torch.testing.assert_close(moments.g(name)[0], g, **FLOAT32)
        assert moments.rows[moments.specs[name].input] == rows


def test_a_layer_called_twice_gives_the_rows_of_both_calls():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.out = nn.Linear(5, 5), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.fc(torch.tanh(self.fc(x))))

    model, probe, batches = Twice(), Recorded(), [torch.randn(6, 5)]
    moments = calibrate(model, batches, metric=probe)
    a, mean, g, rows = explicit(model, batches, probe)["fc"]
    assert rows == moments.rows["fc"] == 12
    assert moments.specs["fc"].sizes == ((1,), (1,))
    torch.testing.assert_close(moments.a("fc")[0], a, **FLOAT32)
    torch.testing.assert_close(moments.mean("fc")[0], mean, **FLOAT32)
    torch.testing.assert_close(moments.g("fc")[0], g, **FLOAT32)


def test_an_in_place_relu_after_a_layer_changes_nothing():
    model, batches = mlp(5, 6, 3), [torch.randn(7, 5)]
    before = calibrate(model, batches)
    model[1] = nn.ReLU(inplace=True)
    assert_same(calibrate(model, batches), before)


@pytest.mark.parametrize("metric", ["logits", "fisher", Logits(class_dim=1), None], ids=str)
def test_two_halves_give_the_whole(images: list[Tensor], metric: Any):
    model = SmallCnn()
    whole = calibrate(model, images, metric=metric, seed=3)
    start = calibrate(model, images[:1], metric=metric, seed=3)
    rest = calibrate(model, images[1:], metric=metric, seed=3, first_batch=start.batches)
    assert_same(start + rest, whole)


def test_probes_depend_on_the_seed_and_the_batch(images: list[Tensor]):
    model = SmallCnn()
    first, again, other = (calibrate(model, images, seed=seed) for seed in (0, 0, 1))
    later = calibrate(model, images, first_batch=1)
    assert torch.equal(first.g("fc1"), again.g("fc1"))
    assert not torch.allclose(first.g("fc1"), other.g("fc1"))
    assert not torch.allclose(first.g("fc1"), later.g("fc1"))


def test_without_a_metric_g_is_rows_per_example_times_the_identity(images: list[Tensor]):
    moments = calibrate(SmallCnn(), images, metric=None)
    assert not moments.output_grams
    torch.testing.assert_close(
        moments.g("conv1")[0], 72 * torch.eye(6, dtype=torch.float64), rtol=0, atol=0
    )


def test_a_probe_of_ones_own_is_what_is_differentiated():
    def first_output(outputs: Any, batch: Any, generator: torch.Generator) -> Tensor:
        return outputs[:, 0].sum()

    model = mlp(4, 3)
    moments = calibrate(nn.Sequential(model), [torch.randn(5, 4)], metric=first_output)
    expected = torch.zeros(3, 3, dtype=torch.float64)
    expected[0, 0] = 1
    assert torch.equal(moments.g("0.0")[0], expected)
    assert moments.metric is not None
    assert " at 0x" not in moments.metric, "halves from two processes must have the same metric"


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_fisher_with_true_targets_is_the_empirical_fisher(temperature: float):
    model = nn.Sequential(nn.Linear(4, 3))
    x, y = torch.randn(50, 4), torch.randint(3, (50,))
    moments = calibrate(model, [(x, y)], metric=Fisher(temperature, targets="true"))
    chances = (model(x).detach().double() / temperature).softmax(1)
    g = (chances - F.one_hot(y, 3)) / temperature
    torch.testing.assert_close(moments.g("0")[0], g.T @ g / 50, **FLOAT32)


def test_fisher_with_sampled_targets_is_the_fisher_in_the_mean():
    model = nn.Sequential(nn.Linear(4, 3))
    x = torch.randn(1, 4).expand(20_000, 4)
    p = model(x[:1]).detach().double().softmax(1)[0]
    fisher = p.diag() - torch.outer(p, p)
    moments = calibrate(model, [x], metric=Fisher())
    torch.testing.assert_close(moments.g("0")[0], fisher, rtol=0, atol=5 / math.sqrt(20_000))


def test_fisher_with_true_targets_needs_targets():
    with pytest.raises(InputError, match=r"batches of \(inputs, targets\)"):
        calibrate(mlp(4, 3, 2), [torch.randn(5, 4)], metric=Fisher(targets="true"))


def test_an_unknown_metric_lists_the_known_ones():
    with pytest.raises(InputError, match="fisher, logits"):
        calibrate(mlp(4, 3, 2), [torch.randn(5, 4)], metric="loggits")


def test_an_input_that_several_layers_read_is_stored_once():
    model, probe, batches = Attention(), Recorded(), [torch.randn(4, 5, 6) for _ in range(3)]
    moments = calibrate(model, batches, metric=probe)
    assert moments.grams.keys() == {"k", "out"}, "the first that reads it gives the name"
    assert {moments.specs[name].input for name in "qkv"} == {"k"}
    for name, (a, _, g, _) in explicit(model, batches, probe).items():
        torch.testing.assert_close(moments.a(name)[0], a, **FLOAT32)
        torch.testing.assert_close(moments.g(name)[0], g, **FLOAT32)


@pytest.mark.parametrize("halves", [False, True], ids=["one run", "two halves added"])
@pytest.mark.parametrize("first", [False, True], ids=["apart later", "apart at first"])
def test_layers_whose_inputs_diverge_are_split_exactly(first: bool, halves: bool):
    class Diverging(Attention):
        def forward(self, x: Tensor) -> Tensor:
            self.apart = (len(x) == 2) is first
            return super().forward(x)

    model, probe = Diverging(), Recorded()
    batches = [torch.randn(n, 5, 6) for n in (2, 4, 3)]
    if halves:
        start = calibrate(model, batches[:1], metric=probe)
        moments = start + calibrate(model, batches[1:], metric=probe, first_batch=1)
    else:
        moments = calibrate(model, batches, metric=probe)
    assert moments.specs["k"].input == "k"
    assert moments.specs["q"].input != "k"
    for name, (a, mean, _, rows) in explicit(model, batches, probe).items():
        assert moments.rows[moments.specs[name].input] == rows
        torch.testing.assert_close(moments.a(name)[0], a, **FLOAT32)
        torch.testing.assert_close(moments.mean(name)[0], mean, **FLOAT32)


@pytest.mark.parametrize("halves", [False, True], ids=["one run", "two halves added"])
def test_a_layer_that_is_left_out_of_some_batches_does_not_get_their_rows(halves: bool, tmp_path):
    class Optional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.always, self.sometimes = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.always(x) + (self.sometimes(x) if x[0, 0] > 0 else 0)

    model, batches = Optional(), [torch.randn(5, 4).abs(), -torch.randn(2, 4).abs()]
    moments = calibrate(model, batches if not halves else batches[:1])
    if halves:
        moments = moments + calibrate(model, batches[1:], first_batch=1)
        moments.save(tmp_path / "moments")
    assert (moments.rows["always"], moments.rows["sometimes"]) == (7, 5)
    x = batches[0].double()
    torch.testing.assert_close(moments.a("sometimes")[0], x.T @ x / 5, **FLOAT32)
