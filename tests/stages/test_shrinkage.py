"""Moments shrunk towards their diagonals, as far as the calibration batches say."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import eckart
from eckart import Moments, calibrate
from eckart.errors import CheckpointError, InputError, NotShrunkWarning
from eckart.linalg import quadratic_loss
from eckart.methods import problem_of
from eckart.moments.scatter import Scatter
from eckart.moments.shrinkage import shrinkage_of, shrunk_a, shrunk_g
from eckart.records import Offer
from eckart.records.shrinkage import Shrinkage
from resealed import with_metadata

WIDTH, OUT = 24, 10


def scatter_of(gram: Tensor, count: int) -> Scatter:
    return Scatter.of({"": (gram, count)})[""]


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, OUT)).eval()


def inputs(count: int, seed: int) -> Tensor:
    """Rows of a few strong directions."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.logspace(0, -1.5, WIDTH)
    basis = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(9)))
    return torch.randn(count, WIDTH, generator=generator) * scales @ basis.Q.T


def test_the_variance_is_that_of_means_of_batches():
    rows = torch.randn(4000, 50, 6, dtype=torch.float64)  # 50 rows, of 10 batches
    scatters, moments = [], rows.mT @ rows
    for row, moment in zip(rows[:200], moments[:200], strict=True):
        batches = [b.mT @ b for b in row.split(5)]
        found = scatter_of(batches[0][None], 5)
        for batch in batches[1:]:
            found = found + scatter_of(batch[None], 5)
        scatters.append(found.variance(moment[None], 50))
    off = (moments / 50 - torch.eye(6)).square()
    whole, diagonal = off.sum((1, 2)).mean(), off.diagonal(dim1=1, dim2=2).sum(1).mean()
    found = torch.tensor(scatters).mean(0)
    torch.testing.assert_close(found, torch.stack([whole, diagonal]).float(), rtol=0.05, atol=0)


def test_batches_of_different_sizes_give_an_unbiased_variance():
    sizes, total, n = (2, 3, 5, 10, 20), [], 40
    for _ in range(400):
        rows = torch.randn(n, 4, dtype=torch.float64)
        parts = [scatter_of((b.mT @ b)[None], len(b)) for b in rows.split(list(sizes))]
        found = parts[0]
        for part in parts[1:]:
            found = found + part
        total.append(found.variance((rows.mT @ rows)[None], n)[0])
    expected = 4 * (4 + 1) / n  # of Gaussian rows: (tr A² + tr² A) / n
    assert sum(total) / len(total) == pytest.approx(expected, rel=0.05)


def test_halves_of_the_data_add_up_to_the_whole():
    model, batches = network(), list(inputs(96, 0).split(16))
    whole = calibrate(model, batches, progress=False)
    halves = [
        calibrate(model, part, first_batch=first, progress=False)
        for first, part in ((0, batches[:2]), (2, batches[2:]))
    ]
    both = halves[0] + halves[1]
    for name in whole.specs:
        found, expected = shrinkage_of(both, name), shrinkage_of(whole, name)
        assert found.a == pytest.approx(expected.a, rel=1e-9)
        assert found.g == pytest.approx(expected.g, rel=1e-9)
        assert 0 < expected.a < 0.5
    old = replace(halves[0], scatters={}) + halves[1]
    assert old.scatters == {}
    assert shrinkage_of(old, "0") is None


def test_more_data_are_shrunk_less_and_a_single_batch_not_at_all():
    model = network()
    few, many = (calibrate(model, list(inputs(n, 1).split(8)), progress=False) for n in (32, 1024))
    for name in ("0", "2"):
        assert shrinkage_of(many, name).a < 0.1 * shrinkage_of(few, name).a
    assert shrinkage_of(calibrate(model, [inputs(64, 1)], progress=False), "0") is None


