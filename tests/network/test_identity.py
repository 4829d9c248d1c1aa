"""The fingerprint sees every entry of every parameter and buffer, and nothing else."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from eckart.errors import InputError
from eckart.network.identity import fingerprint


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(60, 50), nn.BatchNorm1d(50), nn.Linear(50, 40, bias=False))


def with_buffer(buffer: Tensor) -> nn.Module:
    model = network()
    model.register_buffer("extra", buffer)
    return model


def test_every_entry_counts():
    """60 × 50 weights are more than any sample of a thousand that begins at the first."""
    model, seen = network(), set()
    weight = model[0].weight.data
    places = [(0, 1), (0, 59), (17, 33), (49, 58), (49, 59)]
    for row, column in places:
        weight[row, column] += 100
        seen.add(fingerprint(model))
    for row, column in places:
        weight[row, column] -= 100
    assert len(seen) == len(places)
    assert fingerprint(model) not in seen


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float64,
        torch.bfloat16,
        torch.float16,
        torch.float8_e4m3fn,
        torch.int8,
        torch.int64,
        torch.bool,
        torch.complex64,
    ],
)
def test_buffers_of_every_dtype_count(dtype: torch.dtype):
    values = torch.zeros(3000)
    before = fingerprint(with_buffer(values.to(dtype)))
    assert fingerprint(with_buffer(values.clone().to(dtype))) == before
    values[1] = 1
    assert fingerprint(with_buffer(values.to(dtype))) != before


def test_dtypes_shapes_and_names_count():
    zeros = torch.zeros(4)
    other = network()
    other.register_buffer("other", zeros)
    variants = [
        with_buffer(zeros),
        with_buffer(zeros.int()),
        with_buffer(zeros.reshape(2, 2)),
        other,
    ]
    assert len({fingerprint(model) for model in variants}) == 4


def test_modes_gradients_layouts_and_copies_do_not_count():
    model = network()
    before = fingerprint(model)
    changed = copy.deepcopy(model).train().requires_grad_(False)
    changed[0].weight.data = changed[0].weight.data.T.contiguous().T
    assert fingerprint(changed) == before


def made_in_inference_mode() -> Tensor:
    with torch.inference_mode():
        return torch.arange(6.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(1).expand(6),
        made_in_inference_mode,
        lambda: torch.eye(5).to_sparse(),
        lambda: torch.eye(5).to_sparse_csr(),
        lambda: torch.quantize_per_tensor(torch.arange(4.0), 0.5, 0, torch.qint8),
        lambda: torch.tensor([1 + 1j]).conj(),
    ],
    ids=["expanded", "inference", "sparse", "compressed", "quantised", "conjugate"],
)
@pytest.mark.filterwarnings("ignore")  # torch calls some of these layouts a prototype
def test_tensors_of_every_layout_count(make: Callable[[], Tensor]):
    buffer = make()
    before = fingerprint(with_buffer(buffer))
    assert fingerprint(with_buffer(make())) == before
    doubled = torch.quantize_per_tensor(torch.ones(4), 0.5, 0, torch.qint8)
    other = doubled if buffer.is_quantized else buffer * 2
    assert fingerprint(with_buffer(other)) != before


def test_what_holds_no_numbers_is_refused():
    with pytest.raises(InputError, match=r"'0\.weight' is on the meta device .*: load"):
        fingerprint(network().to("meta"))


def test_layers_that_were_never_called_may_be_lazy():
    assert fingerprint(nn.Sequential(nn.LazyLinear(3))) == fingerprint(nn.Sequential())
