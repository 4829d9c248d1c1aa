"""Whether a plan can be carried out on a network, said before anything is done to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain

from torch import nn

from eckart.errors import CheckpointError, MismatchError
from eckart.layers import norm_width, piece_of, type_of
from eckart.records import ChannelGroup, Form, LayerSpec, Plan
from eckart.records.channels import Units


def check_fit(model: nn.Module, plan: Plan, specs: Mapping[str, LayerSpec]) -> None:
    """A plan read from a file may name layers, channels and forms that the network does not have.

    Args:
        model: the dense network.
        plan: of that network, by its fingerprint.
        specs: of the layers that can change.

    Raises:
        MismatchError: it does not fit; says which layer and why.
    """
    modules = dict(model.named_modules())
    for removal in plan.removals.values():
        _check_specs(removal.group.readers, specs)
        for layer, units, width in _members(modules, removal.group):
            _check_channels(removal.group, layer, units, width)
    _check_specs(plan.choices, specs)
    for name, choice in plan.choices.items():
        _check_form(name, choice.form, specs[name], plan)


def _check_specs(layers: Iterable[str], specs: Mapping[str, LayerSpec]) -> None:
    unknown = sorted(set(layers) - specs.keys())
    if unknown:
        raise MismatchError(f"the plan names layers without moments: {', '.join(unknown):.200}")


def _members(
    modules: Mapping[str, nn.Module], group: ChannelGroup
) -> Iterable[tuple[str, Units, int]]:
    """Every layer of a group, its channels, and how many there are in the dense network."""
    for layer, units in chain(group.writers.items(), group.followers.items()):
        yield layer, units, _width(modules.get(layer), reads=False)
    for layer, units in group.readers.items():
        yield layer, units, _width(modules.get(layer), reads=True)


def _width(module: nn.Module | None, *, reads: bool) -> int:
    """Channels of a layer or norm; 0 where it is neither."""
    norm = None if module is None else norm_width(module)
    if norm is not None:
        return 0 if reads else norm
    if module is None or type_of(module) is None:
        return 0
    piece = piece_of(module)
    return piece.inputs if reads else piece.outputs


def _check_channels(group: ChannelGroup, layer: str, units: Units, width: int) -> None:
    if width == 0:
        raise MismatchError(
            f"the plan removes channels of {layer!r:.80}, and the network has no such layer"
        )
    most = max(chain.from_iterable(units), default=0)
    if most >= width:
        raise MismatchError(
            f"the plan's group {group.name!r:.80} has channel {most} of {layer!r:.80}, which has "
            f"{width}"
        )


def _check_form(name: str, form: Form, spec: LayerSpec, plan: Plan) -> None:
    """The form replaces the layer, and is as wide as the removals leave it."""
    try:
        form.check_replaces(spec.piece)
    except CheckpointError as error:
        raise MismatchError(f"layer {name!r:.80}: {error}") from error
    removals = plan.removals.values()
    read = [r for r in removals if name in r.group.readers]
    written = [r for r in removals if name in {**r.group.writers, **r.group.followers}]
    gone = [sum(len(r.group.columns(name, r.removed)) for r in read)]
    gone.append(sum(len(r.group.rows(name, r.removed)) for r in written))
    left = (spec.piece.inputs - gone[0], spec.piece.outputs - gone[1])
    if spec.piece.is_depthwise and written:
        left = (left[1], left[1])
    if (form.pieces[0].inputs, form.pieces[-1].outputs) != left:
        raise MismatchError(
            f"layer {name!r:.80}: the plan's form is {form}, and its removals leave {left[0]} "
            f"inputs and {left[1]} outputs"
        )
