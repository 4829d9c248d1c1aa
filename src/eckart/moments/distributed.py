"""Sums over the ranks of a ``torch.distributed`` process group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from eckart.errors import MismatchError
from eckart.moments import Moments
from eckart.moments.file_format import PARTS
from eckart.moments.scatter import added_scatters
from eckart.moments.sharing import in_all, sharing_differs, widest
from eckart.records.spreads import added_spreads

T = TypeVar("T")


def world() -> tuple[int, int]:
    """(rank, number of ranks); (0, 1) without a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def summed_over_ranks(moments: Moments) -> Moments:
    """The sum of all ranks' moments, on every rank; without a process group, the moments given.

    A rank that saw no batch, or not all layers, contributes zeros.
    """
    _, size = world()
    if size == 1:
        return moments
    specs_by_rank = of_all_ranks(dict(moments.specs))
    moments = moments.unshared(sharing_differs([specs for specs in specs_by_rank if specs]))
    outlines: list[dict[str, Any]] = of_all_ranks(_outline(moments))
    lead = next((o for o in outlines if o["batches"]), outlines[0])
    specs = {k: s for o in reversed(outlines) for k, s in o["specs"].items()}
    return replace(
        moments,
        specs=specs,
        grams=_reduced(moments.grams, _shapes(outlines, "grams")),
        totals=_reduced(moments.totals, _shapes(outlines, "totals")),
        output_grams=_reduced(moments.output_grams, _shapes(outlines, "output_grams")),
        joint_grams=_reduced(moments.joint_grams, _shapes(outlines, "joint_grams")),
        rows={k: sum(o["rows"].get(k, 0) for o in outlines) for o in outlines for k in o["rows"]},
        examples=sum(o["examples"] for o in outlines),
        outputs=sum(o["outputs"] for o in outlines),
        batches=sum(o["batches"] for o in outlines),
        metric=lead["metric"],
        skipped={k: v for o in outlines for k, v in o["skipped"].items() if k not in specs},
        example=lead["example"],
        model_costs=lead["model_costs"],
        sample=lead["sample"],
        spreads=added_spreads([o["spreads"] for o in outlines]),
        left_out={k: v for o in outlines for k, v in o["left_out"].items()},
        calls=widest([o["calls"] for o in outlines]),
        unreached=in_all([o["unreached"] for o in outlines if o["batches"]]),
        scatters=added_scatters(*(o["scatters"] for o in outlines)),
        whole_batches=lead["whole_batches"],
    )


def check_ranks_agree(settings: Mapping[str, str]) -> None:
    """Raise ``MismatchError``, on every rank, unless all have the same settings."""
    _, size = world()
    if size == 1:
        return
    known: list[dict[str, str]] = of_all_ranks(dict(settings))
    names = dict.fromkeys(name for each in known for name in each)
    differ = [name for name in names if len({each.get(name) for each in known}) > 1]
    if differ:
        listed = "; ".join(_by_rank(name, known) for name in differ)
        raise MismatchError(
            f"the ranks of this process group differ ({listed}): give every rank the same network, "
            "layers, metric, seed and first_batch"
        )


def _by_rank(name: str, known: list[dict[str, str]]) -> str:
    said = (f"{each.get(name)!s:.60} on rank {rank}" for rank, each in enumerate(known))
    return f"{name}: {', '.join(said)}"


def stopped_ranks(error: BaseException | None) -> str:
    """Which ranks were stopped by an error, and by which; empty if none was."""
    said = of_all_ranks("" if error is None else f"{type(error).__name__}: {error!s:.200}")
    return "; ".join(f"rank {rank} stopped ({why})" for rank, why in enumerate(said) if why)


def of_all_ranks(value: T) -> list[T]:
    """Every rank's value, in order; every rank has to ask."""
    _, size = world()
    values = [value] * size
    if size > 1:
        dist.all_gather_object(values, value)
    return values


def _outline(moments: Moments) -> dict[str, Any]:
    """Everything except the large sums, of which only the shapes are given."""
    sums = {n: getattr(moments, n) for n in PARTS.values()}
    shapes = {n: {k: tuple(t.shape) for k, t in part.items()} for n, part in sums.items()}
    kept = (
        *("specs", "rows", "examples", "outputs", "batches", "metric", "skipped"),
        *("example", "model_costs", "sample", "spreads", "left_out", "calls", "whole_batches"),
        *("unreached", "scatters"),
    )
    return {"shapes": shapes, **{n: getattr(moments, n) for n in kept}}


def _shapes(outlines: list[dict[str, Any]], part: str) -> dict[str, tuple[int, ...]]:
    return {k: shape for o in outlines for k, shape in o["shapes"][part].items()}


def _reduced(
    sums: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    total = {}
    own = next(iter(sums.values()), None)
    device = _device() if own is None else own.device
    for key in sorted(shapes):
        zeros = torch.zeros(shapes[key], dtype=torch.float64, device=device)
        tensor = sums[key].clone() if key in sums else zeros
        dist.all_reduce(tensor)
        total[key] = tensor
    return total


def _device() -> torch.device:
    """The device of the process group's tensors, for a rank that has no tensors."""
    on_gpu = dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
