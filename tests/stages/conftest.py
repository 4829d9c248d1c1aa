import pytest
import torch
from torch import nn

import eckart
from stages.networks import SmallCnn


@pytest.fixture(autouse=True)
def seed():
    """Every test draws the same networks and data, in whichever order they run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SmallCnn().eval()


@pytest.fixture(scope="module")
def moments(network: nn.Module) -> eckart.Moments:
    images = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return eckart.calibrate(network, [images], progress=False)
