"""What calibration keeps, and what it says, when a batch or a network fails."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from eckart import accuracy, calibrate
from eckart.errors import InputError, NonFiniteError
from eckart.network.identity import fingerprint


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


def test_an_error_in_a_batch_carries_the_moments_of_those_before():
    model, good = network(), [torch.randn(4, 6) for _ in range(3)]
    with pytest.raises(NonFiniteError) as caught:
        calibrate(model, [*good, torch.full((4, 6), float("nan"))])
    kept, whole = caught.value.moments, calibrate(model, good)
    assert kept.batches == 3
    for name in whole.specs:
        assert torch.equal(kept.a(name), whole.a(name))
        assert torch.equal(kept.g(name), whole.g(name))


def test_a_network_that_runs_on_batches_of_one_length_has_costs_per_batch():
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x.view(4, 6))

    moments = calibrate(Fixed(), [torch.randn(4, 6)])
    assert moments.whole_batches
    assert moments.model_costs["macs"] == 4 * 6 * 3


def test_a_layer_that_no_row_reaches_stays_dense():
    class Routed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.unused = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.first(x) + self.unused(x[:0]).sum()

    moments = calibrate(Routed(), [torch.randn(4, 6)], metric=None)
    assert moments.skipped == {"unused": "no row reached it in calibration"}


def test_buffers_that_are_assigned_anew_come_back():
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(6, 3)
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.count = self.count + 1
            return self.inner(x)

    model = Counting()
    before = model.count
    calibrate(model, [torch.randn(4, 6) for _ in range(3)])
    assert model.count is before
    assert model.count == 0


def test_the_fingerprint_knows_buffers():
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))
    before = fingerprint(model)
    model[1].running_mean += 5
    assert fingerprint(model) != before


def test_accuracy_knows_the_axis_of_the_classes():
    class Given(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    targets = torch.randint(0, 4, (2, 4, 4))
    perfect = nn.functional.one_hot(targets, 4).permute(0, 3, 1, 2).float()
    assert accuracy([(perfect, targets)])(Given()).value == 1.0
    with pytest.raises(InputError, match=r"\(3, 4\) and targets \(3, 1\)"):
        accuracy([(torch.randn(3, 4), torch.zeros(3, 1, dtype=torch.long))])(Given())


class Failing(nn.Sequential):
    """Runs so many times, and from then on fails."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        self.error, self.fails = error, False

    def forward(self, x: Tensor) -> Tensor:
        self.fails = self.fails or len(x) == 5
        if self.fails:
            raise self.error
        return super().forward(x)


@pytest.mark.parametrize("kept_in", ["memory", "a workspace"])
@pytest.mark.parametrize("error", [RuntimeError("out of order"), MemoryError()])
def test_a_network_that_fails_from_some_batch_on_loses_nothing(
    error: Exception, kept_in: str, tmp_path: Path
):
    batches = [torch.randn(n, 6) for n in (4, 3, 5, 4)]
    workspace = None if kept_in == "memory" else tmp_path / "work"
    with pytest.raises(type(error)) as caught:
        calibrate(Failing(error), batches, workspace=workspace)
    kept = caught.value.moments
    assert (kept.batches, kept.examples) == (2, 7)
    assert kept.specs.keys() == {"0", "2"}
    assert kept.model_costs["params"] == 6 * 8 + 8 + 8 * 3 + 3


def test_a_network_that_overwrites_what_its_gradient_needs_is_told_so():
    class Stateful(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            hidden = self[0](x).sigmoid()
            found = self[2](hidden * hidden)
            hidden.mul_(0.5)  # as a state that is carried on
            return found

    with pytest.raises(
        InputError, match=r"overwrites tensors in place.*use_cache=False.*metric=None"
    ):
        calibrate(Stateful(*network()), [torch.randn(4, 6)])
    assert calibrate(Stateful(*network()), [torch.randn(4, 6)], metric=None).specs.keys() == {
        "0",
        "2",
    }
