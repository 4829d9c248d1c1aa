"""A first look: low rank alone, which is an upper bound of what all options together lose."""

from __future__ import annotations

from dataclasses import replace

from torch import nn
from typing_extensions import Unpack

from eckart.errors import InputError
from eckart.methods import LowRank, fitting_methods, methods_named
from eckart.moments import Moments
from eckart.network.twins import opened
from eckart.network.wrappers import network_in
from eckart.records import Curves, Offer
from eckart.records.offer import Allowed
from eckart.stages.curves import curves


def first_curves(
    model: nn.Module,
    moments: Moments,
    *,
    offer: Offer | None = None,
    progress: bool | None = None,
    **allowed: Unpack[Allowed],
) -> Curves:
    """The curves of low-rank factors at full width, long before all others are known.

    A plan from these curves loses at least as much as the best one from ``curves``, because that
    has these options too. Give them as ``curves(…, reuse=first)``, and nothing is done twice.
    With ``rescale`` the losses are not comparable, so it is left out here.

    Args:
        model: the network that the moments were gathered on.
        moments: from ``calibrate``.
        offer: what may be done to which layers; of its methods, the first of low rank counts.
        progress: show a bar; None shows it on a terminal.
        **allowed: fields of ``Offer``, in place of one.

    Raises:
        MismatchError, InputError: as for ``curves``; or none of the methods is of low rank.

    Cost: one decomposition per layer, O(in² out + out³).

    Example:
        >>> import torch, eckart
        >>> network = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 4))
        >>> moments = eckart.calibrate(network, [torch.randn(64, 20)])
        >>> first = first_curves(network, moments)
        >>> half = eckart.Budget(params=0.5)
        >>> most = eckart.allocate(first, half).loss
        >>> eckart.allocate(eckart.curves(network, moments, reuse=first), half).loss <= most
        True
    """
    offer = Offer.of(offer, allowed)
    known = methods_named(fitting_methods(opened(network_in(model)), offer.methods))
    names = [method.name for method in known if isinstance(method, LowRank)]
    if not names:
        raise InputError(
            "a first look is at low rank, and none of the methods is: call curves, or give "
            'methods="auto"'
        )
    quick = replace(offer, methods=names[:1], rescale=False)
    return curves(model, moments, offer=quick, progress=progress)
