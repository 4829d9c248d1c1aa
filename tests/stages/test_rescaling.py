"""Losses multiplied by what truncating a layer really changes over what is predicted."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eckart import Fisher, Logits, Moments, allocate, apply, calibrate, compress, curves
from eckart.errors import InputError
from eckart.layers import rebuild
from eckart.methods import methods_named, problem_of
from eckart.metrics import METRICS, Measurable, probe_of
from eckart.records import Budget, Curves
from eckart.running import outputs
from eckart.stages.curves.problems import half_sized
from stages.networks import SmallCnn
from transformer_networks import bert, gpt2, llama, padded, token_ids

METHODS = ["weighted_svd"]


def ratios(model: nn.Module, moments: Moments, **arguments: Any) -> dict[str, float]:
    """What every layer's losses were multiplied by."""
    before, after = (
        curves(model, moments, methods=METHODS, progress=False, rescale=rescale)
        for rescale in (False, arguments.get("rescale", True))
    )
    found = {}
    for old, new in zip(before.curves, after.curves, strict=True):
        scales = [n.loss / o.loss for o, n in zip(old.options, new.options, strict=True) if o.loss]
        assert scales == pytest.approx([scales[0]] * len(scales), rel=1e-9)
        found[old.site.name] = scales[0]
    return found


class Exact:
    """The logit metric without chance: one sample for each logit."""

    def __call__(self, outputs: Tensor, batch: Any, generator: torch.Generator) -> Tensor:
        return outputs.sum(0) * outputs.shape[1] ** 0.5

    def observed(self, outputs: Tensor, batch: Any) -> Tensor:
        return outputs

    def change(self, found: Tensor, outputs: Tensor, batch: Any) -> float:
        return 0.5 * float((found - outputs).double().square().sum())


@pytest.mark.parametrize("examples", [20, 64])
def test_the_ratio_of_a_linear_network_is_one(examples: int):
    """There the second order is all there is; the sample is the whole of the data."""
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(12, 12) for _ in range(4)))
    x = torch.randn(examples, 12)
    moments = replace(calibrate(model, [x], metric=Exact()), examples=10**6, outputs=examples)
    found = ratios(model, moments, rescale=Exact())
    assert found == pytest.approx(dict.fromkeys("0123", 1.0), rel=1e-3)


@pytest.mark.parametrize("make", [llama, gpt2, bert])
def test_ratios_are_those_of_layers_truncated_one_by_one(make: Any):
    """Side by side along the batch, or each in a network of its own."""
    model = make()
    batch = padded([token_ids(length, seed=length) for length in (9, 7, 5, 8, 6, 4, 9, 3)])
    moments = replace(calibrate(model, [batch], progress=False), examples=1000)
    probe = probe_of(moments.metric)
    with torch.no_grad():
        dense = model(**batch)
    found = ratios(model, moments)
    for curve in curves(model, moments, methods=METHODS, progress=False).curves:
        name = curve.site.name
        if "embeddings" in name or name == "transformer.wpe":
            continue  # positions are looked up once for all examples; token types are too few
        layer = model.get_submodule(name)
        problem = problem_of(layer, name, moments)
        option = half_sized(problem, curve.options)
        assert option is not None
        (method,) = methods_named([option.method])
        weights = method.build(method.prepare(problem), option.form)
        model.set_submodule(name, rebuild(layer, option.form, weights))
        with torch.no_grad():
            outputs = probe.observed(model(**batch), batch)
        model.set_submodule(name, layer)
        count = probe.count(batch, dense) if moments.metric == "next_token" else 8
        expected = probe.change(outputs, dense, batch) / count / option.loss
        assert found[name] == pytest.approx(min(max(expected, 0.25), 4.0), rel=1e-3), name


def test_of_convolutions_and_of_layers_called_twice():
    model, x = SmallCnn().eval(), torch.randn(32, 3, 9, 8)
    found = ratios(model, calibrate(model, [x], metric="logits"))
    assert set(found) == {"conv1", "conv2", "fc1", "fc2"}
    assert all(0.25 <= ratio <= 4 for ratio in found.values())


