import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile(  # the same examples on every CI run, new ones at every desk
    "eckart", deadline=None, derandomize=bool(os.environ.get("CI"))
)
settings.load_profile("eckart")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data named by ECKART_DATA."""
    if not os.environ.get("ECKART_DATA"):
        pytest.skip("needs real data: set ECKART_DATA to the folder that holds it")
    root = Path(os.environ["ECKART_DATA"]).resolve()
    if not root.is_dir():
        pytest.fail(f"ECKART_DATA={root} is not a folder; correct or unset it")
    return root
