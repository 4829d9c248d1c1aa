"""The game is the notebook's, and the identities hold."""

import random
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def game(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from study_kit import game

    return game


def test_hides_a_rank_and_weights_as_the_notebook_does(game):
    played, ranks = game.Game(713), random.Random(713)
    for _ in range(5):
        played.hide()
        assert played.rank == ranks.randint(1, 95)
        assert played.inner.shape == (played.rank, 100)
        assert played.outer.shape == (100, played.rank)
        for weight in (played.inner, played.outer):
            assert weight.dtype == torch.float32
            assert 0 <= float(weight.min()) < 10 < 90 < float(weight.max()) < 100


def test_tells_the_squared_norm_of_the_sine(game):
    played = game.Game(0)
    played.hide()
    x = torch.randn(100, generator=torch.Generator().manual_seed(0)) / 100
    hidden = torch.cos(played.inner.double() @ x.double())
    expected = torch.sin(played.outer.double() @ hidden).square().sum()
    assert float(played.value(x)) == pytest.approx(float(expected), rel=1e-3)


def test_eckart_names_every_rank_and_the_placeholder_does_not(game):
    rounds = list(game.Game(713).play(20, game.eckarts_answer))
    assert [row["answer"] for row in rounds] == [row["rank"] for row in rounds]
    assert all(row["sure"] for row in rounds)
    right = [row["answer"] == row["rank"] for row in game.Game(713).play(100, game.always_one)]
    assert sum(right) <= 5


def test_eckart_sees_values_and_gradients_only(game):
    class Hidden(game.Game):
        def value(self, x):
            self.asked.append(tuple(x.shape))
            return super().value(x)

    played = Hidden(1)
    played.asked = []
    (row,) = played.play(1, game.eckarts_answer)
    assert row["answer"] == row["rank"]
    assert set(played.asked) == {(100,)}
    assert len(played.asked) >= row["calls"] > 0


def test_the_game_in_jax(game):
    pytest.importorskip("jax")
    rounds = list(game.WithJax(713).play(2, game.eckarts_answer))
    assert [row["answer"] for row in rounds] == [row["rank"] for row in rounds]


def test_the_identities_hold(game):
    from study_kit.identities import CHECKS

    for name, check in CHECKS.items():
        assert check(7, torch.Generator().manual_seed(0)) < 1e-12, name


def test_the_derivatives_lead_where_they_should(game):
    from study_kit.derivatives_used import uses

    rows = {row["by"]: row for row in uses(20)}
    assert all(row["error"] <= 1e-6 for row in rows.values())
    assert rows["Newton's method"]["steps"] <= 10
    slow, fast = rows["gradient steps"], rows["Lanczos, which combines the gradients"]
    assert fast["steps"] < slow["steps"]
