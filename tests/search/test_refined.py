"""A plan is chosen once more with the losses that refinement leaves."""

from dataclasses import replace

import eckart
from eckart.records import Option, Piece
from eckart.search.refined import refined_twice
from random_curves import curves_of, spec

PIECE = Piece(20, 20, bias=False)
SPECS = [spec("a", PIECE), spec("b", PIECE)]
BUDGET = eckart.Budget(params=570)
CURVES = curves_of(SPECS, [[(5, 4.0), (9, 1.0)], [(5, 4.1), (9, 1.0)]])


def choose(options: eckart.Curves) -> eckart.Plan:
    return eckart.allocate(options, BUDGET)


def refining(shares: dict[str, float]):
    """Refinement that leaves these shares, by layer."""

    def refine(plan: eckart.Plan) -> eckart.Plan:
        losses = {name: c.loss * shares[name] for name, c in plan.choices.items()}
        return replace(plan, refined=losses)

    return refine


def ranks(plan: eckart.Plan) -> dict[str, int | None]:
    return {name: choice.form.rank for name, choice in plan.choices.items()}


def test_the_layer_that_gains_most_gets_the_lower_rank():
    assert ranks(choose(CURVES)) == {"a": 5, "b": 9}
    found = refined_twice(CURVES, choose, refining({"a": 0.9, "b": 0.5}))
    assert ranks(found) == {"a": 9, "b": 5}
    assert found.loss == 5.1  # as the curves predict
    assert found.refined_loss == 0.9 * 1.0 + 0.5 * 4.1
    assert found.bound == choose(CURVES).loss


def test_a_second_plan_that_turns_out_worse_is_not_taken():
    def refine(plan: eckart.Plan) -> eckart.Plan:
        """Promises much for b, and keeps it only at the high rank."""
        low = plan.choices["b"].form.rank == 5
        return refining({"a": 0.9, "b": 1.0 if low else 0.5})(plan)

    found = refined_twice(CURVES, choose, refine)
    assert ranks(found) == {"a": 5, "b": 9}


def test_nothing_is_chosen_again_where_nothing_was_gained():
    calls = list[eckart.Curves]()

    def counted(options: eckart.Curves) -> eckart.Plan:
        calls.append(options)
        return choose(options)

    refined_twice(CURVES, counted, refining({"a": 1.0, "b": 1.0}))
    assert calls == [CURVES]


def test_layers_that_were_not_tried_are_assumed_to_gain_the_median():
    third = spec("c", PIECE)
    curves = curves_of([*SPECS, third], [[(5, 4.0)], [(5, 4.0)], [(9, 50.0)]])
    seen = list[eckart.Curves]()

    def counted(options: eckart.Curves) -> eckart.Plan:
        seen.append(options)
        return eckart.allocate(options, eckart.Budget(params=800))

    refined_twice(curves, counted, refining({"a": 0.4, "b": 0.6, "c": 1.0}))
    (option, _) = seen[1].curves[2].options
    assert isinstance(option, Option)
    assert option.loss == 50.0 * 0.5


def test_codes_teach_nothing_about_numbers():
    """A layer in codes lost more than expected; the same method without codes is as predicted."""

    def in_codes(curve: eckart.records.Curve) -> eckart.records.Curve:
        first, *others = curve.options
        coded = replace(first, form=first.form.in_codes([4, 4]))
        return replace(curve, options=(coded, *others))

    curves = replace(CURVES, curves=tuple(map(in_codes, CURVES.curves)))
    seen = list[eckart.Curves]()

    def counted(options: eckart.Curves) -> eckart.Plan:
        seen.append(options)
        return choose(options)

    refined_twice(curves, counted, refining({"a": 1.5, "b": 1.0}))
    (coded, numbers, _) = seen[1].curves[0].options
    assert (coded.loss, numbers.loss) == (1.5 * 4.0, 1.0)