def test_files_keep_it_and_older_files_have_none(tmp_path: Path):
    moments = calibrate(network(), list(inputs(64, 2).split(16)), progress=False)
    moments.save(tmp_path / "file")
    assert shrinkage_of(Moments.load(tmp_path / "file"), "0") == shrinkage_of(moments, "0")

    def older(metadata: dict[str, str]) -> dict[str, str]:
        meta = json.loads(metadata["moments"])
        del meta["scatters"]
        return {"format": "eckart.moments/7", "moments": json.dumps(meta)}

    with_metadata(tmp_path / "file", older)
    loaded = Moments.load(tmp_path / "file")
    assert loaded.scatters == {}
    torch.testing.assert_close(loaded.a("0"), moments.a("0"), rtol=0, atol=0)


@pytest.mark.parametrize("wrong", [[3, -1.0, 0.0], [-1, 1.0, 0.0], [3, 1.0, 2.0], [3, 1.0], "x"])
def test_damaged_scatters_are_refused(wrong: object, tmp_path: Path):
    moments = calibrate(network(), list(inputs(64, 2).split(16)), progress=False)
    moments.save(tmp_path / "file")

    def damaged(metadata: dict[str, str]) -> dict[str, str]:
        meta = json.loads(metadata["moments"])
        meta["scatters"]["gram/0"] = wrong
        return {**metadata, "moments": json.dumps(meta)}

    with_metadata(tmp_path / "file", damaged)
    with pytest.raises(CheckpointError, match="cannot read moments"):
        Moments.load(tmp_path / "file")


def test_a_workspace_gives_the_same(tmp_path: Path):
    model, batches = network(), list(inputs(64, 3).split(16))
    inside = calibrate(model, batches, progress=False)
    needed = 12 * (WIDTH**2 + WIDTH**2)
    on_disk = calibrate(model, batches, workspace=tmp_path, memory_bytes=needed, progress=False)
    assert len(list(tmp_path.glob("moments-*"))) == 2
    assert {k: shrinkage_of(on_disk, k) for k in ("0", "2")} == {
        k: shrinkage_of(inside, k) for k in ("0", "2")
    }


def test_shrinking_keeps_the_diagonal_and_moves_the_rest_towards_zero():
    moments = calibrate(network(), list(inputs(64, 2).split(16)), progress=False)
    found = Shrinkage(0.25, 0.5)
    for shrunk, whole, left in (
        (shrunk_a(moments, "0", found), moments.a("0"), 0.75),
        (shrunk_g(moments, "0", found), moments.g("0"), 0.5),
    ):
        own = torch.diag_embed(whole.diagonal(dim1=1, dim2=2))
        torch.testing.assert_close(shrunk, own + left * (whole - own))


def test_rows_taken_jointly_are_mixed_with_single_ones():
    class Summed:
        joint = True

        def __call__(self, outputs: Tensor, batch: object, generator: torch.Generator) -> Tensor:
            return (torch.randn(outputs.shape[0], OUT, generator=generator) * outputs.sum(1)).sum()

    batches = [inputs(8 * 5, seed).reshape(8, 5, WIDTH) for seed in range(6)]
    moments = calibrate(network(), batches, metric=Summed(), progress=False)
    found = shrinkage_of(moments, "0")
    assert 0 < found.single <= 1
    own, single = moments.loss_a("0"), moments.a("0")
    mixed = shrunk_a(moments, "0", replace(found, a=0.0))
    torch.testing.assert_close(mixed, own + found.single * (single - own))


def test_factors_from_few_examples_lose_less_on_other_data_and_what_was_predicted():
    model = network()
    few = calibrate(model, list(inputs(16, 4).split(2)), progress=False)
    other = calibrate(model, [inputs(4096, 5)], progress=False)
    measured, predicted = {}, {}
    for damping in ("auto", 1e-6):
        options = eckart.curves(model, few, methods=["weighted_svd"], damping=damping)
        plan = eckart.allocate(options, eckart.Budget(params=0.6))
        smaller = eckart.merge(eckart.apply(model, plan, few))
        assert (set(plan.shrunk) == {"0", "2"}) == (damping == "auto")
        losses = []
        for name in ("0", "2"):
            change = smaller.get_submodule(name).weight - model.get_submodule(name).weight
            losses.append(quadratic_loss(change.double()[None], other.a(name), other.g(name)))
        measured[damping], predicted[damping] = sum(losses), plan.loss
    assert measured["auto"] < 0.9 * measured[1e-6]
    ratio = {damping: measured[damping] / predicted[damping] for damping in measured}
    assert ratio["auto"] < 0.5 * ratio[1e-6], "the prediction is less optimistic"


