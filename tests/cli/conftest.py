import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from eckart.cli import app

FACTORY = """
import torch
from torch import nn

NUMBER = 3
NETWORK = nn.Linear(2, 2)


def net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 2),
    )


def loud():
    print("a network is made")
    return net()


def wrong():
    return 3


def broken():
    raise OSError("no such chip")
"""


@pytest.fixture
def run() -> Callable[..., Result]:
    """Call the command line in this process."""

    def call(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return call


@pytest.fixture
def factory(tmp_path: Path) -> str:
    """MODEL: a small convolutional network for two classes."""
    path = tmp_path / "networks.py"
    path.write_text(FACTORY)
    return f"{path}:net"


@pytest.fixture
def weights(tmp_path: Path, factory: str) -> Path:
    """Weights of that network, with those that a batch norm may lack left out."""
    from eckart.cli.sources.models import load_model

    torch.manual_seed(1)
    state = {k: torch.randn(v.shape) for k, v in load_model(factory).state_dict().items()}
    state["1.running_var"] = state["1.running_var"].abs() + 0.5
    del state["1.num_batches_tracked"]
    path = tmp_path / "net.safetensors"
    save_file(state, path)
    return path


@pytest.fixture(scope="session")
def made_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 16), ("test", 8)):
        for label, name in enumerate(("dark", "light")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = torch.randint(128, (8, 8, 3), generator=generator) + 127 * label
                raw = bytes(pixels.flatten().tolist())
                Image.frombytes("RGB", (8, 8), raw).save(folder / f"{index:02}.png")
    return root


@pytest.fixture
def folder(made_folder: Path, tmp_path: Path) -> Path:
    """split/class/image.png: 32 to train on and 16 to test on, two classes, 8×8."""
    return Path(shutil.copytree(made_folder, tmp_path / "images"))
