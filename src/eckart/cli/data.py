"""Data from strings: which images calibrate, which choose, and which are reported on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch

from eckart.cli.hub_data import HubData
from eckart.cli.image_folder import FolderImages, find_image_folders
from eckart.cli.images import Batches, ImageSet, Preprocessing
from eckart.cli.output import say
from eckart.errors import InputError

CALIBRATED_ON = ("train", "training")
REPORTED_ON = ("test", "validation", "valid", "val")


class Source(Protocol):
    """Where images come from, by split."""

    @property
    def splits(self) -> Sequence[str]:
        """Names of the splits."""

    def split(self, split: str) -> ImageSet:
        """The images of one of them."""


@dataclass(frozen=True)
class ImageData:
    """Images for several purposes; no image is handed out twice.

    A split is gone through in one shuffled order that the seed fixes. So where two things are done
    on one split, the second gets the images that follow those of the first.

    Attributes:
        source: the splits.
        preprocessing: from image to tensor.
        batch_size: images in a batch.
        seed: of the order.
    """

    source: Source
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    batch_size: int = 100
    seed: int = 0
    _used: dict[str, int] = field(default_factory=dict, repr=False)

    def split_named(self, given: str | None, usual: Sequence[str], option: str) -> str:
        """The split that was given, or one with a usual name, or the only one there is.

        Args:
            given: the user's choice, or None.
            usual: names to look for, best first.
            option: what to tell the user to give.

        Raises:
            InputError: there is no such split, or several and none of a usual name.
        """
        splits = self.source.splits
        if given in splits:
            return given
        if given is not None:
            raise InputError(f"the data have no split {given!r}; they have {', '.join(splits)}")
        found = [name for name in usual if name in splits]
        if not found and len(splits) != 1:
            raise InputError(f"which split? give {option}, one of {', '.join(splits)}")
        return (found or list(splits))[0]

    def take(self, split: str, count: int | None, *, labelled: bool) -> Batches:
        """The next images of a split; None is all that are left, which may be no fewer than one.

        Args:
            split: its name.
            count: how many; fewer where the split ends.
            labelled: whether images without a label are refused when they are read.
        """
        images = self.source.split(split)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(self.seed))
        start = self._used.get(split, 0)
        chosen = order[start : None if count is None else start + count].tolist()
        if not chosen:
            raise InputError(
                f"{images.name} has {len(images)} images and all are in use already: name another "
                "split, or use fewer --examples"
            )
        self._used[split] = start + len(chosen)
        if len(chosen) < (count or 0):
            say(f"{images.name}: {len(chosen)} images where {count} were asked for")
        preprocessing = self.preprocessing.with_channels(images.read(chosen[0])[0])
        return Batches(images, chosen, preprocessing, self.batch_size, labelled=labelled)


def open_source(
    data: str, image_column: str | None = None, label_column: str | None = None
) -> Source:
    """An image folder, or else a Hugging Face data set, by path or id.

    Raises:
        InputError: there are no images.
    """
    root = Path(data).expanduser()
    if root.is_dir():
        found = find_image_folders(root)
        if found:
            return _Folder(found)
        if not any(path.is_file() for path in root.rglob("*")):
            raise InputError(
                f"data folder {data} holds no images: expected class/image.png, "
                "split/class/image.png, or a Hugging Face data set"
            )
    elif root.is_absolute() or data.startswith(".") or data.count("/") > 1:
        raise InputError(f"data folder {data}: there is no such folder")
    return HubData(str(root), image_column, label_column)


@dataclass(frozen=True)
class _Folder:
    found: dict[str, FolderImages]

    @property
    def splits(self) -> list[str]:
        return list(self.found)

    def split(self, split: str) -> FolderImages:
        return self.found[split]
