"""Groups of channels are tried on several examples, in both modes, and within a time."""

import time
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eckart import allocate, apply, calibrate, curves
from eckart.network.channel_groups import coupling
from eckart.network.verifying import Verification
from eckart.records import Budget
from eckart.running.batches import call
from eckart.running.deadline import Deadline, TimeUp
from stages.networks import mlp

X = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))


class Twice(nn.Module):
    """Calls its middle layer again where the inputs are large."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.middle, self.last = nn.Linear(8, 12), nn.Linear(12, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.middle(self.first(x).relu()).relu()
        if x.mean() > 1:
            h = self.middle(h).relu()
        return self.last(h)


def test_a_layer_that_is_called_once_or_twice_keeps_its_channels():
    model, batches = Twice(), [X, X + 3]
    moments = calibrate(model, batches)
    assert moments.calls == {"first": (1, 1), "middle": (1, 2), "last": (1, 1)}
    found = curves(model, moments)
    assert not found.groups
    assert all("middle is called 1 to 2 times" in why for why in found.whole.values())
    smaller = apply(model, allocate(found, Budget(params=0.7)), moments)
    for batch in batches:
        assert call(smaller, batch).shape == (16, 3)


def test_calls_are_counted_over_all_parts_of_the_data():
    model = Twice()
    one, other = calibrate(model, [X]), calibrate(model, [X + 3], first_batch=1)
    assert one.calls["middle"] == (1, 1)
    assert (one + other).calls["middle"] == (1, 2)


class Mixing(nn.Module):
    """Two layers, and a buffer that can read the channels between them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(8, 12), nn.Linear(12, 3)
        self.register_buffer("mixing", torch.randn(12, 3))


class Rare(Mixing):
    """Adds a path that reads the channels where the first input is positive."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x).relu()
        rare = x[:, 0] > 0
        return self.last(h) + (h[rare] @ self.mixing).sum() if bool(rare.any()) else self.last(h)


def test_groups_are_tried_on_more_than_one_example():
    x = X.clone()
    x[:, 0] = -1.0
    assert [group.name for group in coupling(Rare(), x[:1], sample=[x]).groups] == ["first"]
    x[1, 0] = 1.0
    result = coupling(Rare(), x[:1], sample=[x])
    assert not result.groups
    assert "does not give the same outputs" in result.refused["first"]


class Trained(Mixing):
    """Reads its hidden channels by another way in train mode."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x).relu()
        return self.last(h) + h @ self.mixing if self.training else self.last(h)


def test_groups_are_tried_in_train_mode_too():
    assert not coupling(Trained(), X[:1], sample=[X]).groups
    assert coupling(Trained(), X[:1]).groups


@pytest.mark.parametrize(
    "between",
    [nn.Dropout(0.5), nn.BatchNorm1d(12), nn.Sequential(nn.BatchNorm1d(12), nn.Dropout(0.5))],
    ids=["dropout", "batch norm", "both"],
)
def test_chance_and_batch_statistics_are_no_reason_against_a_group(between: nn.Module):
    model = nn.Sequential(nn.Linear(8, 12), between, nn.ReLU(), nn.Linear(12, 3)).eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    (group,) = coupling(model, X[:1], sample=[X]).groups
    assert group.name == "0"
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_whether_a_network_gives_the_same_twice_is_asked_where_something_differs():
    passes = []

    class Counted(Mixing):
        def forward(self, x: Tensor) -> Tensor:
            passes.append(len(x))
            return self.last(self.first(x).relu())

    assert coupling(Counted(), X[:1], sample=[X, X]).groups
    assert passes.count(2) == 2 * 4  # removed and masked: two batches in two modes


def test_a_network_that_trains_on_other_inputs_is_tried_in_eval_mode():
    class Targets(Trained):
        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                raise ValueError("in training mode, targets should be passed")
            return super().forward(x)

    assert [group.name for group in coupling(Targets(), X[:1], sample=[X]).groups] == ["first"]


class Endless(nn.Module):
    """Takes for ever where gradients are taken, as tracing does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = mlp(8, 12, 3)

    def forward(self, x: Tensor) -> Tensor:
        while torch.is_grad_enabled():
            time.sleep(0.001)
        return self.inner(x)


def test_tracing_ends_and_says_so():
    start = time.monotonic()
    result = coupling(Endless(), X[:1], seconds=0.4)
    assert time.monotonic() - start < 5
    assert result.refused == {"channels": "tracing did not end within 0.2 s, so all channels stay"}


def test_what_was_not_verified_in_time_is_named(monkeypatch: pytest.MonkeyPatch):
    def late(*_: Any) -> bool:
        raise TimeUp

    monkeypatch.setattr(Verification, "_all_true", late)
    result = coupling(mlp(8, 12, 12, 3), X[:1])
    assert not result.groups
    assert result.refused == dict.fromkeys(["0", "2"], "it was not verified within 120 s")


def test_nothing_is_tried_after_the_deadline():
    (group,) = coupling(mlp(8, 12, 3), X[:1]).groups
    verification = Verification(mlp(8, 12, 3), X[:1], (), False, Deadline(-1.0))
    assert verification.verified([group]) == []
    assert verification.given_up == [group]


def test_a_deadline_stops_code_that_catches_everything():
    def careless() -> Any:
        while True:
            try:
                time.sleep(0.001)
            except Exception:
                continue

    with pytest.raises(TimeUp), Deadline(0.05).interrupting():
        careless()


@dataclass
class Found:
    scores: Tensor


class Summed(Mixing):
    """Returns a dataclass, and reads its hidden channels by a sum of any number of them."""

    def forward(self, x: Tensor) -> Found:
        h = self.first(x).relu()
        return Found(self.last(h) + h.sum(1, keepdim=True))


def test_outputs_in_a_dataclass_are_compared():
    groups = coupling(Trained(), X[:1]).groups
    assert [group.name for group in groups] == ["first"]
    assert not Verification(Summed(), X[:1], [X], False, Deadline(60)).verified(groups)


class Alternating(nn.Module):
    """Hidden channels, in turn of a kind that can be removed and of one that a sum reads too."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        widths = [12, 10] * (blocks // 2)
        self.first = nn.ModuleList(nn.Linear(8, width) for width in widths)
        self.last = nn.ModuleList(nn.Linear(width, 8) for width in widths)
        self.register_buffer("mixing", torch.randn(10))

    def forward(self, x: Tensor) -> Tensor:
        for at, (first, last) in enumerate(zip(self.first, self.last, strict=True)):
            h = first(x).relu()
            x = x + last(h) + ((h @ self.mixing)[:, None] if at % 2 else 0)
        return x


def test_groups_of_a_kind_are_tried_together(monkeypatch: pytest.MonkeyPatch):
    tried, run = [], Verification._all_true

    def counted(self: Verification, groups: Any) -> bool:
        tried.append([group.size for group in groups])
        return run(self, groups)

    monkeypatch.setattr(Verification, "_all_true", counted)
    groups = coupling(Alternating(8), X[:1]).groups
    assert {group.name for group in groups} == {f"first.{i}" for i in (0, 2, 4, 6)}
    assert [12] * 4 in tried  # all of the right kind at once, whatever their order is
    assert not [sizes for sizes in tried[1:] if len(set(sizes)) > 1]
