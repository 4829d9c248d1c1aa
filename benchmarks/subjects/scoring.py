"""The answers of image networks, and how often they are right."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from benchmarks.subjects.data import channels_last

BATCH = 500


@torch.inference_mode()
def accuracy(
    model: nn.Module,
    images: Float[Tensor, "n ..."],
    labels: Int64[Tensor, " n"],
    batch: int = BATCH,
) -> float:
    """The fraction of `labels` given by the largest logit; sets `model` to eval mode."""
    model.eval()
    pairs = zip(images.split(batch), labels.split(batch), strict=True)
    hits = (model(channels_last(x)).argmax(1) == y for x, y in pairs)
    return sum(int(hit.sum()) for hit in hits) / len(images)


@torch.inference_mode()
def logits_of(
    model: nn.Module, images: Float[Tensor, "n ..."], batch: int = 100
) -> Float[Tensor, "n classes"]:
    """The outputs for all images; sets `model` to eval mode."""
    model.eval()
    return torch.cat([model(x) for x in images.split(batch)])
