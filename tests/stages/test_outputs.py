"""Every output of a network counts, relative to its spread, however the data are cut."""

from math import isnan
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eckart import Moments, Outputs, calibrate, compress, curves
from eckart.errors import InputError, MismatchError, NoGradientError, NonFiniteError

X = torch.randn(96, 12, generator=torch.Generator().manual_seed(3))
BATCHES = list(X.split(24))


pytestmark = pytest.mark.filterwarnings("ignore::eckart.errors.NoGainWarning")


class Heads(nn.Module):
    """A trunk with two heads, the second of which gives large numbers, and other things."""

    def __init__(self, factor: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 24))
        self.small, self.large = nn.Linear(24, 2), nn.Linear(24, 10)
        self.factor, self.shift = factor, shift

    def forward(self, x: Tensor) -> dict[str, Any]:
        h = self.trunk(x)
        large = self.factor * self.large(h) + self.shift
        return {"small": self.small(h), "large": large, "best": large.argmax(1), "mems": [h]}


class Sole(nn.Module):
    """One output of another network."""

    def __init__(self, whole: nn.Module, name: str) -> None:
        super().__init__()
        self.whole, self.name = whole, name

    def forward(self, x: Tensor) -> Tensor:
        return self.whole(x)[self.name]


def spread(z: Tensor) -> Tensor:
    return (z - z.mean(0)).square().sum() / (len(z) - 1)


def same_g(left: Moments, right: Moments) -> None:
    assert left.specs.keys() == right.specs.keys()
    for name in left.specs:
        torch.testing.assert_close(left.g(name), right.g(name), rtol=1e-10, atol=0)


def test_g_is_the_sum_over_the_outputs_each_over_its_spread():
    model = Heads(factor=100.0, shift=7.0)
    hidden = model.trunk(X).detach().requires_grad_()
    outputs = {"small": model.small(hidden), "large": 100 * model.large(hidden)}
    generator, expected = torch.Generator().manual_seed(0), torch.zeros(24, 24)
    for z in outputs.values():
        v = torch.randn(z.shape, generator=generator)
        (grad,) = torch.autograd.grad((z * v).sum(), hidden, retain_graph=True)
        expected += grad.T @ grad / len(X) / spread(z.detach())
    found = calibrate(model, [X])
    torch.testing.assert_close(found.g("trunk.2")[0].float(), expected, rtol=1e-4, atol=1e-7)
    assert found.scales.keys() == {"small", "large"}
    assert found.ignored == {"best": "it holds int64", "mems": "a cache"}
    assert "of 2 outputs (2 left out)" in str(found)


def test_a_single_output_is_not_scaled():
    whole = Heads(factor=100.0)
    found = calibrate(Sole(whole, "large"), [X])
    assert found.scales == {"": 1.0}
    logits = calibrate(Sole(whole, "large"), [X], metric="logits")
    for name in found.specs:
        assert torch.equal(found.g(name), logits.g(name))


def test_two_halves_of_the_data_make_the_whole():
    model = Heads(factor=100.0)
    whole = calibrate(model, BATCHES)
    rest = calibrate(model, BATCHES[3:], first_batch=3)
    parts = calibrate(model, BATCHES[:3]) + rest
    same_g(parts, whole)
    assert parts.scales == pytest.approx(whole.scales, rel=1e-10)
    assert parts.ignored == whole.ignored


def test_a_workspace_in_parts_makes_the_whole(tmp_path: Path):
    model = Heads(factor=100.0)
    whole = calibrate(model, BATCHES)
    parts = calibrate(model, BATCHES, workspace=tmp_path, memory_bytes=24_000)
    assert len(list(tmp_path.glob("moments-*"))) > 1
    same_g(parts, whole)
    assert (parts.scales, parts.ignored) == (whole.scales, whole.ignored)


def test_moments_of_several_outputs_come_back_to_the_bit(tmp_path: Path):
    moments = calibrate(Heads(factor=100.0), BATCHES)
    moments.save(tmp_path / "moments")
    found = Moments.load(tmp_path / "moments")
    assert (found.scales, found.ignored) == (moments.scales, moments.ignored)
    assert found.digest == moments.digest
    assert all(torch.equal(found.g(name), moments.g(name)) for name in moments.specs)
    assert found.nbytes == moments.nbytes


def test_the_scale_of_an_output_does_not_matter():
    one, other = (curves(m, calibrate(m, BATCHES)) for m in (Heads(1.0), Heads(1024.0)))
    for left, right in zip(one.curves, other.curves, strict=True):
        assert [o.loss for o in left.options] == pytest.approx(
            [o.loss for o in right.options], rel=1e-5, abs=1e-9
        )


def test_single_examples_have_the_spread_about_the_mean_of_all_entries():
    model = Heads(factor=100.0)
    moments, outputs = calibrate(model, list(X.split(1))), model(X)
    for name in ("small", "large"):
        z = outputs[name].detach()
        expected = 96 / (z - z.mean()).square().sum()
        assert moments.scales[name] == pytest.approx(float(expected), rel=1e-4)


