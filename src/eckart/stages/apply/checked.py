"""Checks before a plan is applied."""

from __future__ import annotations

from torch import nn

from eckart.errors import MismatchError
from eckart.moments import Moments
from eckart.network.identity import check_fingerprint, check_whole, fingerprint
from eckart.network.plan_fit import check_fit
from eckart.records import Plan


def check_fits(model: nn.Module, whole: nn.Module, plan: Plan, moments: Moments) -> None:
    """Check that plan, moments and network belong together.

    Args:
        model: the dense network.
        whole: the same, opened.
        plan: to be applied.
        moments: that it was made from.

    Raises:
        MismatchError: they do not.
        InputError: the network is sharded over ranks.
    """
    check_whole(model)
    found = fingerprint(model)
    check_fingerprint(found, plan.fingerprint, "this plan")
    check_fingerprint(found, moments.fingerprint, "these moments")
    if plan.moments and plan.moments != moments.digest:
        raise MismatchError(
            "the plan's losses were predicted from other moments of this network: apply the plan "
            "with those moments, or allocate again"
        )
    check_fit(whole, plan, moments.specs)
