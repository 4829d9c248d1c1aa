"""What save wrote can be loaded in a fresh model, or save refuses before it writes anything."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, weight_norm

from eckart import compress, factorize, load, save
from eckart.errors import CheckpointError, InputError
from eckart.layers import Factored


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(12, 30), nn.ReLU(), nn.Linear(30, 20), nn.Linear(20, 5))


def factored(model: nn.Module) -> nn.Module:
    """With the middle layer factored, whatever is hooked to it or around the network."""
    return factorize(model, rank=4, layers=["*2"])


def same_again(smaller: nn.Module, fresh: nn.Module, folder: Path) -> nn.Module:
    """The saved network loads in a fresh one and gives the same, to the bit."""
    save(smaller, folder)
    x = torch.randn(7, 12)
    loaded = load(fresh, folder)
    assert loaded is fresh
    assert not any(module.training for module in loaded.modules())
    with torch.no_grad():
        assert torch.equal(loaded(x), smaller.eval()(x))
    return loaded


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize(
    "hook",
    [
        lambda layer: weight_norm(layer),
        lambda layer: prune.random_unstructured(layer, "weight", 0.5),
        lambda layer: prune.l1_unstructured(layer, "bias", 2),
        lambda layer: parametrizations.weight_norm(layer),
    ],
    ids=["weight norm by hooks", "pruned", "pruned bias", "weight norm by parametrization"],
)
@pytest.mark.parametrize("at", [[0], [2], [0, 2, 3]], ids=["beside", "the factored", "all"])
def test_layers_that_recompute_their_weight(tmp_path: Path, hook: Any, at: list[int]):
    def make(seed: int) -> nn.Sequential:
        model = network(seed)
        for index in at:
            hook(model[index])
        return model

    smaller = make(0)
    if not hasattr(smaller[2], "parametrizations"):
        smaller[2] = factored(network(2))[2]
        assert type(smaller[2]) is Factored
    same_again(smaller, make(1), tmp_path)


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, torch.compile, lambda model: nn.DataParallel(torch.compile(model))],
    ids=["parallel", "compiled", "both"],
)
def test_wrappers_are_left_out(tmp_path: Path, wrap: Callable[[nn.Module], nn.Module]):
    smaller, x = factored(network()), torch.randn(7, 12)
    save(wrap(smaller), tmp_path / "wrapped")
    save(smaller, tmp_path / "plain")
    names = [{p.name for p in (tmp_path / n).glob("weights*")} for n in ("wrapped", "plain")]
    assert names[0] == names[1]
    assert torch.equal(load(network(1), tmp_path / "wrapped")(x), smaller(x))
    wrapped = wrap(network(1))
    assert load(wrapped, tmp_path / "plain") is wrapped
    inner = wrapped
    while type(inner) is not nn.Sequential:
        inner = inner.module if isinstance(inner, nn.DataParallel) else inner._orig_mod
    assert torch.equal(inner(x), smaller(x))


def test_a_compiled_layer_inside_is_left_out(tmp_path: Path):
    smaller, x = factored(network()), torch.randn(7, 12)
    expected = smaller(x)
    smaller[2] = torch.compile(smaller[2])
    save(smaller, tmp_path)
    assert torch.equal(load(network(1), tmp_path)(x), expected)
    fresh = network(1)
    fresh[3] = torch.compile(fresh[3])
    load(fresh, tmp_path)
    assert torch.equal(fresh[3]._orig_mod(fresh[:3](x)), expected)


class Versioned(nn.Sequential):
    """Refuses a state without its version, as torchvision's MNASNet does."""

    _version = 2

    def _load_from_state_dict(self, state: Any, prefix: str, metadata: Any, *rest: Any) -> None:
        if metadata.get("version") != 2:
            raise ValueError("version should be set to 1 or 2 instead of None")
        super()._load_from_state_dict(state, prefix, metadata, *rest)


def test_networks_that_ask_for_their_version(tmp_path: Path):
    def make(seed: int) -> nn.Module:
        return Versioned(*network(seed))

    same_again(factored(make(0)), make(1), tmp_path)