def test_an_output_that_is_constant_drowns_no_other():
    class Constant(Heads):
        def forward(self, x: Tensor) -> dict[str, Any]:
            return {"a": self.small(self.trunk(x)), "b": 5 + 0 * self.large(self.trunk(x))}

    moments = calibrate(Constant(), [X])
    assert moments.scales["b"] == pytest.approx(1 / (1e-6 * 25 * 10), rel=1e-3)
    assert torch.isfinite(moments.g("trunk.2")).all()


@pytest.mark.parametrize("chosen", ["large", ["large"], {"lar*": 3.0}, Outputs({"large": 1.0})])
def test_a_chosen_output_counts_alone(chosen: Any):
    model = Heads(factor=100.0)
    given = {"metric": chosen} if isinstance(chosen, Outputs) else {"outputs": chosen}
    found = calibrate(model, BATCHES, **given)
    assert found.scales == {"large": 1.0}
    assert found.ignored["small"] == "not among outputs="
    assert found.skipped["small"] == "no gradient reached its outputs in calibration"
    alone = calibrate(Sole(model, "large"), BATCHES)
    torch.testing.assert_close(found.g("trunk.2"), alone.g("whole.trunk.2"))


def test_weights_multiply_the_scales():
    model = Heads()
    alike, weighted = (
        calibrate(model, BATCHES, outputs=o) for o in (None, {"small": 1.0, "*": 0.25})
    )
    assert weighted.scales["small"] == alike.scales["small"]
    assert weighted.scales["large"] == alike.scales["large"] / 4
    with pytest.raises(MismatchError, match="different weights"):
        alike + weighted


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"outputs": ["boxes"]}, "no output matches 'boxes'; outputs are: small, large"),
        ({"outputs": []}, "name at least one output"),
        ({"outputs": {"small": -1.0}}, "positive weights"),
        ({"outputs": ["small"], "metric": "fisher"}, "outputs= chooses among"),
    ],
)
def test_outputs_that_cannot_be_chosen_are_refused(given: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        calibrate(Heads(), [X], **given)


def test_a_network_without_floating_outputs_is_refused():
    class Best(Heads):
        def forward(self, x: Tensor) -> Any:
            return {"best": super().forward(x)["best"]}

    with pytest.raises(NoGradientError, match=r"no output .* counts .*best: it holds int64"):
        calibrate(Best(), [X])


def test_an_output_that_is_not_a_number_is_named():
    class Root(Heads):
        def forward(self, x: Tensor) -> Any:
            return {
                "out": self.small(self.trunk(x)),
                "root": (-self.large(self.trunk(x)).abs()).sqrt(),
            }

    with pytest.raises(NonFiniteError, match="the output 'root' holds NaN"):
        calibrate(Root(), [X])


def test_entries_that_are_masked_with_infinity_do_not_count():
    class Masked(Heads):
        def forward(self, x: Tensor) -> Any:
            logits = self.large(self.trunk(x))
            return logits.masked_fill(torch.arange(10) > 6, -torch.inf)

    model = Masked()
    moments = calibrate(model, [X])
    assert float(moments.g("large")[0, 7:, 7:].abs().max()) == 0.0
    assert compress(model, moments, keep=0.6, rescale=True).plan.loss > 0


@torch.no_grad()
def changed(model: nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    before, after = model(X), dict(model(X))
    after["small"] = before["small"] + 1.0
    after["large"] = before["large"] + 2.0
    return before, after


def test_predicted_and_measured_change_see_all_outputs():
    model = Heads(factor=100.0)
    moments = calibrate(model, [X])
    probe = Outputs(scales=moments.scales)
    before, after = changed(model)
    expected = 0.5 * len(X) * (moments.scales["small"] * 2 + moments.scales["large"] * 40)
    found = probe.change(probe.observed(after, X), before, X)
    assert found == pytest.approx(expected, rel=1e-5)
    assert probe.observed(after, X).shape == (96, 12)


def test_a_change_of_the_number_of_entries_cannot_be_told():
    probe = Outputs()
    assert isnan(probe.change(torch.zeros(3, 4), torch.zeros(2, 4), X))


def test_parameters_of_distributions_are_outputs():
    class Policy(Heads):
        def forward(self, x: Tensor) -> Any:
            found = super().forward(x)
            normal = torch.distributions.Normal(found["large"], found["small"][:, :1].exp())
            return torch.distributions.Independent(normal, 1), torch.distributions.Categorical(
                logits=found["small"]
            )

    moments = calibrate(Policy(), BATCHES)
    assert set(moments.scales) == {"[0].base_dist.loc", "[0].base_dist.scale", "[1].logits"}
    assert {"small", "large"} <= set(moments.specs)
