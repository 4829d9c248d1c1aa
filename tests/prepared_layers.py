"""What every registered method makes of the layers of the zoo, prepared once per run."""

from functools import cache, cached_property

from torch import Tensor, nn

from eckart.layers import Factored, rebuild
from eckart.methods import METHODS, Method, Problem
from eckart.records import Form
from layer_zoo import layer, piece_of_layer, problem_of_layer


class Prepared:
    """A method's answer for one layer.

    Attributes:
        module, problem: the layer, and its problem under random moments.
        state: what the method prepared.
        offers: every form that it offers, with its loss.
    """

    def __init__(self, method: Method, module: nn.Module) -> None:
        self.method, self.module = method, module
        self.problem: Problem = problem_of_layer(module)
        self.state = method.prepare(self.problem)
        self.offers: list[tuple[Form, float]] = method.losses(self.state)

    @cached_property
    def weights(self) -> list[list[Tensor]]:
        """The factors of each form."""
        return [list(self.method.build(self.state, form)) for form, _ in self.offers]

    @cached_property
    def factored(self) -> list[Factored]:
        """What replaces the layer, for each form."""
        pairs = zip(self.offers, self.weights, strict=True)
        return [rebuild(self.module, form, weights) for (form, _), weights in pairs]


@cache
def prepared_for(method: str, name: str) -> Prepared | None:
    """A method's answer for the named layer; None where it has nothing to offer."""
    module = layer(name)
    applies = METHODS[method].applies(piece_of_layer(module))
    return Prepared(METHODS[method], module) if applies else None
