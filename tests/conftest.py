import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from jaxtyping import config

torch.set_num_threads(1)
gc.disable()  # until all is imported and collected, of which nothing is garbage
settings.register_profile(  # the same examples on every CI run, new ones at every desk
    "eckart", deadline=None, derandomize=bool(os.environ.get("CI"))
)
settings.load_profile("eckart")

TESTS = Path(__file__).parent
CHECKED = (
    "contracts/",
    "linalg/",
    "networks/",
    "scores/",
    "stages/heal/",
    "stages/test_calibrate",
    "stages/test_factorize",
    "stages/test_learned_ranks",
    "stages/test_moments_file",
    "stages/test_shrinkage",
    "test_text",
)
"""Tests that also check shapes and types: every part and every kind of network is in one of them.

So are doctests. The others run the parts together, where checks take a third of the time.
"""


def pytest_collection_finish() -> None:
    """What is there now stays to the end, so no collection has to look at it again."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Check shapes and types, or do not."""
    tested = TESTS in item.path.parents
    checked = not tested or item.path.relative_to(TESTS).as_posix().startswith(CHECKED)
    config.update("jaxtyping_disable", not checked)
    try:
        return (yield)
    finally:
        config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session", autouse=True)
def briefly_timed() -> Iterator[None]:
    """Forward passes are timed for a millisecond, where users get half a second."""
    from eckart.runtimes import interleaved  # here, after the hook that checks types is in place

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eckart.runtimes.pace._SECONDS", 1e-3)
        patch.setattr("eckart.stages.profile.networks._SECONDS", 1e-3)
        patch.setattr(
            "eckart.stages.measure.interleaved",
            lambda runs, rounds, clock, seconds: interleaved(runs, rounds, clock, 1e-3),
        )
        yield


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data named by ECKART_DATA."""
    if not os.environ.get("ECKART_DATA"):
        pytest.skip("needs real data: set ECKART_DATA to the folder that holds it")
    root = Path(os.environ["ECKART_DATA"]).resolve()
    if not root.is_dir():
        pytest.fail(f"ECKART_DATA={root} is not a folder; correct or unset it")
    return root
