"""A directory that gives the smaller network back to the bit, or a clear refusal."""

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from eckart import Budget, allocate, apply, compress, curves, load, merge, save
from eckart.errors import CheckpointError
from eckart.layers import Factored
from eckart.records import Choice
from resealed import weights_in, with_structure, with_weights
from tolerances import tolerance


@pytest.fixture(scope="module")
def smaller(digits) -> nn.Module:
    plan = allocate(digits.options, Budget(params=0.4))
    return apply(digits.model, plan, digits.moments)


@pytest.fixture
def directory(smaller: nn.Module, tmp_path: Path) -> Path:
    save(smaller, tmp_path / "network")
    return tmp_path / "network"


def refused(fresh: nn.Module, directory: Path, match: str) -> None:
    """Loading raises ``CheckpointError`` and leaves the fresh network as it was."""
    before = copy.deepcopy(fresh.state_dict())
    modules = list(fresh.modules())
    with pytest.raises(CheckpointError, match=match):
        load(fresh, directory)
    assert list(fresh.modules()) == modules
    after = fresh.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not hasattr(fresh, "eckart_plan")


def test_outputs_come_back_to_the_bit(digits, smaller: nn.Module, directory: Path):
    x = digits.test[0][0]
    fresh = digits.fresh()
    assert load(fresh, directory) is fresh
    assert torch.equal(fresh(x), smaller(x))
    assert fresh.eckart_plan == smaller.eckart_plan
    assert fresh.state_dict().keys() == smaller.state_dict().keys()
    assert not fresh.training
    weights, structure = weights_in(directory).name, "eckart.json"
    assert sorted(path.name for path in directory.iterdir()) == ["README.md", structure, weights]


def test_the_card_says_what_was_done_and_how_to_load_it(digits, smaller: nn.Module, tmp_path: Path):
    save(smaller, tmp_path)
    card = (tmp_path / "README.md").read_text()
    plan = smaller.eckart_plan
    assert card.startswith("---\nlibrary_name: eckart\ntags: [eckart]\n---\n")
    assert f"| parameters | {plan.totals['params']:,} | {plan.costs['params']:,} |" in card
    assert f"Predicted loss: {plan.loss:.3g}." in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    code = code.replace("path/to/this/folder", str(tmp_path))
    names: dict[str, Any] = {"make_model": digits.fresh}
    exec(compile(code, "README.md", "exec"), names)
    x = digits.test[0][0]
    assert torch.equal(names["model"](x), smaller(x))


