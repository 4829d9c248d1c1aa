import pytest
import torch


@pytest.fixture(autouse=True)
def seed():
    """Every test draws the same networks and data, in whichever order they run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
