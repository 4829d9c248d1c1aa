"""Timings against a runtime whose costs are known, and against two real ones."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import eckart
from eckart.errors import InputError, MismatchError
from eckart.methods import low_rank_form, offered_methods, spatial_form
from eckart.records import Form, Piece
from eckart.records.timings import Timings
from eckart.runtimes import RUNTIMES, Ladder, register_runtime
from known_runtime import OVERHEAD_MS, KnownRuntime, known, known_ms  # noqa: F401

BATCH = 4


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    ).eval()


@pytest.fixture(scope="module")
def moments(network: nn.Module) -> eckart.Moments:
    torch.manual_seed(0)
    return eckart.calibrate(network, [torch.randn(16, 3, 12, 12)], progress=False)


def expected_ms(form: Form, size: tuple[int, ...]) -> float:
    total = 0.0
    for piece in form.pieces:
        total += known_ms(piece, size, BATCH)
        size = piece.output_size(size)
    return total


def test_what_was_timed_is_exact(network, moments, known: KnownRuntime):  # noqa: F811
    timings = eckart.profile(network, moments, runtime="known", batch=BATCH, threads=1)
    spec = moments.specs["3"]
    for form in (
        spec.dense,
        low_rank_form(spec.piece, 16),
        spatial_form(spec.piece, (0,), 8),
        spatial_form(spec.piece, (1,), 24),
        Form((replace(spec.piece, inputs=8),)),
    ):
        assert timings.layer_ms(spec, form) == pytest.approx(expected_ms(form, (12, 12)))
    linear = moments.specs["7"]
    assert timings.layer_ms(linear, low_rank_form(linear.piece, 8)) == pytest.approx(
        expected_ms(low_rank_form(linear.piece, 8), (1,))
    )


def test_whole_networks_give_the_constant_and_the_factor(network, moments, known):  # noqa: F811
    timings = eckart.profile(network, moments, runtime="known", batch=BATCH, threads=1)
    assert timings.factor == pytest.approx(1.0, rel=0.01)  # one rank was not timed: the next was
    assert timings.constant == pytest.approx(OVERHEAD_MS, rel=0.2)
    assert timings.dense_ms == pytest.approx(
        known.network_ms(network, torch.randn(BATCH, 3, 12, 12))
    )
    assert timings.noise == pytest.approx(0.0)
    assert len(timings.whole) == 4


def test_a_width_in_between_costs_what_the_dearer_neighbour_does(network, moments, known):  # noqa: F811
    timings = eckart.profile(network, moments, runtime="known", batch=BATCH, threads=1)
    spec = moments.specs["3"]
    between, timed = (timings.layer_ms(spec, low_rank_form(spec.piece, r)) for r in (13, 16))
    assert between == timed
    assert timings.layer_ms(spec, low_rank_form(spec.piece, 200)) == float("inf")


def test_disturbed_samples_do_not_change_the_times(network, moments, known):  # noqa: F811
    quiet = eckart.profile(network, moments, runtime="known", batch=BATCH, threads=1)
    known.jitter = lambda passes: 3.0 if (passes * 2654435761 >> 16) % 4 == 0 else 0.0
    busy = eckart.profile(network, moments, runtime="known", batch=BATCH, threads=1)
    for one, other in zip(quiet.surfaces, busy.surfaces, strict=True):
        torch.testing.assert_close(torch.tensor(other.ms), torch.tensor(one.ms))
    assert busy.factor == pytest.approx(quiet.factor)


def test_an_interrupted_profile_goes_on_where_it_stopped(
    network,
    moments,
    known,  # noqa: F811
    tmp_path: Path,
):
    path = tmp_path / "timings.json"
    whole = eckart.profile(network, moments, runtime="known", batch=BATCH, threads=1)
    known.jitter = stops_at(known.passes + 2000)
    with pytest.raises(KeyboardInterrupt):
        eckart.profile(network, moments, runtime="known", batch=BATCH, threads=1, path=path)
    begun = Timings.load(path)
    assert 0 < len(begun.surfaces) < len(whole.surfaces)
    with pytest.raises(InputError, match="not complete"):
        _ = begun.dense_ms
    known.jitter = lambda passes: 0.0
    before = known.passes
    found = eckart.profile(network, moments, runtime="known", batch=BATCH, threads=1, path=path)
    for one, other in zip(whole.surfaces, found.surfaces, strict=True):
        torch.testing.assert_close(torch.tensor(other.ms), torch.tensor(one.ms))
    assert Timings.load(path) == found
    passes = known.passes
    assert passes > before
    eckart.profile(network, moments, runtime="known", batch=BATCH, threads=1, path=path)
    assert known.passes == passes  # nothing was left to do


def stops_at(last: int):
    def jitter(passes: int) -> float:
        if passes > last:
            raise KeyboardInterrupt
        return 0.0

    return jitter


def test_a_file_on_other_terms_is_refused(network, moments, known, tmp_path):  # noqa: F811
    path = tmp_path / "timings.json"
    eckart.profile(network, moments, runtime="known", batch=BATCH, threads=1, path=path)
    with pytest.raises(MismatchError, match="batch 4 instead of 8"):
        eckart.profile(network, moments, runtime="known", batch=8, threads=1, path=path)
    with pytest.raises(MismatchError, match="runtime 'known' instead of 'eager'"):
        eckart.profile(network, moments, batch=BATCH, threads=1, path=path)


def test_timings_of_another_network_are_refused(network, moments, known):  # noqa: F811
    timings = eckart.profile(network, moments, runtime="known", batch=BATCH, threads=1)
    options = eckart.curves(network, moments, methods=["weighted_svd"], progress=False)
    strange = replace(timings, terms=replace(timings.terms, fingerprint="another"))
    with pytest.raises(MismatchError, match="fingerprint 'another' instead of"):
        options.timed(strange)


def test_timings_survive_json(network, moments, known):  # noqa: F811
    timings = eckart.profile(network, moments, runtime="known", batch=BATCH, threads=1)
    again = Timings.from_json(json.loads(json.dumps(timings.as_json())))
    assert again == timings
    spec = moments.specs["3"]
    assert again.ms(spec, spec.dense) == timings.ms(spec, spec.dense)


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()).eval()


def test_a_real_runtime():
    network = small()
    moments = eckart.calibrate(network, [torch.randn(8, 4, 16, 16)], metric=None, progress=False)
    timings = eckart.profile(network, moments, batch=16, threads=1)
    spec = moments.specs["0"]
    assert 0 < timings.ms(spec, spec.dense) <= timings.dense_ms < 100
    assert timings.terms.runtime == "eager"
    assert timings.passing.keys() == {"16×16"}


def test_onnxruntime_runs_a_network():
    """One export, which takes seconds, so nothing else is tested with it."""
    for package in RUNTIMES["onnxruntime"].packages:
        pytest.importorskip(package)

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small()

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.inner(x + y)

    inputs = (torch.randn(2, 4, 16, 16), torch.randn(2, 4, 16, 16))  # and no target
    found = eckart.measure(Sum(), inputs, runtime="onnxruntime", threads=1)
    assert found.latency_ms is not None
    assert 0 < found.latency_ms < 100
    assert found.terms == "onnxruntime, batch 2, 1 thread"


@pytest.mark.parametrize("runtime", ["eager", "onnxruntime", "openvino"])
@pytest.mark.parametrize(
    "piece", [Piece(4, 8), Piece(4, 8, (3, 1), stride=(1, 1), padding=(1, 0), dilation=(1, 1))]
)
def test_ladders_run(runtime: str, piece: Piece):
    for package in RUNTIMES[runtime].packages:
        pytest.importorskip(package)
    size = (6, 5) if piece.kernel else (3,)
    ladder = Ladder(piece, size, 2, 3, torch.float32, torch.device("cpu"))
    assert ladder.shape == ((2, 4, 6, 5) if piece.kernel else (2, 3, 4))
    RUNTIMES[runtime].ladder(ladder, 1)()


def test_a_missing_package_says_what_to_install(network, moments):
    register_runtime(replace(RUNTIMES["eager"], name="far", packages=("no_such_one",), extra="far"))
    try:
        with pytest.raises(InputError, match=r"'no_such_one'.*pip install 'eckart\[far\]'"):
            eckart.profile(network, moments, runtime="far")
    finally:
        del RUNTIMES["far"]
    with pytest.raises(InputError, match=r"unknown runtime 'fast'; known: .*onnxruntime"):
        eckart.profile(network, moments, runtime="fast")


def test_milliseconds_bring_a_method_of_their_own(network):
    offered = offered_methods(network, limits=["ms"])
    assert "tucker2" in offered.methods
    assert {"cp", "rounding"} <= offered.withheld.keys()
    assert "tucker2" not in offered_methods(network, limits=["macs"]).methods
    assert "tucker2" not in offered_methods(network, ["spatial"], ["ms"]).methods
