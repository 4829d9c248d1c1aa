"""Data from strings: which images calibrate, which choose, and which are reported on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from eckart.cli.options.parsing import is_path
from eckart.cli.shown.output import say
from eckart.cli.sources.hub_data import HubData
from eckart.cli.sources.image_folder import FolderImages, find_image_folders
from eckart.cli.sources.images import Batches, ImageSet, Preprocessing
from eckart.errors import InputError

CALIBRATED_ON = ("train", "training")
REPORTED_ON = ("test", "validation", "valid", "val")


@runtime_checkable
class Source(Protocol):
    """Where images come from, by split."""

    @property
    def splits(self) -> Sequence[str]:
        """Names of the splits."""

    def split(self, split: str) -> ImageSet:
        """The images of one of them."""


@dataclass(frozen=True)
class ImageData:
    """Images for several purposes; no image is handed out twice, unless asked for ``again``.

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

    def guess_split(self, given: str | None, usual: Sequence[str]) -> str | None:
        """The split that was given, or one with a usual name, or the only one, or None.

        Args:
            given: the user's choice, or None.
            usual: names to look for, best first.

        Raises:
            InputError: there is no split of the given name.
        """
        splits = self.source.splits
        if given is not None and given not in splits:
            raise InputError(f"the data have no split {given!r}; they have {', '.join(splits)}")
        usual = [name for name in usual if name in splits]
        only = splits if len(splits) == 1 else []
        return next(iter([*([given] if given else []), *usual, *only]), None)

    def split_named(self, given: str | None, usual: Sequence[str], option: str) -> str:
        """The same, and an error that names the ``option`` to give in place of None."""
        split = self.guess_split(given, usual)
        if split is None:
            names = ", ".join(self.source.splits)
            raise InputError(f"which split of the data? give {option}, one of {names}")
        return split

    def reserve(self, split: str, count: int) -> None:
        """Do not hand out the next images of a split."""
        self._used[split] = self._used.get(split, 0) + count

    def take(
        self, split: str, count: int | None, *, labelled: bool, again: bool = False
    ) -> Batches:
        """The next images of a split; None is all that are left, which may be no fewer than one.

        Args:
            split: its name.
            count: how many; fewer where the split ends.
            labelled: whether images without a label are refused when they are read.
            again: begin with the split's first image, whatever was handed out before.
        """
        import torch  # slow to import; options are read before

        images = self.source.split(split)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(self.seed))
        start = 0 if again else self._used.get(split, 0)
        chosen = order[start : None if count is None else start + count].tolist()
        if not chosen:
            raise InputError(
                f"{images.name} has {len(images)} images and all are in use already: name another "
                "split, or use fewer --examples"
            )
        self._used[split] = max(self._used.get(split, 0), start + len(chosen))
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
    elif is_path(data):
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
