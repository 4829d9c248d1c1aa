"""Images in folders: one folder per class, in folders per split or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eckart.cli.sources.images import UNLABELLED, Image
from eckart.errors import InputError

ONLY = "all"  # name of the split where the folder has none
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"}


@dataclass(frozen=True)
class FolderImages:
    """Image files with their labels."""

    name: str
    files: Sequence[tuple[Path, int]]

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> tuple[Image, int]:
        """The image and its label; the file is read now."""
        path, label = self.files[index]
        return _opened(path), label


def find_image_folders(root: Path) -> dict[str, FolderImages]:
    """The splits below a folder: ``root/class/*.png`` or ``root/split/class/*.png``.

    A folder of images without class folders is one split without labels. Classes are numbered in
    the order of their names, over all splits.

    Returns:
        Images by split; empty where the folder holds no images of this shape.
    """
    splits = {ONLY: _class_folders(root)}
    if not splits[ONLY]:
        splits = {folder.name: _class_folders(folder) for folder in _folders(root)}
    classes = sorted({name for folders in splits.values() for name in folders})
    found = {
        split: FolderImages(f"{root} ({split})", _labelled(folders, classes))
        for split, folders in splits.items()
        if folders
    }
    return found or _without_labels(root)


def _opened(path: Path) -> Image:
    try:
        from PIL.Image import open as open_image
    except ImportError as error:
        raise InputError("Pillow is not installed: pip install 'eckart[vision]'") from error
    try:
        with open_image(path) as image:
            image.load()
            return image
    except (OSError, SyntaxError) as error:
        raise InputError(f"image {path} cannot be read: {error}") from error


def _class_folders(root: Path) -> dict[str, list[Path]]:
    """Image files by class; folders without images are no classes."""
    found = {folder.name: _images(folder) for folder in _folders(root)}
    return {name: files for name, files in found.items() if files}


def _labelled(folders: Mapping[str, list[Path]], classes: Sequence[str]) -> list[tuple[Path, int]]:
    number = {name: label for label, name in enumerate(classes)}
    return [(path, number[name]) for name, files in sorted(folders.items()) for path in files]


def _without_labels(root: Path) -> dict[str, FolderImages]:
    files = _images(root)
    return {ONLY: FolderImages(str(root), [(f, UNLABELLED) for f in files])} if files else {}


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