class WithExtra(nn.Sequential):
    extra: Any = None

    def get_extra_state(self) -> Any:
        return self.extra

    def set_extra_state(self, state: Any) -> None:
        self.extra = state


def test_extra_state_that_is_a_tensor_comes_back_and_other_is_refused(tmp_path: Path):
    def make(extra: Any) -> nn.Module:
        model = WithExtra(*network())
        model.extra = extra
        return model

    smaller = factored(make(torch.arange(3)))
    loaded = same_again(smaller, make(torch.zeros(3, dtype=torch.int64)), tmp_path / "tensor")
    assert torch.equal(loaded.extra, torch.arange(3))
    with pytest.raises(InputError, match="keeps a dict in its state, and only tensors"):
        save(make({"steps": 3}), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def inference_buffer() -> Tensor:
    with torch.inference_mode():
        return torch.arange(4.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(1).expand(4),
        lambda: torch.arange(8.0)[::2],
        inference_buffer,
        lambda: torch.ones(0, 3),
        lambda: torch.tensor(3),
        lambda: torch.ones(3).to(torch.float8_e4m3fn),
        lambda: torch.ones(3, dtype=torch.complex64),
    ],
    ids=["expanded", "strided", "inference", "empty", "scalar", "float8", "complex"],
)
def test_buffers_of_every_kind_come_back(tmp_path: Path, make: Callable[[], Tensor]):
    def with_buffer(seed: int) -> nn.Module:
        model = network(seed)
        model.register_buffer("extra", make())
        return model

    loaded = same_again(with_buffer(0), with_buffer(1), tmp_path)
    assert loaded.extra.dtype == make().dtype
    assert torch.equal(loaded.extra.to(torch.complex64), make().to(torch.complex64))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: torch.eye(3).to_sparse(), r"'extra' is sparse .*\.to_dense\(\)"),
        (lambda: torch.ones(3, device="meta"), "'extra' is on the meta device"),
        (lambda: torch.ones(3, dtype=torch.complex128), "'extra' has the dtype torch.complex128"),
        (lambda: torch.quantize_per_tensor(torch.ones(3), 1, 0, torch.qint8), "'extra' has the"),
        (nn.UninitializedBuffer, "'extra' is not initialised: run the network once"),
    ],
    ids=["sparse", "meta", "complex128", "quantised", "lazy"],
)
@pytest.mark.filterwarnings("ignore")
def test_what_no_file_can_hold_is_refused_before_anything_is_written(
    tmp_path: Path, make: Callable[[], Tensor], match: str
):
    model = network()
    model.register_buffer("extra", make())
    with pytest.raises(InputError, match=match):
        save(model, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_view_of_a_weight_is_not_taken_for_the_weight(tmp_path: Path):
    def with_view(seed: int) -> nn.Module:
        model = network(seed)
        model.register_buffer("first", model[0].weight.detach()[0])
        return model

    same_again(with_view(0), with_view(1), tmp_path)


def test_factors_that_were_changed_are_refused_before_anything_is_written(tmp_path: Path):
    smaller = factored(network())
    prune.random_unstructured(smaller[2][0], "weight", 0.5)
    with pytest.raises(InputError, match=r"factored layer '2' holds .*weight_mask.*merge"):
        save(smaller, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


class Stubborn(nn.Sequential):
    def _load_from_state_dict(self, *arguments: Any) -> None:
        raise KeyError("no")


def test_a_network_whose_own_loading_fails_says_so(tmp_path: Path):
    save(Stubborn(*network()), tmp_path)
    with pytest.raises(CheckpointError, match=r"its own loading fails \(KeyError: 'no'\)"):
        load(Stubborn(*network()), tmp_path)


def test_a_compressed_network_with_masks_loads_again(tmp_path: Path):
    """The whole way: what compress makes of hooked layers, save and load understand."""

    def make(seed: int) -> nn.Sequential:
        model = network(seed)
        prune.l1_unstructured(model[0], "weight", 0.2)
        return model

    smaller = compress(make(0), [torch.randn(64, 12)], keep=0.6, metric="logits").model
    same_again(smaller, make(1), tmp_path)
