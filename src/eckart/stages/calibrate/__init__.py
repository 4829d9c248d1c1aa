"""Data to moments: one streaming pass, or several where the moments do not fit the memory."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from numbers import Integral
from pathlib import Path
from typing import Any

from torch import nn

from eckart.errors import InputError, MismatchError
from eckart.metrics import Chosen, Probe, probe_of, with_outputs
from eckart.moments import Moments
from eckart.moments.distributed import check_ranks_agree
from eckart.network.costs import stored_costs
from eckart.network.identity import fingerprint
from eckart.network.survey import survey
from eckart.network.third_party import check_merged, check_not_quantised
from eckart.network.twins import opened
from eckart.network.wrappers import network_in
from eckart.records.offer import AUTO
from eckart.running.arguments import check_kind
from eckart.stages.calibrate.in_parts import MEMORY_BYTES, gathered_in
from eckart.stages.calibrate.one_pass import gathered
from eckart.stages.calibrate.task import Task


def calibrate(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    metric: str | Probe | None = AUTO,
    outputs: Chosen = None,
    layers: Iterable[str] | None = None,
    seed: int = 0,
    first_batch: int = 0,
    workspace: str | Path | None = None,
    memory_bytes: int = MEMORY_BYTES,
    progress: bool | None = None,
) -> Moments:
    """Gather the second moments of every layer's inputs and output gradients.

    The network runs in eval mode and comes back exactly as it was. Nothing of the data is kept but
    the sums and the inputs of at most 64 examples. Tokens that an ``attention_mask`` or a
    ``key_padding_mask`` among the inputs calls padding are no rows, see ``eckart.running.masks``.

    Args:
        model: the trained network.
        batches: consumed once. A pair is (inputs, targets); anything else is the inputs: a mapping
            goes in as keyword arguments, or whole if forward has none of its names; a tuple as
            positional ones; any other object whole.
        metric: what counts as a change of the output: ``"outputs"``, ``"logits"``, ``"fisher"``,
            ``"next_token"``, ``"similarity"``, ``"embedding"``, a probe of your own, or None for
            input moments only. ``"auto"`` is the next token for a causal language model, the
            similarity of pooled embeddings for an encoder without logits, else all floating
            outputs, each relative to its spread; the moments record which.
        outputs: which outputs count, by path or pattern (``"boxes"``, ``"[0]"``, ``"aux.*"``), with
            a weight for each if it is a mapping; None is all of them, alike. What does not count is
            listed in ``moments.ignored``.
        layers: names or patterns of the layers to include; None is all that can be compressed.
        seed: of the probes. Batch i's probe depends on (seed, i) alone.
        first_batch: index of the first batch, to go on where another run stopped:
            ``old + calibrate(model, rest, first_batch=old.batches)`` equals one run over all.
        workspace: a folder that keeps what is finished, for networks whose moments do not fit the
            memory: they are gathered for some layers at a time and stay there, to be read when
            asked for. After a run was killed, the same call goes on. ``batches`` is then gone over
            once for each part, so it must be a list, or a loader without shuffling.
        memory_bytes: that the sums may take at once, in a workspace: of a layer 12 in², with a
            metric 12 (in² + out²) and for k outputs 12 (in² + k out²), where an example's rows are
            taken jointly 12 (2 in² + out²).
        progress: show a bar; None shows it on a terminal.

    Returns:
        The moments. Under an initialised ``torch.distributed`` process group each rank passes its
        share, batches dealt out in turn, and every rank gets the sum over all.

    Raises:
        InputError: the loader is empty, there is no floating output, a name matches no layer or
            output; with a workspace, batches that differ from pass to pass.
        MismatchError: the ranks of a process group differ in network, layers, metric or seed.
        MismatchError, CheckpointError: the workspace is of another network, other data or other
            settings; it is damaged; or the disk is full.
        NonFiniteError: NaN or infinity, named by layer.
        CalibrationInterrupted: Ctrl-C, an error in the loader, or another rank that stopped or
            is gone.

    Every error after the first batch carries the moments of the batches before it as ``.moments``,
    what the network itself raises included. Where a rank is gone, they are those of its own share.

    Cost: one forward pass, and for each output one backward pass without weight gradients, and per
        layer O(rows · (in² + out²)), for convolutions O(positions · 13 c² + out²) with 3×3 kernels.

    Source: K-FAC, Martens and Grosse 2015, 1503.05671; convolutions 1602.01407.

    Example:
        >>> import torch, eckart
        >>> network = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 4))
        >>> moments = eckart.calibrate(network, [torch.randn(64, 20)])
        >>> moments.a("0").shape, moments.g("0").shape
        (torch.Size([1, 20, 20]), torch.Size([1, 30, 30]))
    """
    try:
        check_kind("batches", batches, Iterable)
        metric = with_outputs(metric, outputs)
        task = _task(network_in(model), layers, metric, seed, first_batch)
    except Exception as error:
        with suppress(MismatchError):  # the other ranks are waiting to hear
            check_ranks_agree({"refused": str(error)})
        raise
    if workspace is not None:
        return gathered_in(workspace, task, batches, memory_bytes, progress)
    return gathered(task, batches, progress)


def _task(
    model: nn.Module,
    layers: Iterable[str] | None,
    metric: str | Probe | None,
    seed: int,
    first_batch: int,
) -> Task:
    """What is asked for, once it is known to make sense."""
    check_kind("seed", seed, Integral)
    check_kind("first_batch", first_batch, Integral)
    check_merged(model)
    check_not_quantised(model)
    network = opened(model)
    found, skipped = survey(network, layers)
    if not found:
        listed = (
            "; ".join(f"{k or 'the model'}: {v}" for k, v in skipped.items())
            or "it has no matrix at all"
        )
        raise InputError(f"no layer of this network can be compressed ({listed})")
    if metric is not None and metric != AUTO:
        probe_of(metric)  # an unknown name fails
    return Task(
        model=network,
        fingerprint=fingerprint(model),
        stored={} if network is model else stored_costs(model),
        layers=found,
        skipped=skipped,
        metric=metric,
        seed=int(seed),
        first_batch=int(first_batch),
    )
