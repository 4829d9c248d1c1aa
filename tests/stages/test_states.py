"""What a method prepared for a layer is prepared once, and results never depend on that."""

import copy
import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import eckart
from eckart.errors import CheckpointError
from eckart.layers import rebuild
from eckart.methods import METHODS, Cache, Method, Problem, problem_of
from eckart.methods.state_file import read_state, write_state
from eckart.records import Form, Piece, States
from extensions.method import OutputRows
from layer_zoo import layer, piece_of_layer, problem_of_layer
from stages.networks import SmallCnn, mlp

CPU = torch.device("cpu")
EVERY = {**METHODS, "rows": OutputRows()}
DECOMPOSE = ("eigh", "svd", "svdvals", "cholesky", "cholesky_ex", "lstsq")


class Counting:
    """A method that counts what it is asked to prepare."""

    def __init__(self, method: Method, counts: Counter[str]) -> None:
        self.method, self.counts = method, counts
        self.name, self.state = method.name, method.state

    def applies(self, piece: Piece) -> bool:
        return self.method.applies(piece)

    def prepare(self, problem: Problem) -> Any:
        self.counts[problem.title] += 1
        return self.method.prepare(problem)

    def losses(self, state: Any) -> list[tuple[Form, float]]:
        return self.method.losses(state)

    def build(self, state: Any, form: Form) -> list[Tensor]:
        return self.method.build(state, form)


@pytest.fixture(autouse=True)
def few_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rank of the CP decomposition is a search."""
    monkeypatch.setattr("eckart.methods.canonical._SHARES", (0.3, 0.6))


@pytest.fixture(params=sorted(EVERY))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def prepared(name: str, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often what was prepared by the method."""
    counts: Counter[str] = Counter()
    monkeypatch.setitem(METHODS, name, Counting(EVERY[name], counts))
    return counts


@pytest.fixture
def decomposed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often torch was asked for what, whoever asked."""
    counts: Counter[str] = Counter()

    def counting(word: str, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            counts[word] += 1
            return function(*args, **kwargs)

        return call

    for word in DECOMPOSE:
        monkeypatch.setattr(torch.linalg, word, counting(word, getattr(torch.linalg, word)))
    return counts


def network() -> nn.Module:
    """Convolutions of three kinds and a matrix, all of which some method is for."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SmallCnn().eval()


def calibrated(model: nn.Module, workspace: Path | None = None) -> eckart.Moments:
    images = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return eckart.calibrate(model, [images], workspace=workspace, progress=False)


def planned(curves: eckart.Curves, share: float = 0.5) -> eckart.Plan:
    """Half-way between what is smallest and the dense network."""
    plans = eckart.hull(curves, cost="bytes")
    return plans[int(share * (len(plans) - 1))]


def weights(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.state_dict())


