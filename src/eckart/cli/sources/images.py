"""Pixels from images, and batches of them: decoding, scaling, normalising."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from eckart.errors import InputError

if TYPE_CHECKING:  # torch comes when there are pixels; options are read before
    from jaxtyping import Float32, Int64, UInt8
    from PIL.Image import Image as Image
    from torch import Tensor
else:
    Image = Any  # Pillow comes with an extra

UNLABELLED = -1  # the label where there is none; data sets with hidden labels use it too
_GREY = {"1", "L", "LA"}
_DEEP = ("I", "F")  # 16 bits and more: no agreed range
_KEPT_BYTES = 2**31  # decoded images are kept in memory up to this size


@runtime_checkable
class ImageSet(Protocol):
    """Images with labels, read one at a time."""

    @property
    def name(self) -> str:
        """For messages."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> tuple[Image, int]:
        """The image and its label, or ``UNLABELLED``."""


@dataclass(frozen=True)
class Preprocessing:
    """From an image to what a network reads: ``(pixels / 255 - mean) / std``.

    Attributes:
        size: side of the square that is cut from the centre; None leaves the shape alone.
        resize: length of the shorter side before the cut; ``size`` where None.
        mean, std: one number, or one per channel.
        channels: 1 or 3; None takes what the first image has.
    """

    size: int | None = None
    resize: int | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: int | None = None

    def __post_init__(self) -> None:
        if self.channels not in (None, 1, 3):
            raise InputError(f"{self.channels} channels: images have 1 (grey) or 3 (RGB)")
        if self.resize is not None and (self.size is None or self.resize < self.size):
            raise InputError(f"resize {self.resize}: needs an image size that is not larger")
        if min(self.std) <= 0:
            raise InputError(f"std {self.std}: must be positive")

    def with_channels(self, example: Image) -> Preprocessing:
        """The same with the number of channels settled, by the mean or by an example."""
        widest = max(len(self.mean), len(self.std))
        guess = widest if widest > 1 else 1 if example.mode in _GREY else 3
        channels = self.channels or guess
        if {len(self.mean), len(self.std)} - {1, channels}:
            raise InputError(
                f"mean {self.mean} and std {self.std} must have one number, or one for each of the "
                f"{channels} channels"
            )
        return Preprocessing(self.size, self.resize, self.mean, self.std, channels)

    def pixels(self, image: Image) -> UInt8[Tensor, "channels height width"]:
        """Decode one image."""
        import torch

        if image.mode.startswith(_DEEP):
            raise InputError(f"images of mode {image.mode} are not read: convert them to 8 bits")
        image = image.convert("L" if self.channels == 1 else "RGB")
        if self.size is not None:
            image = _centre(image, self.resize or self.size, self.size)
        flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        return flat.view(image.height, image.width, -1).permute(2, 0, 1).contiguous()

    def normalised(
        self, pixels: UInt8[Tensor, "batch channels height width"]
    ) -> Float32[Tensor, "batch channels height width"]:
        """What the network reads."""
        import torch

        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return (pixels.float() / 255 - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)


class Batches:
    """Batches of (inputs, targets), as often as asked for; decoded once if they fit in memory."""

    def __init__(
        self,
        images: ImageSet,
        indices: Sequence[int],
        preprocessing: Preprocessing,
        batch_size: int,
        *,
        labelled: bool,
    ) -> None:
        """Choose images, in order; ``labelled`` refuses those without a label."""
        self.images, self.indices, self.batch_size = images, indices, batch_size
        self.preprocessing, self.labelled = preprocessing, labelled
        self._decoded: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def examples(self) -> int:
        """Number of images."""
        return len(self.indices)

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for number in range(len(self)):
            pixels, labels = self._decoded.get(number) or self._decode(number)
            yield self.preprocessing.normalised(pixels), labels

    def after(self, batches: int) -> Batches:
        """The rest, when so many batches have been read."""
        rest = self.indices[batches * self.batch_size :]
        return Batches(
            self.images, rest, self.preprocessing, self.batch_size, labelled=self.labelled
        )

    def dealt(self, rank: int, ranks: int) -> Batches:
        """Every so many batches, from one on."""
        size = self.batch_size
        starts = range(rank * size, len(self.indices), ranks * size)
        some = [index for start in starts for index in self.indices[start : start + size]]
        return Batches(self.images, some, self.preprocessing, size, labelled=self.labelled)

    def _decode(
        self, number: int
    ) -> tuple[UInt8[Tensor, "batch channels height width"], Int64[Tensor, " batch"]]:
        import torch

        chosen = self.indices[number * self.batch_size : (number + 1) * self.batch_size]
        read = [self.images.read(index) for index in chosen]
        labels = [label for _, label in read]
        if self.labelled and min(labels) < 0:
            raise InputError(
                f"{self.images.name} has images without a label, which cannot be scored; "
                "name another --eval-split, or the --label-column"
            )
        pixels = _stacked([self.preprocessing.pixels(image) for image, _ in read], self.images.name)
        batch = pixels, torch.tensor(labels)
        if pixels.nbytes * len(self) <= _KEPT_BYTES:
            self._decoded[number] = batch
        return batch


def _stacked(pixels: list[Tensor], name: str) -> Tensor:
    import torch

    shapes = sorted({tuple(p.shape[1:]) for p in pixels})
    if len(shapes) > 1:
        some = ", ".join(f"{h}×{w}" for h, w in shapes[:3])
        raise InputError(f"the images of {name} differ in size ({some}): give --image-size")
    return torch.stack(pixels)


def _centre(image: Image, resize: int, size: int) -> Image:
    """Scale the shorter side to ``resize``, then cut ``size`` × ``size`` from the centre."""
    from PIL.Image import Resampling

    short = min(image.size)
    width, height = (int(resize * side / short) for side in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), Resampling.BILINEAR)
    left, top = (round((side - size) / 2.0) for side in image.size)
    return image.crop((left, top, left + size, top + size))
