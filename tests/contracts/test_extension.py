"""What is in tests/extensions goes the whole way by one registration each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from eckart import (
    Budget,
    allocate,
    apply,
    calibrate,
    compress,
    curves,
    load,
    measure,
    merge,
    profile,
    save,
)
from eckart.costs import COSTS
from eckart.layers import LAYER_TYPES, Factored
from eckart.methods import METHODS, SELECTIONS
from eckart.metrics import METRICS
from eckart.network.twins import TWINS
from eckart.runtimes import RUNTIMES
from extensions.layer_type import Mix
from extensions.metric import TOLERANCES
from extensions.registering import register
from extensions.twin import GatedUnit
from tolerances import tolerance


@pytest.fixture
def registered() -> Iterator[None]:
    tables: list[dict[str, Any]] = [LAYER_TYPES, TWINS, METHODS, SELECTIONS, COSTS]
    tables += [METRICS, RUNTIMES]
    before = [dict(table) for table in tables]
    register()
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    convolutions = (nn.Conv1d(3, 16, 5, padding=2), nn.ReLU(), nn.Conv1d(16, 16, 3, stride=2))
    return nn.Sequential(*convolutions, nn.ReLU(), nn.Flatten(), nn.Linear(16 * 9, 4)).eval()


def mixing() -> nn.Sequential:
    torch.manual_seed(0)
    layers = (Mix(3, 16), nn.ReLU(), Mix(16, 16), nn.ReLU(), Mix(16, 2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(40, 4)).eval()


@pytest.mark.usefixtures("registered")
def test_a_layer_type_goes_from_calibration_to_a_saved_network(tmp_path: Path):
    model, x = mixing(), torch.randn(32, 3, 20)
    smaller = compress(model, [x], keep=0.6, methods=["weighted_svd"])
    assert type(smaller.model[2]) is Factored
    assert [type(layer) for layer in smaller.model[2]] == [Mix, Mix]
    save(smaller.model, tmp_path)
    assert torch.equal(load(mixing(), tmp_path)(x), smaller.model(x))
    torch.testing.assert_close(
        merge(smaller.model)(x), smaller.model(x), **tolerance(torch.float32)
    )


def gated() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(GatedUnit(12, 16), nn.ReLU(), nn.Linear(16, 4)).eval()


@pytest.mark.usefixtures("registered")
def test_a_twin_goes_from_calibration_to_a_saved_network_and_back(tmp_path: Path):
    model, x = gated(), torch.randn(64, 12)
    smaller = compress(model, [x], keep=0.6, methods=["weighted_svd"])
    assert {"0.value", "0.gate"} & smaller.plan.choices.keys()
    save(smaller.model, tmp_path)
    assert torch.equal(load(gated(), tmp_path)(x), smaller.model(x))
    dense = merge(smaller.model)
    assert type(dense[0]) is GatedUnit
    torch.testing.assert_close(dense(x), smaller.model(x), **tolerance(torch.float32))


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


@pytest.mark.usefixtures("registered")
def test_an_output_metric_weighs_what_is_calibrated():
    model, x = nn.Sequential(nn.Linear(6, 4)), torch.randn(4000, 6)
    weights = calibrate(model, [x], metric="in_tolerances").g("0")[0].diagonal()
    torch.testing.assert_close(weights.float(), TOLERANCES**-2, rtol=0.1, atol=0)


@pytest.mark.usefixtures("registered")
def test_a_runtime_is_profiled_and_measured():
    model, x = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4)), torch.randn(32, 16)
    timings = profile(model, calibrate(model, [x]), runtime="bfloat16", batch=8, threads=1)
    assert 0 < timings.dense_ms < 100
    assert str(timings.terms) == "bfloat16, batch 8, 1 thread"
    assert measure(model, x, runtime="bfloat16").terms == "bfloat16, batch 32, 1 thread"