def same(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_apply_prepares_and_decomposes_nothing(
    name: str, prepared: Counter[str], decomposed: Counter[str]
):
    model = network()
    moments = calibrated(model)
    curves = eckart.curves(model, moments, methods=[name], progress=False)
    assert decomposed or name == "rows"
    assert prepared
    assert set(prepared.values()) == {1}
    once, plans = prepared.total(), [planned(curves, share) for share in (0.3, 0.7)]
    decomposed.clear()
    for plan in plans:
        assert any(choice.method == name for choice in plan.choices.values())
        eckart.apply(model, plan, moments)
    assert prepared.total() == once
    assert not decomposed


def test_the_chain_prepares_each_layer_once(name: str, prepared: Counter[str]):
    model = network()
    moments, found = calibrated(model), []

    def evaluate(smaller: nn.Module) -> float:
        found.append(sum(p.numel() for p in smaller.parameters()))
        return found[-1] / found[0]

    given: Any = {"methods": [name], "progress": False}
    eckart.compress(model, moments, keep=0.9, **given)
    assert set(prepared.values()) == {1}
    prepared.clear()
    eckart.compress(model, moments, tolerance=0.05, evaluate=evaluate, **given)
    assert len(found) > 3
    assert set(prepared.values()) == {1}
    prepared.clear()
    options = eckart.curves(model, moments, **given)
    own = {"baselines": name != "svd", "progress": False}  # that baseline has curves of its own
    eckart.frontier(model, moments, None, keeps=[0.9, 0.95], options=options, **own)
    assert set(prepared.values()) == {1}


@pytest.mark.parametrize("name", ["spatial", "tucker2"])
def test_a_search_prepares_each_width_of_a_layer_once(
    name: str, prepared: Counter[str], monkeypatch: pytest.MonkeyPatch
):
    model = network()
    moments, tried = calibrated(model), []
    methods = [name, "backward_elimination"]
    options = eckart.curves(model, moments, methods=methods, progress=False)
    prepared.clear()
    plans = [plan for plan in eckart.hull(options) if plan.removals][::4]
    cache = Cache.beside(moments, plans[0].states)
    for plan in [*plans, *plans]:
        tried.append(eckart.stages.apply.applied(model, plan, moments, cache).model)
    assert prepared, "no plan factors a layer that lost channels"
    assert set(prepared.values()) == {1}
    for plan, smaller in zip(plans, tried[len(plans) :], strict=True):
        assert same(smaller, eckart.apply(model, replace(plan, states=States()), moments))


def test_results_do_not_depend_on_what_is_kept(name: str, tmp_path: Path):
    """In memory, in a workspace, found there by another run, or nowhere: equal to the bit."""
    model = network()
    if name == "rows":
        pytest.skip("not registered")
    curves, networks = [], []
    for workspace in (None, tmp_path, tmp_path):
        moments = calibrated(model, workspace)
        curves.append(eckart.curves(model, moments, methods=[name], progress=False))
        plan = planned(curves[-1])
        networks.append(eckart.apply(model, plan, moments))
    assert any((tmp_path / "decompositions").iterdir())
    read = eckart.Plan.from_json(plan.as_json())
    assert not read.states
    networks.append(eckart.apply(model, read, calibrated(model)))
    for other in curves[1:]:
        assert other.curves == curves[0].curves
    assert all(same(other, networks[0]) for other in networks[1:])


@pytest.mark.parametrize("name", sorted(EVERY))
@pytest.mark.parametrize("of", ["3x3", "grouped", "wide"])
def test_a_state_comes_back_from_its_file_to_the_bit(name: str, of: str, tmp_path: Path):
    method, module = EVERY[name], layer(of, torch.float32)
    if not method.applies(piece_of_layer(module)):
        pytest.skip("not for this layer")
    path = tmp_path / "state.safetensors"
    state = Cache(0).state(method, problem_of_layer(module))
    assert type(state) is method.state
    write_state(path, state, "title")
    again = read_state(path, method.state, "title", CPU)
    assert type(again) is method.state
    assert method.losses(again) == method.losses(state)
    for form, _ in method.losses(state):
        modules = [rebuild(module, form, method.build(s, form)) for s in (state, again)]
        assert same(*modules)
    with pytest.raises(CheckpointError, match="is not the state 'another'; delete it"):
        read_state(path, method.state, "another", CPU)


@pytest.mark.parametrize(
    "structure",
    [
        "",
        "[]",
        "{}",
        "7",
        '{"piece": 1, "left": {"tensor": 9}}',
        '{"left": [[]]}',
        '{"tensor": "x"}',
    ],
)
def test_a_file_of_another_structure_is_refused(structure: str, tmp_path: Path):
    path, method = tmp_path / "state.safetensors", METHODS["svd"]
    header = {"format": "eckart.state/1", "title": "t", "structure": structure}
    eckart.storage.tensors.write_tensors(path, {"0": torch.ones(1)}, header)
    with pytest.raises(CheckpointError, match=r"state\.safetensors"):
        read_state(path, method.state, "t", CPU)


def test_a_state_is_read_with_one_look_at_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, method = tmp_path / "state.safetensors", METHODS["svd"]
    write_state(path, method.prepare(problem_of_layer(layer("3x3", torch.float32))), "title")
    opened, names = eckart.storage.tensors.opened, list[Any]()
    monkeypatch.setattr(
        eckart.storage.tensors, "opened", lambda path: (names.append(path), opened(path))[1]
    )
    read_state(path, method.state, "title", CPU)
    assert names == [path]


def test_methods_of_one_decomposition_share_it(monkeypatch: pytest.MonkeyPatch):
    model, counts = mlp(12, 16, 16, 4), Counter[str]()
    for name in ("weighted_svd", "pivoted_svd"):
        counting = Counting(METHODS[name], counts)
        counting.prepared_as = METHODS[name].prepared_as  # type: ignore[attr-defined]
        monkeypatch.setitem(METHODS, name, counting)
    moments = eckart.calibrate(model, [torch.randn(16, 12)], progress=False)
    eckart.curves(model, moments, methods=["weighted_svd", "pivoted_svd"], progress=False)
    assert set(counts.values()) == {1}


def test_another_damping_or_dtype_is_another_state():
    model = mlp(12, 16, 16, 4)
    moments = eckart.calibrate(model, [torch.randn(16, 12)], progress=False)
    titles = {problem_of(model[0], "0", moments, damping).title for damping in (1e-6, 1.0000001e-6)}
    titles |= {problem_of(copy.deepcopy(model[0]).double(), "0", moments).title}
    titles |= {problem_of(model[2], "2", moments).title}
    assert len(titles) == 4


def test_no_more_is_held_than_was_allowed():
    model = mlp(12, 16, 16, 4)
    moments = eckart.calibrate(model, [torch.randn(16, 12)], progress=False)
    problems = [problem_of(model[i], str(i), moments) for i in (0, 2, 4)]
    sizes = [sum(t.nbytes for t in tensors(METHODS["svd"].prepare(p))) for p in problems]
    cache = Cache(sizes[0] + sizes[2])
    made = [[cache.state(METHODS["svd"], p) for p in problems] for _ in range(2)]
    kept = [one is other for one, other in zip(*made, strict=True)]
    assert kept == [True, False, True], "the first that fit"


def tensors(state: Any) -> list[Tensor]:
    return [value for value in vars(state).values() if isinstance(value, Tensor)]


def test_copies_and_files_of_a_plan_leave_states_behind():
    model = network()
    moments = calibrated(model)
    plan = planned(eckart.curves(model, moments, progress=False))
    assert plan.states
    for other in (copy.deepcopy(plan), pickle.loads(pickle.dumps(plan))):
        assert other == plan
        assert not other.states
    assert "states" not in plan.as_json()
    assert "states" not in repr(plan)
    with pytest.raises(CheckpointError, match="states: it is not read from files"):
        eckart.Plan.from_json({**plan.as_json(), "states": {"0": 1}})
    assert not eckart.apply(model, plan, moments).eckart_plan.states


def test_states_are_read_only():
    states = States({"one": 1})
    assert dict(states) == {"one": 1}
    with pytest.raises(TypeError):
        states["two"] = 2  # type: ignore[index]


def test_numbers_are_checked_where_problems_are_made_and_not_again(
    monkeypatch: pytest.MonkeyPatch,
):
    model = network()
    moments, seen = calibrated(model), []
    admissible = eckart.linalg.admissible.admissible
    monkeypatch.setattr(
        eckart.linalg.admissible,
        "admissible",
        lambda values, name: [seen.append(name), admissible(values, name)][1],
    )
    for name, module in [("conv2", model.conv2), ("fc1", model.fc1)]:
        problem = problem_of(module, name, moments)
        assert problem.a.isfinite().all()
        assert problem.g.isfinite().all()
        assert seen == [f"layer {name!r}: its weight", "gram", "gram"]
        for method in (METHODS[m] for m in ("svd", "activation_svd", "weighted_svd", "spatial")):
            if method.applies(problem.piece):
                method.prepare(problem)
        assert len(seen) == 3
        seen.clear()


def test_states_of_codes_are_their_losses_alone(tmp_path: Path):
    """The triangles of a layer take as much as its moments; they are made again for one width."""
    model = network()
    moments = calibrated(model, tmp_path)
    eckart.curves(model, moments, methods=["rounding"], progress=False)
    written = [p for p in tmp_path.rglob("*rounding*") if p.is_file()]
    assert len(written) == len(moments.specs)
    assert sum(p.stat().st_size for p in written) < 3000 * len(written)
