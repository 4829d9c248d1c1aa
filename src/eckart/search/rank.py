"""The smallest rank of one layer that a tolerance allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from eckart.errors import EckartError, InputError
from eckart.layers import as_matrix, piece_of, rebuild, weight_of
from eckart.linalg.admissible import admissible_stack
from eckart.methods import Method, Problem, Table, Weight, methods_named, problem_of
from eckart.moments import Moments
from eckart.moments.shrinkage import shrinkage_of
from eckart.network.identity import check_numbers, check_same_network
from eckart.network.opening import Opening
from eckart.network.replacing import copied
from eckart.network.survey import survey
from eckart.network.twins import opened
from eckart.network.wrappers import network_in
from eckart.records import Form, FoundRank, Score
from eckart.records.offer import DAMPING
from eckart.scores import Evaluate
from eckart.search.bisection import checked_tolerance, smallest_passing
from eckart.search.sequence import Judge, smallest_shown


def find_rank(
    model: nn.Module,
    layer: str,
    evaluate: Evaluate,
    *,
    tolerance: float,
    confidence: float | None = None,
    moments: Moments | None = None,
    method: str | None = None,
) -> FoundRank:
    """The smallest rank of a layer with ``φ(y, ŷ) − φ(y, ŷ′) < tolerance``, or no gap at all.

    ``φ`` is the score by ``evaluate``, ``ŷ`` are the network's outputs, and ``ŷ′`` are its outputs
    with the layer's (m, n) matrix at rank r. The candidates are the ranks from 1 to
    ``mn / (m + n)``, which take no more parameters than the layer. Bisection finds the answer for
    certain if the score never falls as the rank grows. If it does fall, there is a warning, and
    ``eckart.search.bisection.smallest_passing`` says what is done.

    Args:
        model: the trained network; it is not changed. Wrappers by ``torch.compile`` and
            ``DataParallel`` are left out.
        layer: name of the layer.
        evaluate: ``evaluate(model)`` returns a number, where higher is better, or a ``Score``, in
            which lower can be better. It is called once for the dense network and once for each
            rank that is tried.
        tolerance: how much worse the score may be; 0 or more.
        confidence: the chance, such as 0.95, that the gap is below the tolerance on *further* data,
            of which those of ``evaluate`` are a random sample in random order, however many ranks
            were tried. At most 24 ranks are tried, from the largest down, see
            ``eckart.search.sequence.smallest_shown``. ``evaluate`` is ``eckart.accuracy``,
            ``perplexity`` or ``torch_metric``, or returns a ``Score`` with samples. None decides
            by the scores on these data alone.
        moments: from ``calibrate``; None treats inputs and gradients as white, ``A = G = I``.
        method: name of the method that makes the factors. None uses ``"weighted_svd"`` with
            moments, and plain ``"svd"`` without. If a method does not have all ranks, those that it
            has are searched.

    Returns:
        The rank (None if no candidate passes), the network with the layer at this rank, and the
        search: the gap, how many of the layer's parameters are saved, and every evaluation.

    Raises:
        InputError: the layer is unknown or cannot be replaced, the network cannot be evaluated
            with its factors, or an argument cannot be used.
        MismatchError: the moments belong to another network.

    Cost: one decomposition, and one evaluation per rank tried: about ⌈log₂ r⌉ + 2 if scores are in
        order.

    Example:
        >>> import torch, eckart
        >>> network = torch.nn.Sequential(torch.nn.Linear(20, 30, bias=False))
        >>> _ = network[0].weight.data.copy_(torch.ones(30, 1) @ torch.arange(20.0)[None])
        >>> x, y = torch.eye(20), network(torch.eye(20)).detach()
        >>> eckart.find_rank(network, "0", lambda m: -(m(x) - y).norm(), tolerance=1e-3).rank
        1
    """
    tolerance, model = checked_tolerance(tolerance), network_in(model)
    dense = _layer_named(opened(model), layer)
    chosen = _method(method or ("svd" if moments is None else "weighted_svd"))
    problem = _problem(model, dense, layer, moments)
    if not chosen.applies(problem.piece):
        raise InputError(f"layer {layer!r}: {chosen.name} does not apply to its shape")
    state = chosen.prepare(problem)
    forms = _candidates(chosen.losses(state), problem.piece.params)
    opening = Opening.of(model, [layer]).carried_out(inplace=False)
    trial = _Trial(opening, layer, dense, partial(chosen.build, state), forms)
    ranks, sizes = list(forms), [form.params for form in forms.values()]
    whole = problem.piece.params
    if confidence is None:
        before = Score.of(evaluate(model))
        found, search = smallest_passing(
            sizes, lambda i: trial.score(evaluate, ranks[i]), before, whole, tolerance, ranks
        )
    else:
        judge = Judge.of(evaluate, model, tolerance, confidence)
        with trial.named():
            found, search = smallest_shown(sizes, lambda i: trial.at(ranks[i]), judge, whole, ranks)
    smaller = copied(model) if found is None else trial.at(ranks[found])
    return FoundRank(layer=layer, method=chosen.name, model=smaller, search=search)


@dataclass
class _Trial:
    """The network with one layer at one rank after another."""

    network: nn.Module
    layer: str
    dense: nn.Module
    build: Callable[[Form], Sequence[Weight]]
    forms: Mapping[int, Form]
    rank: int | None = None

    def at(self, rank: int) -> nn.Module:
        """The network, with the layer at this rank from now on."""
        form, self.rank = self.forms[rank], rank
        self.network.set_submodule(self.layer, rebuild(self.dense, form, self.build(form)))
        return self.network

    def score(self, evaluate: Evaluate, rank: int) -> Score:
        """The score at this rank."""
        with self.named():
            return Score.of(evaluate(self.at(rank)))

    @contextmanager
    def named(self) -> Iterator[None]:
        """Name the layer and its rank in errors of evaluations."""
        try:
            yield
        except EckartError:
            raise
        except Exception as error:
            raise InputError(
                f"layer {self.layer!r} at rank {self.rank}: the network cannot be evaluated with "
                f"it ({type(error).__name__}: {error!s:.120}); search another layer"
            ) from error


def _layer_named(model: nn.Module, layer: str) -> nn.Module:
    """The layer of that name, after a check that it can be replaced."""
    for name, parameter in model.named_parameters():
        check_numbers(name, parameter)
    layers, skipped = survey(model)
    if layer in skipped:
        raise InputError(f"layer {layer!r} cannot be replaced: {skipped[layer]}")
    if layer not in layers:
        raise InputError(f"no layer is called {layer!r}; layers are: {', '.join(layers)}")
    weight = weight_of(layers[layer])
    if not weight.is_floating_point():
        raise InputError(f"layer {layer!r} is {weight.dtype}; expected real floating point")
    return layers[layer]


def _method(name: str) -> Method:
    found = methods_named([name])
    if not found:
        raise InputError(f"method {name!r} has no ranks; use weighted_svd")
    return found[0]


def _problem(model: nn.Module, module: nn.Module, layer: str, moments: Moments | None) -> Problem:
    """The layer's problem under the moments, or under white moments."""
    if moments is not None:
        check_same_network(model, moments.fingerprint, "these moments")
        if layer not in moments.specs:
            why = moments.skipped.get(layer, "not seen in calibration")
            raise InputError(f"layer {layer!r} has no moments: {why}")
        return problem_of(module, layer, moments, DAMPING, shrinkage_of(moments, layer))
    piece, stored = piece_of(module), weight_of(module).detach()
    weight = admissible_stack(as_matrix(module), f"layer {layer!r}: its weight")
    table = Table(stored) if piece.table else None
    if table is not None:
        weight = table.matrix()
    groups, outputs, inputs = weight.shape

    def white(size: int) -> Tensor:
        return torch.eye(size, dtype=weight.dtype, device=weight.device).repeat(groups, 1, 1)

    return Problem(piece, weight, white(inputs), white(outputs), table=table)


def _candidates(offers: Sequence[tuple[Form, float]], params: int) -> dict[int, Form]:
    """By rank, ascending: the best form with no more parameters than the layer."""
    best: dict[int, tuple[float, Form]] = {}
    for form, loss in offers:
        if form.rank is None or form.params > params:
            continue
        known = best.get(form.rank)
        if known is None or loss < known[0]:
            best[form.rank] = (loss, form)
    return {rank: best[rank][1] for rank in sorted(best)}
