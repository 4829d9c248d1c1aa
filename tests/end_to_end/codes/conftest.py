"""Each of these files makes one network smaller, in codes: its network, X, METHODS and LIMIT."""

import pytest
from torch import nn

from eckart import Moments, allocate, apply, calibrate, curves
from eckart.records import Curves, Plan


@pytest.fixture(scope="module")
def moments(request: pytest.FixtureRequest) -> Moments:
    return calibrate(request.module.network(), [request.module.X], progress=False)


@pytest.fixture(scope="module")
def options(request: pytest.FixtureRequest, moments: Moments) -> Curves:
    given = request.module
    return curves(given.network(), moments, methods=given.METHODS, limits="bytes", progress=False)


@pytest.fixture(scope="module")
def plan(request: pytest.FixtureRequest, options: Curves) -> Plan:
    return allocate(options, request.module.LIMIT)


@pytest.fixture(scope="module")
def smaller(request: pytest.FixtureRequest, plan: Plan, moments: Moments) -> nn.Module:
    return apply(request.module.network(), plan, moments)
