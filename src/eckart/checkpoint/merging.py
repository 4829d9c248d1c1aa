"""Multiply factors out again, and make codes into weights."""

from __future__ import annotations

import copy

from torch import nn

from eckart.checkpoint.names import inside
from eckart.layers import Factored, decoded
from eckart.network.plan_attribute import attach_plan
from eckart.network.twins import closed
from eckart.network.wrappers import unwrapped


def merge(model: nn.Module, *, inplace: bool = False) -> nn.Module:
    """Multiply every factored layer out into a dense one; exact except for rounding.

    Modules that were opened, such as attention, are of their original class again where all of
    their layers have the original widths.

    Args:
        model: a network with factored layers. Wrappers by ``torch.compile`` and ``DataParallel``
            are left out.
        inplace: change ``model`` itself, or the network inside the wrappers, instead of a copy.
    """
    model = unwrapped(model)
    dense = model if inplace else copy.deepcopy(model)
    for name, module in list(dense.named_modules()):
        if type(module) is Factored:
            dense.set_submodule(name, module.merge())
    return attach_plan(closed(dense), None)


def dequantized(model: nn.Module) -> nn.Module:
    """Make every weight that is kept in codes, once and in place; factors stay factors.

    Modules that were opened close again as in ``merge``. The plan goes, because it describes codes.
    """
    coded = [(n, m) for n, m in model.named_modules() if type(m) is Factored and m.form.bits]
    for name, chain in coded:
        model.set_submodule(name, decoded(chain))
    if coded:
        attach_plan(inside(closed(model)), None)
    return model
