"""MNIST, Fashion-MNIST and CIFAR-10 as whole tensors, decoded once and cached as safetensors."""

import gzip
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

CACHE = Path(__file__).parents[1] / ".cache"
CIFAR_MEAN = (0.485, 0.456, 0.406)  # of ImageNet, because the published networks expect them
CIFAR_STD = (0.229, 0.224, 0.225)
CALIBRATION_IMAGES = 2000
BATCH = 250

Labelled = tuple[Float[Tensor, "n channels height width"], Int64[Tensor, " n"]]


def batches(data: Labelled, size: int = BATCH) -> list[Labelled]:
    """Images with their labels, in order."""
    images, labels = data
    return list(zip(images.split(size), labels.split(size), strict=True))


def first(data: Labelled, count: int) -> Labelled:
    """The first images with their labels, as copies, so that the rest can be freed."""
    images, labels = data
    return images[:count].clone(), labels[:count].clone()


def cifar10(
    root: str | Path | None = None, split: str = "train", count: int | None = None
) -> Labelled:
    """CIFAR-10 (n, 3, 32, 32), normalised as the published ResNets expect; `root/cifar10` parquet.

    Args:
        root: folder that holds `cifar10/`; defaults to the environment variable ECKART_DATA.
        split: "train" (50,000) or "test" (10,000).
        count: how many images, from the first; None is all of them.
    """
    pixels, labels = _parquet(data_root(root) / "cifar10", split, image_column="img", count=count)
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (CIFAR_MEAN, CIFAR_STD))
    return pixels.permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std).contiguous(), labels


def mnist(root: str | Path | None = None, split: str = "train") -> Labelled:
    """MNIST (n, 1, 28, 28) in [0, 1]; `root/mnist` parquet. Arguments as `cifar10`."""
    pixels, labels = _parquet(data_root(root) / "mnist", split, image_column="image")
    return pixels.unsqueeze(1).float().div_(255), labels


def fashion_mnist(root: str | Path | None = None, split: str = "train") -> Labelled:
    """Fashion-MNIST (n, 1, 28, 28) in [0, 1] from the four IDX files, plain or gzipped.

    Args:
        root: any folder above the IDX files, such as /usr/share/datasets of Debian's package
            dataset-fashion-mnist; defaults to the environment variable ECKART_DATA.
        split: "train" (60,000) or "test" (10,000).
    """
    prefix = {"train": "train", "test": "t10k"}[_known(split)]
    folder = data_root(root)
    images = _idx(_one(folder, f"{prefix}-images-idx3-ubyte*"))
    labels = _idx(_one(folder, f"{prefix}-labels-idx1-ubyte*"))
    return images.unsqueeze(1).float().div_(255), labels.long()


def flipped_and_cropped(
    images: Float[Tensor, "n channels height width"], padding: int = 4
) -> Float[Tensor, "n channels height width"]:
    """Each image randomly flipped left to right, and moved by up to `padding` pixels."""
    n, channels, height, width = images.shape
    flipped = torch.where(torch.rand(n, 1, 1, 1) < 0.5, images.flip(3), images)
    padded = torch.nn.functional.pad(flipped, [padding] * 4)
    down, right = (torch.randint(2 * padding + 1, (n, 1)) for _ in range(2))
    rows, columns = down + torch.arange(height), right + torch.arange(width)
    place = torch.arange(n).view(-1, 1, 1, 1), torch.arange(channels).view(1, -1, 1, 1)
    return padded[(*place, rows[:, None, :, None], columns[:, None, None, :])]


def channels_last(images: Tensor) -> Tensor:
    """Images in the layout that is fastest for convolutions on CPUs; other tensors unchanged."""
    return images.contiguous(memory_format=torch.channels_last) if images.dim() == 4 else images


def data_root(root: str | Path | None = None) -> Path:
    """The data folder: `root` or the environment variable ECKART_DATA.

    Raises:
        FileNotFoundError: neither is given, or the folder does not exist.
    """
    found = root if root is not None else os.environ.get("ECKART_DATA")
    if found is None:
        raise FileNotFoundError("no data folder: give root=… or set ECKART_DATA")
    if not Path(found).is_dir():
        raise FileNotFoundError(f"data folder {str(found)!r} does not exist")
    return Path(found)


def digest_of(folder: Path, split: str) -> str:
    """Twelve hex digits of the file that a split is read from."""
    content = _one(folder, f"{_known(split)}-*.parquet").read_bytes()
    return hashlib.sha256(content).hexdigest()[:12]


def _parquet(
    folder: Path, split: str, image_column: str, count: int | None = None
) -> tuple[UInt8[Tensor, "..."], Tensor]:
    """Decoded pixels (n, height, width[, 3]) and labels; cached until the file changes.

    A few images are decoded alone, which is faster than reading all from a cold cache.
    """
    source = _one(folder, f"{_known(split)}-*.parquet")
    stat = source.stat()
    key = hashlib.sha256(f"{source.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode())
    cache = CACHE / f"{folder.name}-{split}-{key.hexdigest()[:12]}.safetensors"
    if count is not None:
        return _decoded(pyarrow.parquet.read_table(source).slice(0, count), image_column)
    if not cache.exists():
        pixels, labels = _decoded(pyarrow.parquet.read_table(source), image_column)
        write_tensors({"pixels": pixels, "labels": labels}, cache)
    tensors = load_file(cache)
    return tensors["pixels"], tensors["labels"]


def _decoded(table: pyarrow.Table, image_column: str) -> tuple[UInt8[Tensor, "..."], Tensor]:
    encoded = table[image_column].combine_chunks().field("bytes")
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(b.as_py()))) for b in encoded])
    return torch.from_numpy(pixels), torch.tensor(table["label"].to_numpy())


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write safetensors; an interrupted or a second run still leaves a complete file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    save_file(tensors, partial)
    partial.replace(path)


def _idx(path: Path) -> UInt8[Tensor, "..."]:
    """An IDX file of bytes: two zeros, type 8, number of axes, big-endian sizes, the values."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"{path}: got header {content[:3]!r}, expected IDX of unsigned bytes")
    shape = np.frombuffer(content, ">u4", count=content[3], offset=4).tolist()
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape))
    return torch.from_numpy(values.reshape(shape).copy())


def _one(folder: Path, pattern: str) -> Path:
    found = sorted(path for path in folder.rglob(pattern) if path.is_file())
    if not found:
        raise FileNotFoundError(f"no {pattern} under {str(folder)!r}")
    return found[0]


def _known(split: str) -> str:
    if split not in ("train", "test"):
        raise ValueError(f"split {split!r}: expected 'train' or 'test'")
    return split
