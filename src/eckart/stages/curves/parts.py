"""What each part of the dense network costs, so that an error can name the largest."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from eckart.costs import costs_told_by
from eckart.errors import MismatchError
from eckart.moments import Moments
from eckart.network.costs import NetworkCosts, network_costs, saved_buffers, stored_in
from eckart.records.curves import OUTSIDE, UNREACHED


def costs_of_parts(
    model: nn.Module, moments: Moments, shrinking: Collection[str] = ()
) -> dict[str, dict[str, float]]:
    """Costs by name of the part and of the cost; the costs of a part that are known.

    A part is a layer, or all modules of one class that have no matrix, such as norms. A tensor that
    is shared counts once. What calibration did not reach is one part.

    Args:
        model: the dense network.
        moments: from ``calibrate``.
        shrinking: names of modules that shrink with the layers around them; they are left out.

    Raises:
        MismatchError: the network does not run on the moments' example.

    Cost: one forward pass of one example.
    """
    counted = _counted(model, moments)
    costs = costs_told_by(moments.specs.values())
    parts: dict[str, dict[str, float]] = {
        name: {cost: each.of(spec, spec.dense) for cost, each in costs.items()}
        for name, spec in moments.specs.items()
    }
    seen = {id(p) for name in parts for p in model.get_submodule(name)._parameters.values()}
    idle = unreached(model, moments)
    seen |= {id(tensor) for tensor in idle}
    for name, module in model.named_modules():
        if name in parts or name in shrinking:
            continue
        known = name in moments.skipped
        part = parts.setdefault(name if known else f"every {type(module).__name__}", {})
        _add(part, {"macs": counted.layer_macs.get(name, 0), **_stored(module, seen)})
    parts[OUTSIDE] = {"macs": counted.other_macs}
    parts[UNREACHED] = {**stored_in(idle)}
    return parts


def unreached(model: nn.Module, moments: Moments) -> list[Tensor]:
    """The parameters that calibration did not reach, and the buffers of modules with no others."""
    named = dict(model.named_parameters())
    idle = [named[name] for name in moments.unreached if name in named]
    known = {id(parameter) for parameter in idle}
    buffers = [
        buffer
        for module in model.modules()
        if {id(p) for p in module._parameters.values() if p is not None} <= known
        and any(p is not None for p in module._parameters.values())
        for buffer in saved_buffers(module).values()
    ]
    return [*idle, *buffers]


def _counted(model: nn.Module, moments: Moments) -> NetworkCosts:
    try:
        return network_costs(model, moments.example)
    except Exception as error:  # moments from a file may hold anything as their example
        raise MismatchError(
            "the network does not run on the example that came with the moments "
            f"({type(error).__name__}: {error!s:.120}): calibrate again"
        ) from error


def _stored(module: nn.Module, seen: set[int]) -> dict[str, int]:
    """Parameters and bytes of a module itself that were not seen before."""
    own = [p for p in module._parameters.values() if p is not None]
    fresh = [t for t in (*own, *saved_buffers(module).values()) if id(t) not in seen]
    seen |= {id(tensor) for tensor in fresh}
    return stored_in(fresh)


def _add(part: dict[str, float], costs: Mapping[str, int]) -> None:
    for name, value in costs.items():
        part[name] = part.get(name, 0) + value
