"""Inputs that are one object: a mapping by position, named tuples, packed sequences, graphs."""

from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from eckart import Moments, calibrate, compress, measure
from eckart.errors import InputError
from eckart.running.batches import call, examples_in, first_examples, mapped, tensors_in
from tolerances import tolerance

pytestmark = pytest.mark.filterwarnings("ignore::eckart.errors.NoGainWarning")
X = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
SCALE = torch.linspace(0.5, 1.5, 12)[:, None]
Both = namedtuple("Both", "x scale")


@dataclass(frozen=True)
class Batch:
    x: Tensor
    scale: Tensor
    name: str = "batch"


class Store(dict[str, Any]):
    """What a graph of another library keeps its tensors in."""


class Plain:
    """An object with tensors in what it holds, and with a method."""

    def __init__(self, x: Tensor, scale: Tensor) -> None:
        self._store = Store(x=x, scale=scale)

    @property
    def x(self) -> Tensor:
        return self._store["x"]

    @property
    def scale(self) -> Tensor:
        return self._store["scale"]


class OneArgument(nn.Module):
    """Reads its only argument in some way."""

    def __init__(self, read: Callable[[Any], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.read = nn.Sequential(nn.Linear(8, 24), nn.Tanh(), nn.Linear(24, 5)), read

    def forward(self, batch: Any) -> Tensor:
        x, scale = self.read(batch)
        return self.body(x * scale)


def by_attribute(batch: Any) -> tuple[Tensor, Tensor]:
    return batch.x, batch.scale


def by_key(batch: Any) -> tuple[Tensor, Tensor]:
    return batch["x"], batch["scale"]


KINDS: Mapping[str, tuple[Any, Any]] = {
    "mapping": (by_key, {"x": X, "scale": SCALE}),
    "mapping in a tuple": (by_key, ({"x": X, "scale": SCALE},)),
    "mapping with targets": (by_key, ({"x": X, "scale": SCALE}, torch.zeros(12))),
    "named tuple": (by_attribute, ((Both(X, SCALE),), None)),
    "dataclass": (by_attribute, Batch(X, SCALE)),
    "dataclass with targets": (by_attribute, (Batch(X, SCALE), torch.zeros(12))),
    "object": (by_attribute, Plain(X, SCALE)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_one_argument_and_can_be_cut_to_one_example(kind: str, tmp_path: Path):
    read, batch = KINDS[kind]
    model = OneArgument(read)
    moments = calibrate(model, [batch])
    assert (moments.examples, moments.whole_batches) == (12, False)
    expected = (X * SCALE).T @ (X * SCALE) / 12
    torch.testing.assert_close(
        moments.a("body.0")[0], expected.double(), **tolerance(torch.float32)
    )
    assert moments.specs["body.0"].sizes == ((1,),)
    smaller = compress(model, moments, keep=0.6, latency=False)
    assert sum(p.numel() for p in smaller.model.parameters()) <= 0.6 * (8 * 24 + 24 * 5 + 29)
    inputs = batch[0] if isinstance(batch, tuple) and len(batch) == 2 else batch
    assert measure(smaller.model, inputs, seconds=0.01).batch == 12


@pytest.mark.parametrize("kind", ["mapping", "named tuple"])
def test_moments_with_it_are_saved(kind: str, tmp_path: Path):
    read, batch = KINDS[kind]
    model = OneArgument(read)
    calibrate(model, [batch]).save(tmp_path / "moments")
    again = Moments.load(tmp_path / "moments")
    torch.testing.assert_close(
        call(model, again.example), call(model, calibrate(model, [batch]).example)
    )


@pytest.mark.parametrize("kind", ["dataclass", "object"])
def test_an_object_of_a_class_of_its_own_is_not_saved(kind: str, tmp_path: Path):
    read, batch = KINDS[kind]
    moments = calibrate(OneArgument(read), [batch])
    with pytest.raises(InputError, match=r"cannot be saved .* tuples, lists and dicts"):
        moments.save(tmp_path / "moments")


@pytest.mark.parametrize("batch", [Batch(X, SCALE), Plain(X, SCALE), Both(X, SCALE)])
def test_a_change_of_all_tensors_keeps_the_class_and_the_original(batch: Any):
    changed = mapped(batch, lambda tensor: tensor.double())
    assert type(changed) is type(batch)
    assert (changed.x.dtype, batch.x.dtype) == (torch.float64, torch.float32)
    assert [len(t) for t in tensors_in(first_examples(batch), objects=True)] == [1, 1]
    assert len(batch.x) == examples_in(batch) == 12


class Packed(nn.Module):
    """The last state of sequences of different lengths."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gru, self.out = nn.GRU(8, 16, batch_first=True), nn.Linear(16, 3)

    def forward(self, packed: PackedSequence) -> Tensor:
        return self.out(self.gru(packed)[1][0])


@pytest.mark.parametrize("wrap", [lambda p: p, lambda p: ((p,), None)], ids=["alone", "pair"])
def test_a_packed_sequence_is_one_argument_and_stays_whole(wrap: Any, tmp_path: Path):
    lengths = torch.tensor([6, 4, 3, 2])
    packed = pack_padded_sequence(X[:, None].expand(12, 6, 8)[:4], lengths, batch_first=True)
    model = Packed()
    moments = calibrate(model, [wrap(packed)])
    assert (moments.examples, moments.whole_batches) == (4, True)
    assert moments.rows["gru.layers.0.input"] == 15
    compress(model, moments, keep=0.6, latency=False)
    moments.save(tmp_path / "moments")
    again = Moments.load(tmp_path / "moments").example
    torch.testing.assert_close(call(model, again), model(packed))


class Mixing(nn.Module):
    """Nodes that take in their neighbours through a sparse matrix."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.out = nn.Linear(8, 24), nn.Linear(24, 4)

    def forward(self, x: Tensor, neighbours: Tensor) -> Tensor:
        return self.out(torch.sparse.mm(neighbours, self.first(x)).relu())


def test_a_graph_with_a_sparse_matrix_is_not_cut():
    neighbours = (X[:, :1] * X[:, 0] > 0).float().to_sparse()
    model = Mixing()
    moments = calibrate(model, [((X, neighbours), None)])
    assert (moments.examples, moments.whole_batches) == (12, True)
    smaller = compress(model, moments, keep=0.6, latency=False).model
    assert smaller(X, neighbours).shape == (12, 4)


def test_a_mapping_with_a_name_that_forward_has_goes_in_by_keyword():
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(8, 3)

        def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
            return self.fc(x if scale is None else x * scale)

    model = Named()
    torch.testing.assert_close(call(model, {"x": X, "scale": SCALE}), model(X, SCALE))
    torch.testing.assert_close(call(model, Both(X, SCALE)), model(X, SCALE))
    with pytest.raises(InputError, match="unexpected keyword argument 'other'"):
        calibrate(model, [{"x": X, "other": SCALE}])