def test_a_plan_says_how_far_it_shrank_and_gives_the_same_network_from_json():
    model = network()
    moments = calibrate(model, list(inputs(32, 6).split(4)), progress=False)
    options = eckart.curves(model, moments, methods=["weighted_svd"])
    plan = eckart.allocate(options, eckart.Budget(params=0.6))
    assert plan.shrunk == {name: shrinkage_of(moments, name) for name in ("0", "2")}
    assert "shrunk by" in str(plan)
    read = eckart.Plan.loads(plan.dumps())
    assert read.shrunk == plan.shrunk
    one, other = (eckart.apply(model, each, moments).state_dict() for each in (plan, read))
    for name, value in one.items():
        assert torch.equal(value, other[name])
    problem = problem_of(model[0], "0", moments, plan.damping, plan.shrunk["0"])
    torch.testing.assert_close(
        problem.a, shrunk_a(moments, "0", plan.shrunk["0"]), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("damping", ["automatic", -1.0, 0.0, float("nan")])
def test_a_damping_is_auto_or_a_positive_number(damping: object):
    with pytest.raises(InputError, match="expected 'auto' or a positive number"):
        Offer(damping=damping)


def test_a_prediction_from_fewer_rows_than_inputs_is_said_to_be_one_and_is_of_the_right_size():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(64, 6)).eval()
    rows = torch.randn(2032, 64) * torch.logspace(0, -1, 64)
    few = calibrate(model, list(rows[:32].split(4)), progress=False)
    other = calibrate(model, [rows[32:]], progress=False)
    ratios = {}
    for damping in ("auto", 1e-6):
        options = eckart.curves(model, few, methods=["weighted_svd"], damping=damping)
        plan = eckart.allocate(options, eckart.Budget(params=0.6))
        change = eckart.merge(eckart.apply(model, plan, few))[0].weight - model[0].weight
        ratios[damping] = quadratic_loss(change.double()[None], other.a("0"), other.g("0"))
        ratios[damping] /= plan.loss
        assert plan.scarce == options.scarce == {"0": "32 rows for 64 inputs"}
        assert "too few data at 0 (32 rows for 64 inputs): calibrate on more" in str(plan)
        assert eckart.Plan.loads(plan.dumps()).scarce == plan.scarce
    assert ratios[1e-6] > 1.5
    assert 0.5 < ratios["auto"] < 1.5
    assert "too few" not in str(eckart.curves(model, other, methods=["svd"]))


def test_a_table_is_not_short_of_rows_because_its_vocabulary_is_large():
    model = nn.Sequential(nn.Embedding(500, 8), nn.Linear(8, 4)).eval()
    tokens = torch.randint(500, (60, 2), generator=torch.Generator().manual_seed(0))
    moments = calibrate(model, list(tokens.split(10)), progress=False)
    options = eckart.curves(model, moments, methods=["weighted_svd"])
    assert options.scarce == {}
    assert set(options.shrunk) == {"0", "1"}
    plan = eckart.allocate(options, eckart.Budget(params=0.8))
    assert eckart.apply(model, plan, moments)(tokens).isfinite().all()


def test_a_single_batch_is_said_and_two_are_not():
    model = network()
    with pytest.warns(NotShrunkWarning, match="in one batch.*damps them by 1e-06.*two batches"):
        eckart.curves(model, calibrate(model, [inputs(64, 0)], progress=False), progress=False)
    halves = calibrate(model, list(inputs(64, 0).split(32)), progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        eckart.curves(model, halves, progress=False)
        eckart.curves(model, calibrate(model, [inputs(64, 0)]), damping=1e-6, progress=False)
