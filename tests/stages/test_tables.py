"""Tables whose rows are looked up, such as ``nn.Embedding``: a narrower table and a matrix."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eckart import (
    Budget,
    Moments,
    allocate,
    apply,
    calibrate,
    compress,
    curves,
    factorize,
    find_rank,
    heal,
    load,
    merge,
    save,
)
from eckart.layers import Factored, as_matrix
from eckart.linalg import quadratic_loss
from eckart.methods import METHODS, Problem, problem_of
from eckart.methods.problem import LEAST_FREQUENCY
from eckart.records.offer import DAMPING
from tolerances import tolerance

ROWS, WIDTH = 60, 12


class Bag(nn.Module):
    """The mean of some words, through two layers."""

    def __init__(self, rows: int = ROWS, width: int = WIDTH, **settings: Any) -> None:
        super().__init__()
        self.words = nn.Embedding(rows, width, **settings)
        self.a, self.b = nn.Linear(width, 16), nn.Linear(16, 5)

    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        seen = torch.tanh(self.a(self.words(ids)))
        if attention_mask is not None:
            seen = seen * attention_mask[..., None]
        return self.b(seen.sum(1))


def ids(most: int = ROWS, n: int = 16, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(n, 7, generator=generator).square() * most).long()


BATCHES = [ids(seed=seed) for seed in range(3)]


@pytest.fixture
def bag() -> Bag:
    return Bag().double()


def test_moments_are_how_often_rows_are_looked_up_and_what_they_hold(bag: Bag):
    moments = calibrate(bag, BATCHES)
    counts = torch.cat(BATCHES).flatten().bincount(minlength=ROWS).double()
    rows = bag.words.weight.detach()
    assert torch.equal(moments.totals["words"][0], counts)
    expected = rows.T @ (rows * counts[:, None] / counts.sum())
    torch.testing.assert_close(moments.a("words")[0], expected, **tolerance(torch.float32))
    assert moments.g("words").shape == (1, WIDTH, WIDTH)


def test_they_grow_with_the_rows_and_the_square_of_the_width_only():
    wide = Bag(50_000, 8)
    moments = calibrate(wide, [ids(50_000)])
    others = calibrate(wide, [ids(50_000)], layers=["a", "b"])
    assert moments.nbytes - others.nbytes == 8 * (50_000 + 2 * 8 * 8)
    assert moments.totals["words"].shape == (1, 50_000)


def test_padding_is_not_counted(bag: Bag):
    mask = torch.ones(16, 7)
    mask[:8, 4:] = 0
    moments = calibrate(bag, [{"ids": BATCHES[0], "attention_mask": mask}])
    assert moments.rows["words"] == mask.sum() == moments.totals["words"].sum()


def honest(bag: Bag, moments: Moments) -> Problem:
    """The same problem with the whole weight, and ``A`` as large as the vocabulary squared."""
    compact = problem_of(bag.words, "words", moments)
    frequency = moments.mean("words")[0]
    lifted = frequency + max(DAMPING, LEAST_FREQUENCY) / ROWS
    return Problem(compact.piece, as_matrix(bag.words), lifted.diag()[None], compact.g)


@pytest.mark.parametrize("method", ["svd", "activation_svd", "weighted_svd", "pivoted_svd"])
def test_the_small_problem_has_the_answers_of_the_whole_one(method: str, bag: Bag):
    moments = calibrate(bag, BATCHES)
    small, whole = problem_of(bag.words, "words", moments), honest(bag, moments)
    assert small.a.shape == small.g.shape == (1, WIDTH, WIDTH)
    states = [METHODS[method].prepare(problem) for problem in (small, whole)]
    ours, theirs = (METHODS[method].losses(state) for state in states)
    assert [form for form, _ in ours] == [form for form, _ in theirs]
    for (form, loss), (_, expected) in zip(ours, theirs, strict=True):
        assert loss == pytest.approx(expected, rel=1e-4, abs=1e-9), form
    form = ours[WIDTH // 2][0]
    found = METHODS[method].build(states[0], form)
    assert [w.shape for w in found] == [p.weight_shape for p in form.pieces]
    product = found[1] @ found[0].T if not form.carries else None
    if product is not None:
        loss = quadratic_loss(product[None] - whole.weight, whole.a, whole.g)
        assert loss == pytest.approx(dict(ours)[form], rel=1e-4)


def test_full_rank_gives_the_rows_back(bag: Bag):
    with torch.no_grad():
        bag.words.weight[:, -1] = bag.words.weight[:, 0]  # one direction that no row has
    moments = calibrate(bag, BATCHES)
    problem = problem_of(bag.words, "words", moments)
    state = METHODS["weighted_svd"].prepare(problem)
    form, loss = METHODS["weighted_svd"].losses(state)[-1]
    assert form.rank == WIDTH - 1
    table, matrix = METHODS["weighted_svd"].build(state, form)
    torch.testing.assert_close(table @ matrix.T, bag.words.weight.detach())
    assert loss == pytest.approx(0.0, abs=1e-9)


def test_a_table_of_zeros(bag: Bag):
    with torch.no_grad():
        bag.words.weight.zero_()
    problem = problem_of(bag.words, "words", calibrate(bag, BATCHES, metric=None))
    losses = METHODS["weighted_svd"].losses(METHODS["weighted_svd"].prepare(problem))
    assert [loss for _, loss in losses] == [pytest.approx(0, abs=1e-9)]


def test_rows_that_calibration_never_saw_stay_close_to_what_they_were():
    """Seen rows have three directions and the others all, of which seven are left to the plan."""
    torch.manual_seed(0)
    bag = Bag(200).double()
    with torch.no_grad():
        bag.words.weight[:20] = torch.randn(20, 3).double() @ torch.randn(3, WIDTH).double()
    moments = calibrate(bag, [ids(20, seed=seed) for seed in range(4)])
    options = curves(bag, moments, methods="weighted_svd")
    plan = allocate(options, Budget(params=0.65))
    new = apply(bag, plan, moments).words
    assert type(new) is Factored
    rank, before = new[0].embedding_dim, bag.words.weight.detach()
    assert 3 < rank < WIDTH
    unseen = before[20:]
    values = torch.linalg.svdvals(unseen)
    least = values[rank:].norm() / values.norm()  # of any table of this rank
    error = (new.weight.detach()[20:] - unseen).norm() / unseen.norm()
    assert error < 1.6 * least


def test_from_the_budget_to_the_file(tmp_path: Path):
    bag = Bag(padding_idx=0)
    found = compress(bag, BATCHES, budget=Budget(params=0.5), latency=False)
    smaller = found.model
    assert type(smaller.words) is Factored
    assert smaller.words[0].padding_idx == 0
    save(smaller, tmp_path)
    again = load(Bag(padding_idx=0), tmp_path)
    assert torch.equal(again(BATCHES[0]), smaller(BATCHES[0]))
    exported = torch.export.export(smaller, (BATCHES[0],)).module()
    torch.testing.assert_close(exported(BATCHES[1]), smaller(BATCHES[1]))
    dense = merge(smaller)
    assert type(dense.words) is nn.Embedding
    torch.testing.assert_close(dense(BATCHES[0]), smaller(BATCHES[0]))


def test_multiply_adds_do_not_take_tables(bag: Bag):
    moments = calibrate(bag, BATCHES)
    assert moments.specs["words"].macs(moments.specs["words"].dense) == 0
    plan = allocate(curves(bag, moments), Budget(macs=0.5))
    assert "words" not in plan.choices


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype):
    bag = Bag().to(dtype)
    moments = calibrate(bag, BATCHES)
    smaller = apply(bag, allocate(curves(bag, moments), Budget(params=0.6)), moments)
    assert smaller.words[0].weight.dtype == smaller.words[1].weight.dtype == dtype
    assert smaller(BATCHES[0]).isfinite().all()


class Read(Bag):
    """Its rows are the weights of its last layer, too."""

    def forward(self, ids: Tensor) -> Tensor:
        return torch.tanh(self.words(ids)).sum(1) @ self.words.weight.T


class Shared(Bag):
    """Its last layer has the same parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Linear(16, ROWS)
        self.a = nn.Linear(WIDTH, ROWS)
        self.a, self.head = nn.Linear(WIDTH, 16), nn.Linear(WIDTH, ROWS)
        self.head.weight = self.words.weight


