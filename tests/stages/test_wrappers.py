"""Networks inside wrappers, of inference mode, and with buffers of every kind."""

import copy
import inspect
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import eckart
from eckart import Budget, allocate, apply, calibrate, compress, curves, measure
from eckart.errors import InputError
from eckart.factors import LearnedRanks
from eckart.network.wrappers import unwrapped
from eckart.running.hooks import untouched


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4)).eval()


WRAPPERS = {
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "parallel": nn.DataParallel,
    "both": lambda model: torch.compile(nn.DataParallel(model), backend="eager"),
}


@pytest.mark.parametrize("wrapped", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapped_network_is_the_one_inside(wrapped: Callable[[nn.Module], nn.Module]):
    plain, x = network(), torch.randn(32, 12)
    given = wrapped(plain)
    moments = calibrate(given, [x])
    assert moments.fingerprint == calibrate(plain, [x]).fingerprint
    assert moments.specs.keys() == {"0", "2"}
    plan = allocate(curves(given, moments), Budget(params=0.6))
    smaller = apply(given, plan, moments)
    again = compress(given, [x], keep=0.6)
    assert type(smaller) is type(again.model) is nn.Sequential
    assert torch.equal(smaller(x), again.model(x))
    assert unwrapped(given) is plain
    assert measure(given, x, latency=False) == measure(plain, x, latency=False)


@cache
def planned() -> tuple[eckart.Moments, eckart.Plan]:
    """Of the network alone; all that are made here are equal."""
    plain = network()
    moments = calibrate(plain, [torch.ones(8, 12).tril()])
    return moments, allocate(curves(plain, moments), Budget(params=0.6))


class Given:
    """A network, wrapped or not, and what the public functions want beside it."""

    def __init__(self, wrap: Callable[[nn.Module], nn.Module], folder: Path) -> None:
        self.plain, self.wrap, self.folder = network(), wrap, folder
        self.model, self.x = wrap(self.plain), torch.ones(8, 12).tril()
        self.moments, self.plan = planned()
        self.smaller = wrap(apply(self.plain, self.plan, self.moments))

    def score(self, model: nn.Module) -> float:
        assert type(model) is nn.Sequential, "the wrapper is off"
        return -float((model(self.x) - self.plain(self.x)).detach().square().mean())

    def saved(self) -> Path:
        eckart.save(self.smaller, self.folder)
        return self.folder

    def loaded(self) -> nn.Module:
        fresh = copy.deepcopy(self.plain)
        eckart.load(self.wrap(fresh), self.saved())
        return fresh

    def exported(self) -> list[list[float]]:
        path = eckart.export(self.model, f"{self.folder}.pt2", self.x, format="torch")
        return torch.export.load(path).module()(self.x).tolist()

    def profiled(self) -> str:
        return eckart.profile(self.model, self.moments, threads=1, progress=False).terms.fingerprint


CALLS: dict[str, Callable[[Given], Any]] = {
    "apply": lambda given: apply(given.model, given.plan, given.moments),
    "calibrate": lambda given: calibrate(given.model, [given.x]).digest,
    "compress": lambda given: compress(given.model, [given.x], keep=0.6).model,
    "curves": lambda given: curves(given.model, given.moments).curves,
    "export": lambda given: given.exported(),
    "factorize": lambda given: eckart.factorize(given.model, 2),
    "find_rank": lambda given: eckart.find_rank(given.model, "0", given.score, tolerance=1.0).model,
    "frontier": lambda given: eckart.frontier(given.model, given.moments, given.score, keeps=[0.6]),
    "heal": lambda given: eckart.heal(given.smaller, given.model, [given.x]).model,
    "load": lambda given: given.loaded(),
    "measure": lambda given: measure(given.model, given.x, latency=False),
    "merge": lambda given: eckart.merge(given.smaller),
    "profile": lambda given: given.profiled(),
    "save": lambda given: eckart.load(copy.deepcopy(given.plain), given.saved()),
    "LearnedRanks": lambda given: LearnedRanks(given.model, 1e-2, strength=1.0).finish(),
}


def test_every_public_function_that_takes_a_network_is_called_with_wrappers():
    functions = {name: getattr(eckart, name) for name in eckart.__all__}
    takes = {
        name
        for name, function in functions.items()
        if inspect.isfunction(function)
        and "nn.Module" in {p.annotation for p in inspect.signature(function).parameters.values()}
    }
    assert takes == CALLS.keys() - {"LearnedRanks"}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("wrapped", ["compiled", "parallel"])
@pytest.mark.filterwarnings("ignore::eckart.errors.NotConvergedWarning")
def test_public_functions_take_wrappers_off(name: str, wrapped: str, tmp_path: Path):
    results = [
        CALLS[name](Given(wrap, tmp_path / str(number)))
        for number, wrap in enumerate((lambda model: model, WRAPPERS[wrapped]))
    ]
    if isinstance(results[0], nn.Module):
        assert [type(model) for model in results] == [nn.Sequential] * 2
        states = [model.state_dict() for model in results]
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    else:
        assert results[0] == results[1]


@pytest.mark.parametrize("wrapped", ["compiled", "parallel"])
def test_in_place_the_network_inside_is_changed_and_handed_back(wrapped: str, tmp_path: Path):
    given = Given(WRAPPERS[wrapped], tmp_path)
    assert apply(given.model, given.plan, given.moments, inplace=True) is given.plain
    given = Given(WRAPPERS[wrapped], tmp_path)
    assert eckart.factorize(given.model, 2, inplace=True) is given.plain
    assert eckart.merge(given.model, inplace=True) is given.plain


class Buffered(nn.Module):
    """Adds a buffer to what it reads; counts in another."""

    def __init__(self, buffer: Tensor) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 3)
        self.register_buffer("given", buffer)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        shift = self.given.to_dense() if self.given.layout != torch.strided else self.given
        return self.inner(x + shift)