class TokensFirst(nn.Module):
    """Inside, tokens come first, and the second layer sees all tokens in one row."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.words = nn.Embedding(40, 12)
        self.inner, self.flat, self.head = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 5)

    def forward(self, input_ids: Tensor, apart: bool = True) -> Tensor:
        x = self.words(input_ids)
        if apart:
            x = self.inner(x.transpose(0, 1)).transpose(0, 1)
            x = self.flat(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        else:
            x = self.flat(self.inner(x))
        return self.head(x.tanh().mean(1))


def test_copies_are_told_apart_where_tokens_come_first_or_all_rows_are_one():
    model, ids = TokensFirst(), token_ids(16, 8)
    found, plain = (
        ratios(model, calibrate(model, [{"input_ids": ids, "apart": apart}]))
        for apart in (True, False)
    )
    assert found == pytest.approx(plain, rel=1e-3)


def test_half_precision_is_measured_in_single():
    model, ids = llama(), {"input_ids": token_ids(8, 12)}
    expected = ratios(model, calibrate(model, [ids]))
    found = ratios(model.bfloat16(), calibrate(model.bfloat16(), [ids]))
    for name, ratio in expected.items():
        assert found[name] == pytest.approx(ratio, rel=0.3), name


def test_it_costs_no_more_examples_than_the_calibration_or_one_a_layer(
    monkeypatch: pytest.MonkeyPatch,
):
    model, batches = llama(), [{"input_ids": token_ids(4, 9, seed=i)} for i in range(25)]
    moments = calibrate(model, batches)
    before, ran = outputs.call, list[int]()

    def counting(network: nn.Module, inputs: Any) -> Any:
        ran.append(len(inputs["input_ids"]))
        return before(network, inputs)

    monkeypatch.setattr(outputs, "call", counting)
    curves(model, moments, methods=METHODS, rescale=True, progress=False)
    layers = len(moments.specs)
    each = moments.examples // layers
    once_and_floor = 2 * each
    assert each > 4
    assert sum(ran) <= moments.examples + once_and_floor + max(ran) * 2


def test_a_network_that_does_not_react_keeps_its_losses():
    model, x = SmallCnn().eval(), torch.randn(16, 3, 9, 8)
    nn.init.zeros_(model.fc2.weight)
    moments = calibrate(model, [x])
    before, after = (curves(model, moments, rescale=rescale) for rescale in (False, True))
    assert before.curves == after.curves


def test_what_cannot_be_measured_is_refused():
    model, x = SmallCnn().eval(), torch.randn(16, 3, 9, 8)
    moments = calibrate(model, [x], metric=Logits(class_dim=1))
    with pytest.raises(InputError, match=r"cannot be measured in the metric Logits\("):
        curves(model, moments, rescale=True)
    assert ratios(model, moments, rescale=Logits(class_dim=1))
    with pytest.raises(InputError, match="carry no sample"):
        curves(model, replace(calibrate(model, [x]), sample=()), rescale=True)


def test_a_plan_of_rescaled_curves_is_applied():
    model, ids = llama(), {"input_ids": token_ids(8, 12)}
    moments = calibrate(model, [ids])
    options = curves(model, moments, rescale=True)
    assert isinstance(options, Curves)
    apply(model, allocate(options, Budget(params=0.8)), moments)
    small = compress(model, moments, keep=0.8, rescale=True, progress=False)
    assert small.plan.costs["params"] <= 0.8 * small.plan.totals["params"]


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_can_be_measured(name: str):
    assert isinstance(probe_of(name), Measurable)


@pytest.mark.parametrize("probe", [Logits(), Fisher(), Fisher(2.0)], ids=str)
def test_a_small_change_is_what_the_quadratic_form_says(probe: Any):
    """``½ Δᵀ H Δ``, with H the mean of the probe's own gradients."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 5, generator=generator, dtype=torch.float64)
    step = 1e-3 * torch.randn(1, 5, generator=generator, dtype=torch.float64)
    many = logits.repeat(40_000, 1).requires_grad_()
    (grads,) = torch.autograd.grad(probe(many, many, generator), many)
    predicted = 0.5 * float((grads @ step[0]).square().mean())
    batch = logits.float()
    assert probe.change(logits + step, logits, batch) == pytest.approx(predicted, rel=0.05)


class Quantised(SmallCnn):
    """Refuses another precision, as models of transformers that were read from a GGUF file do."""

    def float(self) -> "Quantised":
        raise ValueError("`.float()` is not supported for quantized model")

    def double(self) -> "Quantised":
        raise ValueError("`.double()` is not supported for quantized model")


def test_a_network_that_refuses_another_precision_is_measured_all_the_same():
    torch.manual_seed(0)
    model = Quantised()
    plain = SmallCnn()
    plain.load_state_dict(model.state_dict())
    batches = [torch.randn(8, 3, 9, 8)]
    found, known = (
        compress(m, batches, keep=0.6, rescale=True, progress=False).plan for m in (model, plain)
    )
    assert found.removals.keys() == known.removals.keys() != set()
    assert found.loss == pytest.approx(known.loss)
