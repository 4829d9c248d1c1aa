"""Arguments of the wrong kind are refused by name, before anything costly is done."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import eckart
from eckart.errors import InputError

MODEL = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 2))
BATCHES = [torch.randn(8, 6)]


@pytest.fixture(scope="module")
def moments() -> eckart.Moments:
    return eckart.calibrate(MODEL, BATCHES)


@pytest.mark.parametrize("model", [None, "resnet18", Path("weights"), 3])
@pytest.mark.parametrize("call", ["calibrate", "compress", "save", "measure", "factorize"])
def test_what_is_no_network(call: str, model: Any, tmp_path: Path):
    calls: dict[str, Any] = {
        "calibrate": lambda: eckart.calibrate(model, BATCHES),
        "compress": lambda: eckart.compress(model, BATCHES, keep=0.5),
        "save": lambda: eckart.save(model, tmp_path),
        "measure": lambda: eckart.measure(model, BATCHES[0]),
        "factorize": lambda: eckart.factorize(model, rank=1),
    }
    with pytest.raises(InputError, match=r"model= is an? \w+, and has to be Module"):
        calls[call]()


def test_weights_in_place_of_their_network():
    with pytest.raises(InputError, match=r"build the network, .* load_state_dict\(\)"):
        eckart.calibrate(MODEL.state_dict(), BATCHES)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batches": None}, "batches= is a NoneType, and has to be Iterable"),
        ({"batches": 3}, "batches= is an int"),
        ({"seed": "0"}, "seed= is a str, and has to be int"),
        ({"seed": True}, "seed= is a bool"),
        ({"first_batch": 0.5}, "first_batch= is a float, and has to be int"),
        ({"metric": 3}, "metric= is an int, and has to be Callable"),
        ({"outputs": 3}, "outputs=3: expected a name, or several"),
        ({"layers": 3}, "layers=3: expected a name, or several"),
        ({"layers": [3]}, r"layers=\[3\]: expected a name, or several"),
    ],
    ids=str,
)
def test_calibrate(wrong: dict[str, Any], message: str):
    given: dict[str, Any] = {"batches": BATCHES, **wrong}
    with pytest.raises(InputError, match=message):
        eckart.calibrate(MODEL, given.pop("batches"), **given)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"keep": "half"}, "keep= is a str, and has to be float"),
        ({"budget": 0.5}, "budget= is a float, and has to be Budget"),
        ({"keep": 0.5, "offer": "svd"}, "offer='svd': expected an Offer"),
        ({"keep": 0.5, "timings": "t.json"}, r"timings= is a str.*read a file with Timings\.load"),
        ({"keep": 0.5, "heal": 3}, "heal=3: expected a name, or several"),
    ],
    ids=str,
)
def test_compress(wrong: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        eckart.compress(MODEL, BATCHES, **wrong)


def test_files_in_place_of_what_is_in_them(moments: eckart.Moments):
    options = eckart.curves(MODEL, moments)
    plan: Any = "plan.json"
    with pytest.raises(InputError, match=r"moments= is a str.*Moments\.load\(path\)"):
        eckart.curves(MODEL, "moments.safetensors")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"plan= is a str.*Plan\.loads\(Path\(path\)"):
        eckart.apply(MODEL, plan, moments)
    with pytest.raises(InputError, match=r"curves= is a str, and has to be Curves"):
        eckart.allocate("curves.json", eckart.Budget(params=0.5))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="budget= is a float, and has to be Budget"):
        eckart.allocate(options, 0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"threads": "two"}, {"seconds": None}, {"evaluate": 0.9}])
def test_measure(wrong: dict[str, Any]):
    with pytest.raises(InputError, match=f"{next(iter(wrong))}= is an? "):
        eckart.measure(MODEL, BATCHES[0], **wrong)


def test_numbers_of_numpy_are_numbers(moments: eckart.Moments):
    numpy = pytest.importorskip("numpy")
    again = eckart.calibrate(MODEL, BATCHES, seed=numpy.int64(0))
    assert torch.equal(again.a("0"), moments.a("0"))
    smaller = eckart.compress(MODEL, moments, keep=numpy.float32(0.7), latency=False)
    assert smaller.plan.costs["params"] <= 0.7 * smaller.plan.totals["params"]
