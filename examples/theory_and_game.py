"""Theory and game: derivatives in closed form, what they are good for, and a rank to be guessed.

python examples/theory_and_game.py

The notebook asks for the gradients of ½ ‖X − U D V‖², the gradient and the Hessian of the Rayleigh
quotient, and for identities of the matrix exponential. docs/calculus.md derives them; here they are
checked against automatic differentiation, and used. Then the notebook's game: 100 rounds in torch,
and in JAX where it is installed.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from statistics import median

import torch

from study_kit.derivatives_used import uses
from study_kit.game import Game, WithJax, always_one, eckarts_answer
from study_kit.identities import CHECKS
from study_kit.opening import Line, opening
from study_kit.study import Row, Study, begin, table

NOTEBOOK = 0.01  # right answers in 100 rounds, with the placeholder that it leaves to its readers
SEED, CASES = 713, 100


def main(arguments: Sequence[str] | None = None) -> None:
    study = begin("theory-and-game", "", arguments)
    rounds, size, cases = (3, 10, 3) if study.quick else (100, 100, CASES)
    checked = study.rows("identities", partial(identities, size, cases), size, list(CHECKS), cases)
    cells = [(row["identity"], row["cases"], f"{row['error']:.0e}") for row in checked]
    study.put("identities", table(("identity", "random cases", "largest relative error"), cells))
    used = study.rows("uses", partial(uses, size), size)
    cells = [(row["problem"], row["by"], row["steps"], f"{row['error']:.0e}") for row in used]
    study.put("uses", table(("problem", "solved by", "steps", "relative error"), cells))
    ways = ("always 1", "automatic differentiation")
    games = [game(study, way, rounds) for way in ways]
    study.put("opening", opening([Line("the game, right answers", NOTEBOOK, *games)]))
    tabulate(study, "game", games)
    if find_spec("jax") is not None:  # without it, the page keeps what was measured last
        tabulate(study, "jax", [game(study, "JAX", rounds)])


def game(study: Study, way: str, rounds: int) -> Row:
    """One game, from the cache if it was played before."""
    return study.rows(way, lambda: [played(way, rounds)], played, Game, way, rounds, SEED)[0]


def identities(size: int, cases: int) -> Iterator[Row]:
    """Each identity with random matrices of this size."""
    for name, check in CHECKS.items():
        generators = (torch.Generator().manual_seed(seed) for seed in range(cases))
        error = max(check(size, generator) for generator in generators)
        yield {"identity": name, "cases": cases, "error": error}


def played(way: str, rounds: int) -> Row:
    """One game: how many answers were right, and how sure they were."""
    if way == "JAX":
        import jax

        way, game = f"`jax.grad`, JAX {jax.__version__}", WithJax(SEED)
    else:
        game = Game(SEED)
    seen = list(game.play(rounds, always_one if way == "always 1" else eckarts_answer))
    right = [row["rank"] == row["answer"] for row in seen]
    return {
        "way": way, "rounds": rounds, "right": sum(right), "accuracy": sum(right) / rounds,
        "sure": sum(row["sure"] for row in seen), "gap": min(row["gap"] for row in seen),
        "calls": median(row["calls"] for row in seen), "most": max(row["calls"] for row in seen),
    }  # fmt: skip


def tabulate(study: Study, marker: str, games: list[Row]) -> None:
    """Write how the games went."""
    head = ("answer", "right", "of which sure", "least gap", "calls, median", "calls, most")
    cells = [
        (r["way"], f"{r['right']} of {r['rounds']}", *(
            (r["sure"], f"{r['gap']:,.1f}", f"{r['calls']:,.0f}", f"{r['most']:,}") if r["most"]
            else (None,) * 4)) for r in games
    ]  # fmt: skip
    study.put(marker, table(head, cells))


if __name__ == "__main__":
    main()
