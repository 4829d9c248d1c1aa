"""Small data sets as parquet files, like those that the benchmarks read."""

import io
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

LABELS = np.array([3, 1, 4, 1, 5], dtype=np.uint8)


def write_parquet(folder: Path, column: str, pixels: np.ndarray) -> None:
    """The training split, with the labels 3, 1, 4, 1, 5."""
    folder.mkdir(parents=True, exist_ok=True)
    encoded = []
    for image in pixels:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        encoded.append({"bytes": buffer.getvalue(), "path": None})
    table = pyarrow.table({column: encoded, "label": LABELS[: len(pixels)].astype(np.int64)})
    pyarrow.parquet.write_table(table, folder / "train-00000-of-00001.parquet")