def test_tables_that_are_not_only_looked_up_stay():
    assert "does not only look" in calibrate(Read(), BATCHES).skipped["words"]
    assert "shared" in calibrate(Shared(), BATCHES).skipped["words"]
    assert "max_norm" in calibrate(Bag(max_norm=1.0), BATCHES).skipped["words"]


def test_two_tables_of_the_same_numbers_are_counted_apart():
    class Two(Bag):
        def __init__(self) -> None:
            super().__init__()
            self.more = nn.Embedding(ROWS, WIDTH)

        def forward(self, ids: Tensor) -> Tensor:
            return self.b(torch.tanh(self.a(self.words(ids) + self.more(ids))).sum(1))

    moments = calibrate(Two(), BATCHES)
    assert moments.specs["more"].input == "more"
    assert torch.equal(moments.totals["more"], moments.totals["words"])
    assert not torch.equal(moments.grams["more"], moments.grams["words"])


def test_moments_add_up_and_come_back_from_a_file(bag: Bag, tmp_path: Path):
    parts = [calibrate(bag, [BATCHES[0]]), calibrate(bag, BATCHES[1:], first_batch=1)]
    whole, both = calibrate(bag, BATCHES), parts[0] + parts[1]
    both.save(tmp_path / "moments.safetensors")
    again = Moments.load(tmp_path / "moments.safetensors")
    for found in (both, again):
        for part in ("a", "g", "mean"):
            expected = getattr(whole, part)("words")
            torch.testing.assert_close(getattr(found, part)("words"), expected)


def test_other_ways_to_factor_and_to_heal():
    bag = Bag()
    smaller = factorize(bag, 4)
    assert smaller.words[0].embedding_dim == 4
    found = find_rank(bag, "words", lambda model: 1.0, tolerance=0.5)
    assert type(found.model.words) is Factored
    healed = heal(smaller, bag, BATCHES, treatments=["refit", "distil"], progress=False)
    assert healed.model(BATCHES[0]).isfinite().all()
