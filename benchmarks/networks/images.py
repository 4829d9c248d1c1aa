"""Networks that double the size of images, scored on Set5; other photographs calibrate them."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.networks.checks import check_in
from benchmarks.networks.subject import Subject
from eckart import Score

PHOTOGRAPHS, SIDE, BATCH, SEED = 192, 48, 16, 0  # that calibrate; their size is halved to SIDE


def calibration(data: Path) -> list[Any]:
    """Small photographs of Imagenette, as luma and two colours."""
    file = data / "imagenette96/data/train-00000-of-00001.parquet"
    encoded = pyarrow.parquet.read_table(file, columns=["image"])["image"]
    order = torch.randperm(len(encoded), generator=torch.Generator().manual_seed(SEED))
    chosen = encoded.take(order[:PHOTOGRAPHS].numpy()).to_pylist()
    check = check_in(data / "superres")
    return list(torch.cat([check.ycc(_halved(one["bytes"])) for one in chosen]).split(BATCH))


def peak_signal(data: Path) -> Callable[[nn.Module], Score]:
    """The ratio of signal to noise of the luma, mean over the images."""
    check = check_in(data / "superres")
    pairs: list[tuple[Tensor, Tensor]] = [(small, large) for _, large, small, _ in check.pairs(2)]

    @torch.inference_mode()
    def score(model: nn.Module) -> Score:
        found = [check.psnr(model(small), large) for small, large in pairs]
        return Score(sum(found) / len(found), len(found))

    return score


def _halved(encoded: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(encoded)).convert("RGB")
    return picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def _subject(kind: str) -> Subject:
    def network(data: Path) -> nn.Module:
        model: nn.Module = check_in(data / "superres").load(kind, 2)
        return model

    return Subject(network, calibration, peak_signal, "auto", "dB")


SUBJECTS = {f"{kind}_x2": _subject(kind) for kind in ("fsrcnn", "espcn")}