def test_a_card_goes_with_its_network_and_a_text_of_your_own_stays(
    digits, smaller: nn.Module, tmp_path: Path
):
    save(smaller, tmp_path)
    save(digits.fresh(), tmp_path)
    assert not (tmp_path / "README.md").exists()
    (tmp_path / "README.md").write_text("mine")
    save(smaller, tmp_path)
    save(digits.fresh(), tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_comes_back(digits, smaller: nn.Module, tmp_path: Path, dtype: torch.dtype):
    half = copy.deepcopy(smaller).to(dtype)
    save(half, tmp_path)
    fresh = load(digits.fresh().to(dtype), tmp_path)
    x = digits.test[0][0].to(dtype)
    assert torch.equal(fresh(x), half(x))
    refused(digits.fresh(), tmp_path, r"convert the fresh model with \.to\(dtype\)")


def test_saving_again_replaces(digits, smaller: nn.Module, directory: Path):
    save(digits.model, directory)
    x = digits.test[0][0]
    assert torch.equal(load(digits.fresh(), directory)(x), digits.model(x))


@pytest.mark.parametrize("method", ["pivoted_svd", "tucker2", "cp"])
def test_every_shape_comes_back_and_merges(digits, tmp_path: Path, method: str):
    options = curves(digits.model, digits.moments, methods=[method, "weighted_svd"])
    plan = allocate(options, Budget(params=0.5))
    (curve,) = (curve for curve in options.curves if curve.site.name == "conv2")
    form = max(
        (option.form for option in curve.options if option.method == method),
        key=lambda form: form.params,
    )
    choices = {**plan.choices, "conv2": Choice(method, form, 0.0)}
    smaller = apply(digits.model, replace(plan, choices=choices), digits.moments)
    assert smaller.conv2.form == form
    save(smaller, tmp_path)
    x = digits.test[0][0]
    assert torch.equal(load(digits.fresh(), tmp_path)(x), smaller(x))
    torch.testing.assert_close(merge(smaller)(x), smaller(x), **tolerance(torch.float32))


class Tied(nn.Module):
    """An encoder whose weight is the decoder's, around one that is free."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.middle, self.decoder = (nn.Linear(12, 12) for _ in range(3))
        self.decoder.weight = self.encoder.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.middle(self.encoder(x)))


def test_tied_weights_stay_tied(tmp_path: Path):
    model, x = Tied(), torch.randn(40, 12)
    smaller = compress(model, [x], keep=0.8).model
    assert type(smaller.middle) is Factored
    save(smaller, tmp_path)
    fresh = load(Tied(), tmp_path)
    assert torch.equal(fresh(x), smaller(x))
    assert fresh.decoder.weight is fresh.encoder.weight


def without_last(model: nn.Module) -> nn.Module:
    del model.fc2
    return model


def thinner(model: nn.Module) -> nn.Module:
    model.fc2 = nn.Linear(48, 9)
    return model


def further(model: nn.Module) -> nn.Module:
    model.fc3 = nn.Linear(2, 2)
    return model


def strided(model: nn.Module) -> nn.Module:
    model.conv2.stride = (2, 2)
    return model


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (without_last, "the fresh model has no such layer|surplus"),
        (thinner, "cannot replace|does not fit"),
        (further, r"missing \['fc3.bias', 'fc3.weight'\]"),
        (strided, "its kernels do not compose|cannot replace"),
        (lambda model: nn.Sequential(nn.Linear(3, 3)), "the class and arguments of the original"),
        (lambda model: nn.Linear(3, 3), "the class and arguments of the original"),
        (lambda model: model.to("meta"), "meta device"),
    ],
    ids=["a layer less", "thinner", "a layer more", "strided", "other class", "one layer", "meta"],
)
def test_another_network_is_refused(digits, directory: Path, change: Any, match: str):
    fresh = change(digits.fresh())
    if next(fresh.parameters()).is_meta:
        with pytest.raises(CheckpointError, match=match):
            load(fresh, directory)
    else:
        refused(fresh, directory, match)


def file_named(directory: Path, name: str) -> Path:
    return weights_in(directory) if name == "weights" else directory / name


@pytest.mark.parametrize("name", ["eckart.json", "weights"])
def test_a_missing_file_is_refused(digits, directory: Path, name: str):
    path = file_named(directory, name)
    path.unlink()
    refused(digits.fresh(), directory, f"cannot read .*{path.name}")


@pytest.mark.parametrize("name", ["eckart.json", "weights"])
@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(digits, directory: Path, name: str, fraction: float):
    path = file_named(directory, name)
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    refused(digits.fresh(), directory, f"cannot read .*{path.name}")


def changed_piece(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    """A structure whose first factored form has another first piece."""

    def change(structure: dict[str, Any]) -> Any:
        next(form for form in structure["forms"].values() if len(form) > 1)[0].update(changes)
        return structure

    return change


def renamed(name: str) -> Callable[[dict[str, Any]], Any]:
    def change(structure: dict[str, Any]) -> Any:
        forms = list(structure["forms"].items())
        return {**structure, "forms": dict([(name, forms[0][1]), *forms[1:]])}

    return change


def with_forms(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda structure: {**structure, "forms": change(structure["forms"])}


HOSTILE = {
    "a list": lambda s: [],
    "a text": lambda s: "text",
    "null": lambda s: None,
    "empty": lambda s: {},
    "format of a number": lambda s: {**s, "format": 7},
    "a later format": lambda s: {**s, "format": "eckart.network/5"},
    "another format": lambda s: {**s, "format": "eckart.moments/1"},
    "forms in a list": with_forms(lambda forms: []),
    "forms null": with_forms(lambda forms: None),
    "forms left out": with_forms(lambda forms: {}),
    "forms empty": with_forms(lambda forms: {name: [] for name in forms}),
    "forms of text": with_forms(lambda forms: dict.fromkeys(forms, "text")),
    "long chains": with_forms(lambda forms: {k: v * 5 for k, v in forms.items()}),
    "half chains": with_forms(lambda forms: {k: v[:1] for k, v in forms.items()}),
    "reversed": with_forms(lambda forms: {k: v[::-1] for k, v in forms.items()}),
    "vast rank": changed_piece(outputs=10**12),
    "largest rank": changed_piece(outputs=2**31 - 1),
    "negative rank": changed_piece(outputs=-3),
    "rank zero": changed_piece(outputs=0),
    "rank of a fraction": changed_piece(outputs=2.5),
    "rank of text": changed_piece(outputs="4"),
    "rank true": changed_piece(outputs=True),
    "other inputs": changed_piece(inputs=7),
    "no groups": changed_piece(groups=0),
    "many groups": changed_piece(groups=10**9),
    "kernel of text": changed_piece(kernel="3x3"),
    "vast kernel": changed_piece(kernel=[10**9, 10**9]),
    "kernel of many axes": changed_piece(kernel=[3] * 1000),
    "negative padding": changed_piece(padding=[-1, -1]),
    "padding mode of a path": changed_piece(padding_mode="../../etc/passwd"),
    "padding mode of a list": changed_piece(padding_mode=["zeros"]),
    "bias of a number": changed_piece(bias=1),
    "bias too early": changed_piece(bias=True),
    "carries of a fraction": changed_piece(carries=1.5),
    "carries too early": changed_piece(carries=1),
    "carries true": changed_piece(carries=True),
    "surplus field": changed_piece(surplus=1),
    "path up": renamed("../conv2"),
    "absolute path": renamed("/etc/passwd"),
    "a norm": renamed("norm"),
    "an attribute": renamed("__class__"),
    "a parameter": renamed("conv2.weight"),
    "the root": renamed(""),
    "a long name": renamed("fc9" * 10_000),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_structure_is_refused(digits, directory: Path, change: Any):
    with_structure(directory, change)
    refused(digits.fresh(), directory, r"layer|structure|has the format|does not fit")


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 10_000, '{"a": \x00}', "NaN"])
def test_json_that_cannot_be_parsed_is_refused(digits, directory: Path, text: str):
    (directory / "eckart.json").write_text(text)
    refused(digits.fresh(), directory, "cannot read|not a structure that eckart wrote")


@pytest.mark.parametrize("plan", [None, [], "text", {"choices": []}, {"choices": {"a": 1}}])
def test_a_plan_that_cannot_be_read_is_dropped(digits, smaller, directory: Path, plan: Any):
    with_structure(directory, lambda structure: {**structure, "plan": plan})
    fresh, x = load(digits.fresh(), directory), digits.test[0][0]
    assert torch.equal(fresh(x), smaller(x))
    assert not hasattr(fresh, "eckart_plan")


@pytest.mark.parametrize(
    "change",
    [
        lambda t: {**t, "surplus": torch.ones(1)},
        lambda t: {k: v for k, v in t.items() if k != "norm.weight"},
        lambda t: {**t, "norm.weight": torch.ones(33)},
        lambda t: {**t, "norm.weight": t["norm.weight"].half()},
        lambda t: {**t, "norm.num_batches_tracked": torch.ones(())},
    ],
    ids=["surplus", "missing", "shape", "half", "integer"],
)
def test_other_tensors_are_refused(digits, directory: Path, change: Any):
    with_weights(directory, change)
    refused(digits.fresh(), directory, "does not fit this model")


@pytest.mark.parametrize("places", [[0] * 64, [-1] * 64, [10**9] * 64])
def test_an_order_that_is_none_is_refused(digits, tmp_path: Path, places: list[int]):
    smaller = compress(digits.model, digits.moments, keep=0.5, methods=["pivoted_svd"]).model
    save(smaller, tmp_path)

    def misplaced(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        name = next(key for key in tensors if key.endswith(".order"))
        zeros = torch.zeros(len(tensors[name]), dtype=torch.int64)
        return {**tensors, name: torch.tensor(places)[zeros]}

    with_weights(tmp_path, misplaced)
    refused(digits.fresh(), tmp_path, "not a permutation")


@pytest.mark.parametrize("inplace", [False, True])
def test_merging_gives_plain_layers_with_the_same_outputs(digits, smaller, inplace: bool):
    x, network = digits.test[0][0], copy.deepcopy(smaller)
    expected = network(x)
    merged = merge(network, inplace=inplace)
    assert (merged is network) is inplace
    assert not any(type(module) is Factored for module in merged.modules())
    assert merged.state_dict().keys() == digits.model.state_dict().keys()
    assert not hasattr(merged, "eckart_plan")
    torch.testing.assert_close(merged(x), expected, **tolerance(torch.float32))


def test_a_merged_network_of_all_channels_fits_the_original_class(digits):
    factors = curves(digits.model, digits.moments, methods=["weighted_svd", "spatial"])
    merged = merge(apply(digits.model, allocate(factors, Budget(params=0.5)), digits.moments))
    fresh, x = digits.fresh(), digits.test[0][0]
    fresh.load_state_dict(merged.state_dict())
    assert torch.equal(fresh(x), merged(x))


def test_merging_keeps_modes_and_gradients(smaller: nn.Module):
    network = copy.deepcopy(smaller).train().requires_grad_(False)
    merged = merge(network)
    assert all(module.training for module in merged.modules())
    assert not any(p.requires_grad for p in merged.parameters())


def test_a_merged_network_can_be_saved(digits, smaller: nn.Module, tmp_path: Path):
    merged, x = merge(smaller), digits.test[0][0]
    save(merged, tmp_path)
    assert torch.equal(load(digits.fresh(), tmp_path)(x), merged(x))
