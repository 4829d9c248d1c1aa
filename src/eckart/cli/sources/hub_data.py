"""Images of a Hugging Face data set, on the hub or in a local folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from eckart.cli.sources.images import UNLABELLED, Image
from eckart.errors import InputError

_LABELS = ("label", "labels", "fine_label", "target", "class")
_SAVED = ("dataset_dict.json", "state.json")  # written by Dataset.save_to_disk


class HubImages:
    """The image and label columns of one split; an image is decoded when it is asked for."""

    def __init__(self, name: str, rows: Any, image: str, label: str | None) -> None:
        self.name, self.image, self.label = name, image, label
        self.rows = rows.select_columns([image] if label is None else [image, label])

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> tuple[Image, int]:
        """The image and its label."""
        row = self.rows[index]
        if row[self.image] is None:
            raise InputError(f"{self.name}: row {index} has no image")
        label = UNLABELLED if self.label is None else row[self.label]
        return row[self.image], UNLABELLED if label is None else int(label)


class HubData:
    """A data set with its splits; a split is read when it is asked for."""

    def __init__(self, name: str, image_column: str | None, label_column: str | None) -> None:
        """Find out which splits there are.

        Args:
            name: a folder, or an id on the hub.
            image_column: guessed by type where None.
            label_column: guessed by name where None.

        Raises:
            InputError: the data set cannot be read, or ``datasets`` is not installed.
        """
        self.name, self.image_column, self.label_column = name, image_column, label_column
        self.saved: Any = None
        if any((Path(name) / file).is_file() for file in _SAVED):
            self.saved = _read(name, lambda datasets: _by_split(datasets.load_from_disk(name)))
        self.splits: list[str] = (
            list(self.saved)
            if self.saved is not None
            else _read(name, lambda datasets: datasets.get_dataset_split_names(name))
        )

    def split(self, split: str) -> HubImages:
        """The images of one split, which must be one of ``splits``."""
        if self.saved is not None:
            rows = self.saved[split]
        else:
            rows = _read(self.name, lambda datasets: datasets.load_dataset(self.name, split=split))
        name = f"{self.name} ({split})"
        image = self.image_column or _image_column(rows, name)
        label = self.label_column or _label_column(rows)
        for column in (image, label):
            if column is not None and column not in rows.column_names:
                columns = ", ".join(rows.column_names)
                raise InputError(f"{name} has no column {column!r}; it has {columns}")
        return HubImages(name, _decoding(rows, image, name), image, label)


def _read(name: str, reader: Any) -> Any:
    """Call ``reader(datasets)``; whatever goes wrong becomes one error that names the data."""
    try:
        import datasets
    except ImportError as error:
        raise InputError("datasets is not installed: pip install 'eckart[vision]'") from error
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        return reader(datasets)
    except Exception as error:  # datasets raises errors of a dozen libraries
        raise InputError(
            f"data {name!r} is no image folder, and cannot be read as a Hugging Face data set: "
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        ) from error


def _by_split(data: Any) -> dict[str, Any]:
    return dict(data) if isinstance(data, dict) else {str(data.split or "all"): data}


def _image_column(rows: Any, data: str) -> str:
    from datasets import Image as ImageFeature

    found = [name for name, kind in rows.features.items() if isinstance(kind, ImageFeature)]
    found = found or [name for name in ("image", "img") if name in rows.column_names]
    if len(found) != 1:
        columns = ", ".join(rows.column_names)
        raise InputError(f"{data}: name the --image-column, one of {columns}")
    return str(found[0])


def _label_column(rows: Any) -> str | None:
    return next((column for column in _LABELS if column in rows.column_names), None)


def _decoding(rows: Any, image: str, name: str) -> Any:
    """The rows, with the image column decoded to images if it holds bytes or paths."""
    from datasets import Image as ImageFeature

    if isinstance(rows.features[image], ImageFeature):
        return rows
    try:
        return rows.cast_column(image, ImageFeature())
    except Exception as error:  # of pyarrow
        raise InputError(f"{name}: column {image!r} does not hold images: {error}") from error
