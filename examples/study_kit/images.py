"""Labelled images of a data set on the hub or in a local folder, as tensors and batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import datasets
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Size = int | tuple[int, int] | None


@dataclass(frozen=True)
class Images:
    """Images with their labels; iteration gives batches of (inputs, labels) in order.

    Attributes:
        pixels: uint8, shape (n, channels, height, width).
        labels: shape (n,).
        mean, std: per channel, of pixels in [0, 1]; each batch is normalised by them.
        batch: images per batch.
    """

    pixels: Tensor
    labels: Tensor
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    batch: int = 250

    def __len__(self) -> int:
        """The number of batches, as in a `DataLoader`."""
        return -(-len(self.labels) // self.batch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.arange(len(self.labels)).split(self.batch):
            yield self.inputs(self.pixels[rows]), self.labels[rows]

    def inputs(self, pixels: Tensor) -> Tensor:
        """The network's inputs for these pixels."""
        mean, std = (torch.tensor(v).reshape(-1, 1, 1) for v in (self.mean, self.std))
        normal = pixels.float().div_(255).sub_(mean).div_(std)
        return normal.contiguous(memory_format=torch.channels_last)

    def shuffled(self, generator: torch.Generator, margin: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """Batches in random order; with a margin, randomly mirrored and moved up to it."""
        for rows in torch.randperm(len(self.labels), generator=generator).split(self.batch):
            pixels = self.pixels[rows]
            if margin:
                pixels = _moved(pixels, margin, generator)
            yield self.inputs(pixels), self.labels[rows]

    def digest(self) -> str:
        """Twelve hex digits of pixels, labels and how they are normalised."""
        found = hashlib.sha256(f"{self.mean} {self.std}".encode())
        for tensor in (self.pixels, self.labels):
            found.update(tensor.numpy().tobytes())
        return found.hexdigest()[:12]

    def first(self, n: int) -> Images:
        """The first n images, or all if there are fewer."""
        return replace(self, pixels=self.pixels[:n], labels=self.labels[:n])

    def in_batches(self, batch: int) -> Images:
        """The same images with another batch size."""
        return replace(self, batch=batch)


def load_images(data: str, split: str, size: Size = None, **normal: Any) -> Images:
    """A split of a data set, with the columns `image` (or `img`) and `label`.

    Args:
        data: a folder, `owner/name` on the hub, or `owner/name:configuration`, which is read from
            the hub's own conversion to Parquet.
        split: name of the split.
        size: length in pixels that the shorter side is scaled to; the longer one is cropped to it.
            A pair is the width and height that the whole image is scaled to, its shape lost. None
            leaves the images unchanged.
        **normal: `mean` and `std`; by default, pixels stay in [0, 1].
    """
    name, _, configuration = data.partition(":")
    options = {"name": configuration, "revision": "refs/convert/parquet"} if configuration else {}
    rows = datasets.load_dataset(name, split=split, **options)
    column = "image" if "image" in rows.column_names else "img"
    pixels = np.stack([_pixels(image, size) for image in rows[column]])
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    channels_first = torch.from_numpy(pixels).movedim(3, 1).contiguous()
    return Images(channels_first, torch.tensor(rows["label"]), **normal)


def _pixels(image, size: Size) -> np.ndarray:
    """A decoded image of the given size."""
    if isinstance(size, tuple):
        image = image.convert("RGB").resize(size)
    elif size is not None:
        image = image.convert("RGB")
        if image.size != (size, size):
            scale = size / min(image.size)
            image = image.resize([max(size, round(scale * side)) for side in image.size])
            left, upper = ((side - size) // 2 for side in image.size)
            image = image.crop((left, upper, left + size, upper + size))
    return np.asarray(image, np.uint8)


def _moved(pixels: Tensor, margin: int, generator: torch.Generator) -> Tensor:
    """Each image mirrored or not, and cropped at random from a copy with a margin of zeros."""
    n, _, height, width = pixels.shape
    mirrored = torch.rand(n, generator=generator) < 0.5
    pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
    padded = F.pad(pixels, (margin,) * 4)
    starts = torch.randint(2 * margin + 1, (n, 2), generator=generator).tolist()
    pairs = zip(padded, starts, strict=True)
    return torch.stack([x[:, i : i + height, j : j + width] for x, (i, j) in pairs])