def of_inference_mode() -> Tensor:
    with torch.inference_mode():
        return torch.arange(6.0)


BUFFERS = {
    "expanded": lambda: torch.ones(1).expand(6),
    "expanded twice": lambda: torch.ones(1, 1).expand(2, 6)[0],
    "of inference mode": of_inference_mode,
    "sparse": lambda: torch.eye(6)[0].to_sparse(),
    "transposed": lambda: torch.randn(6, 1).T[0],
}


@pytest.mark.parametrize("buffer", BUFFERS.values(), ids=BUFFERS)
def test_buffers_of_every_kind_come_back(buffer: Callable[[], Tensor]):
    model, x = Buffered(buffer()), torch.randn(32, 6)
    given, before = model.given, model.given.clone()
    moments = calibrate(model, [x])
    assert measure(model, x, latency=False).params == moments.model_costs["params"]
    assert model.given is given
    assert torch.equal(model.given.to_dense(), before.to_dense())
    assert model.calls == 0
    plan = allocate(curves(model, moments), Budget(params=0.9))
    assert apply(model, plan, moments)(x).shape == (32, 3)


def test_an_expanded_buffer_that_was_written_comes_back():
    model = Buffered(torch.ones(1).expand(6))
    with untouched(model):
        model.given[:1] = 5.0
    assert model.given.tolist() == [1.0] * 6


def test_a_network_of_inference_mode_is_compressed():
    with torch.inference_mode():
        made = network()
    plain, x = network(), torch.randn(32, 12)
    smaller = compress(made, [x], keep=0.6)
    torch.testing.assert_close(smaller.model(x), compress(plain, [x], keep=0.6).model(x))
    assert all(p.is_inference() for p in made.parameters())


REFUSING: dict[str, Callable[[nn.Module, Path], Any]] = {
    "calibrate": lambda model, path: calibrate(model, [torch.randn(8, 6)]),
    "compress": lambda model, path: compress(model, [torch.randn(8, 6)], keep=0.5),
    "export": lambda model, path: eckart.export(
        model, path / "n.pt2", torch.randn(8, 6), format="torch"
    ),
    "factorize": lambda model, path: eckart.factorize(model, 1),
    "save": lambda model, path: eckart.save(model, path / "saved"),
}


@pytest.mark.parametrize("call", REFUSING.values(), ids=REFUSING)
def test_a_buffer_on_the_meta_device_is_refused_by_name(
    call: Callable[[nn.Module, Path], Any], tmp_path: Path
):
    with pytest.raises(InputError, match=r"'given' is on the meta device .*weights first"):
        call(Buffered(torch.zeros(6, device="meta")), tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


def quantised(*layers: nn.Module) -> nn.Sequential:
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("this build of torch has no kernels for int8 layers")
    model = nn.Sequential(*layers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)


def test_a_quantised_network_is_told_what_to_do():
    model = quantised(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    with pytest.raises(InputError, match=r"0 has quantised weights .*: compress the network with"):
        calibrate(model, [torch.randn(8, 6)])
    with pytest.raises(InputError, match="'2' cannot be replaced: its weight is quantised"):
        eckart.find_rank(model, "2", lambda _: 0.0, tolerance=0.1)


def test_one_quantised_layer_is_enough_to_refuse_a_network():
    model = nn.Sequential(nn.Linear(6, 8), *quantised(nn.ReLU(), nn.Linear(8, 3)))
    with pytest.raises(InputError, match="2 has quantised weights"):
        calibrate(model, [torch.randn(8, 6)], metric=None)
