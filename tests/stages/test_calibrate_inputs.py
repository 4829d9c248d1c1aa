"""What calibration takes: batches and outputs of every form, each read once."""

from collections import namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eckart import calibrate
from eckart.errors import InputError, NonFiniteError
from stages.networks import Scaled, SmallCnn, mlp
from tolerances import tolerance

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(6) % 3


@pytest.mark.parametrize(
    "batch",
    [
        X,
        [X],
        (X,),
        (X, Y),
        [X, Y],
        {"x": X},
        ({"x": X}, Y),
        ((X, torch.ones(6, 1)),),
        ((X, torch.ones(6, 1)), Y),
        {"x": X, "scale": torch.ones(6, 1)},
        {"x": X, "scale": torch.tensor(1.0)},
        namedtuple("Pair", "inputs targets")(X, Y),
        (namedtuple("Inputs", "x scale")(X, torch.ones(6, 1)), Y),
    ],
    ids=lambda batch: type(batch).__name__,
)
def test_inputs_enter_as_they_should(batch: Any, tmp_path):
    moments = calibrate(Scaled(), [batch])
    assert moments.examples == 6
    torch.testing.assert_close(
        moments.a("fc")[0], (X.T @ X / 6).double(), **tolerance(torch.float32)
    )
    moments.save(tmp_path / "moments")  # the example's structure can be written


@pytest.mark.parametrize("length", [1, 3])
def test_the_loader_is_read_once(length: int):
    class Counting:
        passes = items = 0

        def __iter__(self) -> Iterator[Tensor]:
            self.passes += 1
            for _ in range(length):
                self.items += 1
                yield X

    loader = Counting()
    calibrate(mlp(4, 3, 2), loader)
    assert (loader.passes, loader.items) == (1, length)


def test_a_generator_works_and_is_used_up():
    source = (X for _ in range(2))
    assert calibrate(mlp(4, 3, 2), source).batches == 2
    assert next(source, None) is None


def test_batches_of_different_shapes():
    batches = [torch.randn(2, 3, 9, 8), torch.randn(3, 3, 12, 7), torch.randn(1, 3, 5, 5)]
    moments = calibrate(SmallCnn(), batches)
    assert moments.rows["conv1"] == 2 * 72 + 3 * 84 + 25
    assert moments.specs["conv1"].sizes == ((9, 8),)


def test_token_batches_of_different_lengths():
    model = nn.Sequential(nn.Embedding(11, 4), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 11))
    batches = [torch.randint(11, (2, length)) for length in (7, 3)]
    moments = calibrate(model, batches)
    assert set(moments.specs) == {"0", "1", "3"}
    assert moments.rows["0"] == moments.rows["1"] == 20
    assert moments.examples == 4


@dataclass
class Output:
    logits: Tensor


@pytest.mark.parametrize(
    "wrap",
    [lambda t: t, lambda t: {"logits": t}, Output, lambda t: (t, None), lambda t: [t, t]],
    ids=["tensor", "dict", "dataclass", "tuple", "list"],
)
def test_logits_are_found_in_any_output(wrap: Any):
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Any:
            return wrap(self.fc(x))

    moments = calibrate(Wrapped(), [X], metric="logits")
    assert float(moments.g("fc").diagonal(dim1=1, dim2=2).sum()) > 0


def test_an_output_without_logits_is_refused():
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Any:
            return {"scores": self.fc(x)}

    with pytest.raises(InputError, match=r"no logits in an output of type dict.*metric="):
        calibrate(Wrapped(), [X], metric="logits")
    assert calibrate(Wrapped(), [X]).scales == {"scores": 1.0}
    assert calibrate(Wrapped(), [X], metric=None).batches == 1


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "the loader gave no batch"),
        (iter([]), "the loader gave no batch"),
        ([X, X[:0]], "a batch holds no example"),
        ([{"x": 3}], "no tensor with a batch axis"),
        ([torch.tensor(1.0)], "no tensor with a batch axis"),
    ],
    ids=["empty list", "empty iterator", "empty batch", "no tensor", "a number"],
)
def test_what_holds_no_example_is_refused(batches: Any, message: str):
    with pytest.raises(InputError, match=message):
        calibrate(Scaled(), batches)


def test_not_a_number_in_the_data_names_the_first_layer():
    with pytest.raises(NonFiniteError, match="the inputs of layer '0'"):
        calibrate(mlp(4, 3, 2), [X, X.index_fill(0, torch.tensor([2]), torch.nan)])


def test_infinite_activations_name_the_layer_that_reads_them():
    class Reciprocal(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / 0

    model = nn.Sequential(nn.Linear(4, 3), Reciprocal(), nn.Linear(3, 2))
    with pytest.raises(NonFiniteError, match="the inputs of layer '2'"):
        calibrate(model, [X])


def test_gradients_that_are_not_numbers_name_the_layer():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.zero_()

    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 0).sqrt() * 0  # 0 · inf in the backward pass

    with pytest.raises(NonFiniteError, match="gradients at the outputs of layer '1'"):
        calibrate(nn.Sequential(*model, Root()), [X])


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_weights_that_are_not_numbers_name_the_layer(kind: str, value: float):
    model = mlp(4, 3, 2)
    with torch.no_grad():
        getattr(model[2], kind).view(-1)[1] = value
    with pytest.raises(NonFiniteError, match=f"layer '2': its {kind}"):
        calibrate(model, [X])
    assert set(calibrate(mlp(4, 3, 2), [X], layers=["0"]).specs) == {"0"}


def test_the_layers_to_include_are_names_or_patterns():
    model = SmallCnn()
    batches = [torch.randn(2, 3, 9, 8)]
    moments = calibrate(model, batches, layers=["fc2", "conv*"])
    assert set(moments.specs) == {"conv1", "conv2", "fc2"}
    assert moments.skipped["fc1"] == "not among layers="
    assert set(calibrate(model, batches, layers="fc1").specs) == {"fc1"}


def test_an_unknown_layer_lists_the_known_ones():
    with pytest.raises(InputError, match=r"no layer matches 'fc3'; layers are: conv1, conv2, fc1"):
        calibrate(SmallCnn(), [torch.randn(2, 3, 9, 8)], layers=["fc3"])


class Mixing(nn.Module):
    """A layer of a type of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.cumsum(-1)[..., None] * self.weight[: x.shape[-1], :].sum()


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (nn.Sequential(nn.ReLU()), "it has no matrix at all"),
        (nn.Linear(4, 3), "wrap it in nn.Sequential"),
        (nn.Sequential(Mixing()), "no layer type is registered for .*Mixing"),
    ],
    ids=["no matrix", "the root", "unknown type"],
)
def test_a_network_without_a_layer_to_compress_is_refused(model: nn.Module, reason: str):
    with pytest.raises(InputError, match=f"no layer of this network can be compressed.*{reason}"):
        calibrate(model, [X])
