"""Multiply factors out again."""

from __future__ import annotations

import copy

from torch import nn

from eckart.layers import Factored
from eckart.network.plan_attribute import attach_plan


def merge(model: nn.Module, *, inplace: bool = False) -> nn.Module:
    """Multiply every factored layer out into a dense one; exact except for rounding.

    Args:
        model: a network with factored layers.
        inplace: change ``model`` itself instead of a copy.
    """
    dense = model if inplace else copy.deepcopy(model)
    for name, module in list(dense.named_modules()):
        if type(module) is Factored:
            dense.set_submodule(name, module.merge())
    return attach_plan(dense, None)
