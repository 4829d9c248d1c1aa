"""Data to moments: one streaming pass."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eckart.errors import CalibrationInterrupted, InputError, NoGradientError
from eckart.layers import type_of
from eckart.metrics import Probe, count_of, fitting_metric, is_joint, name_of, probe_of
from eckart.moments import Moments
from eckart.moments.accumulator import Accumulator, moment_bytes
from eckart.moments.distributed import any_rank, summed_over_ranks, world
from eckart.network.costs import network_costs, trace_sizes
from eckart.network.identity import fingerprint
from eckart.network.survey import survey
from eckart.records import Form, LayerSpec
from eckart.records.forms import Size
from eckart.records.offer import AUTO
from eckart.running.batches import call, examples_in, first_examples, inputs_of, moved, tensors_in
from eckart.running.hooks import untouched, watching
from eckart.running.interruptions import deferred_interrupt, until_error
from eckart.running.progress import length_of, tracked
from eckart.stages.calibrate.in_parts import MEMORY_BYTES, NO_GRADIENT, gathered_in

_log = logging.getLogger("eckart")
_SAMPLE = 64  # examples whose inputs are kept
_SAMPLE_OUTPUTS = 2**25  # or fewer, whose outputs are no more numbers than this
_SEED_STRIDE = 1_000_003  # a prime, so that (seed, batch) pairs rarely meet


def calibrate(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    metric: str | Probe | None = AUTO,
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
            goes in as keyword arguments, a tuple as positional ones.
        metric: what counts as a change of the output: ``"logits"``, ``"fisher"``,
            ``"next_token"``, ``"similarity"``, ``"embedding"``, a probe of your own, or None for
            input moments only. ``"auto"`` is the next token for a causal language model, the
            similarity of pooled embeddings for an encoder without logits, else the logits; the
            moments record which.
        layers: names or patterns of the layers to include; None is all that can be compressed.
        seed: of the probes. Batch i's probe depends on (seed, i) alone.
        first_batch: index of the first batch, to go on where another run stopped:
            ``old + calibrate(model, rest, first_batch=old.batches)`` equals one run over all.
        workspace: a folder that keeps what is finished, for networks whose moments do not fit the
            memory: they are gathered for some layers at a time and stay there, to be read when
            asked for. After a run was killed, the same call goes on. ``batches`` is then gone over
            once for each part, so it must be a list, or a loader without shuffling.
        memory_bytes: that the sums may take at once, in a workspace: of a layer 12 in², with a
            metric 12 (in² + out²), where an example's rows are taken jointly 12 (2 in² + out²).
        progress: show a bar; None shows it on a terminal.

    Returns:
        The moments. Under an initialised ``torch.distributed`` process group each rank passes its
        share, batches dealt out in turn, and every rank gets the sum over all.

    Raises:
        InputError: the loader is empty, an output holds no logits, a name matches no layer; with
            a workspace, batches that differ from pass to pass.
        MismatchError, CheckpointError: the workspace is of another network, other data or other
            settings; it is damaged; or the disk is full.
        NonFiniteError: NaN or infinity, named by layer.
        CalibrationInterrupted: Ctrl-C, an error in the loader, or another rank that stopped.

    Every error carries the moments of the batches before it as ``.moments``.

    Cost: one forward and one backward pass without weight gradients, and per layer
        O(rows · (in² + out²)), for convolutions O(positions · 13 c² + out²) with 3×3 kernels.

    Source: K-FAC, Martens and Grosse 2015, 1503.05671; convolutions 1602.01407.

    Example:
        >>> import torch, eckart
        >>> network = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 4))
        >>> moments = eckart.calibrate(network, [torch.randn(64, 20)])
        >>> moments.a("0").shape, moments.g("0").shape
        (torch.Size([1, 20, 20]), torch.Size([1, 30, 30]))
    """
    found, skipped = survey(model, layers)
    if not found:
        listed = (
            "; ".join(f"{k or 'the model'}: {v}" for k, v in skipped.items())
            or "it has no matrix at all"
        )
        raise InputError(f"no layer of this network can be compressed ({listed})")
    given = None if metric is None or metric == AUTO else probe_of(metric)  # an unknown name fails
    if workspace is not None:
        settings: dict[str, Any] = {"metric": metric, "seed": seed, "first_batch": first_batch}
        made_of = {**settings, "metric": name_of(metric), "fingerprint": fingerprint(model)}
        gather = partial(calibrate, model, progress=progress, **settings)
        return gathered_in(
            workspace, made_of, model, found, skipped, batches, memory_bytes, metric, gather
        )
    run = _Run(model, found, metric, seed, first_batch)
    needed = moment_bytes(found, metric is not None, is_joint(given))
    what = f"calibrating ({needed / 1e6:.1f} MB of moments)"
    _log.info(what)
    failure: BaseException | None = None
    reason: BaseException | None = None
    with untouched(model), deferred_interrupt() as stop:
        source = until_error(iter(tracked(batches, what, progress, length_of(batches))))
        for batch, reason in source:
            failure = run.tried(batch) if reason is None else None
            if failure or reason or stop.is_set():
                break
    if stop.is_set() or isinstance(failure, KeyboardInterrupt):
        failure, reason = None, KeyboardInterrupt()
    moments = summed_over_ranks(run.moments(skipped))
    if any_rank(failure is not None or reason is not None) and failure is None:
        reason = reason or RuntimeError("another rank stopped")
    if failure is not None:
        setattr(failure, "moments", moments)  # noqa: B010
        raise failure
    if moments.batches == 0:
        raise reason or InputError("the loader gave no batch: calibration needs at least one")
    if reason is None:
        return moments
    raise CalibrationInterrupted(
        f"calibration stopped after {moments.batches} batches ({type(reason).__name__}: {reason}); "
        "they are kept in .moments; go on with first_batch=moments.batches and add the two",
        moments,
    ) from reason


@dataclass
class _Run:
    """One pass: the sums, and what must be remembered of the data."""

    model: nn.Module
    layers: Mapping[str, nn.Module]
    metric: str | Probe | None
    seed: int
    first_batch: int
    sums: Accumulator = field(default_factory=Accumulator)
    examples: int = 0
    outputs: int = 0
    batches: int = 0
    example: Any = None
    sample: list[Any] = field(default_factory=list)
    sampled: int = 0
    sizes: Mapping[str, list[Size]] = field(default_factory=dict)

    def tried(self, batch: Any) -> BaseException | None:
        """Take one batch in; the error that came in between, if one did, leaves no trace of it."""
        try:
            self._step(batch)
        except (Exception, KeyboardInterrupt) as error:
            self.sums.discard()
            return error
        return None

    def _step(self, batch: Any) -> None:
        """Forward, probe, backward, commit."""
        inputs = moved(inputs_of(batch), self.model)
        count, samples = examples_in(inputs), 1
        if self.example is None:
            self._trace(first_examples(inputs))
        probe = None if self.metric is None else probe_of(self.metric)
        self.sums.begin(inputs, count if is_joint(probe) else None)
        on_gradient = None if self.metric is None else self.sums.see_gradient
        with (
            watching(self.layers, self.sums.see_input, on_gradient),
            torch.no_grad() if self.metric is None else torch.enable_grad(),
        ):
            outputs = call(self.model, inputs)
            if probe is not None:
                samples = self._backward(probe(outputs, batch, self._generator()))
        most = _most_sampled(outputs, count)
        if self.sampled < most:
            self.sample.append(first_examples(inputs, most - self.sampled))
            self.sampled += count
        self.outputs += count_of(probe, batch, outputs)
        self.sums.commit(samples)
        self.examples += count
        self.batches += 1

    def _trace(self, example: Any) -> None:
        """What one example tells: sizes, and by its outputs what ``"auto"`` stands for."""
        try:
            self.sizes = trace_sizes(self.model, example)
        except Exception as error:
            raise InputError(
                "the network runs on a batch but not on a single example, for which costs are "
                f"counted: {type(error).__name__}: {error}"
            ) from error
        self.example = example
        if self.metric == AUTO:
            with torch.no_grad():
                self.metric = fitting_metric(self.model, call(self.model, example))

    def _backward(self, values: Tensor) -> int:
        """Differentiate each sample; how many there were."""
        if values.dim() > 1 or values.numel() == 0:
            raise InputError(
                f"a probe gives one number or a vector of some, got shape {tuple(values.shape)}"
            )
        if not values.requires_grad:
            raise NoGradientError
        *others, last = values.reshape(-1).unbind()
        for value in others:
            value.backward(retain_graph=True)
        last.backward()
        return 1 + len(others)

    def _generator(self) -> torch.Generator:
        rank, size = world()
        index = self.first_batch + rank + self.batches * size
        return torch.Generator().manual_seed(self.seed * _SEED_STRIDE + index)

    def moments(self, skipped: Mapping[str, str]) -> Moments:
        """What was gathered, for the layers that were reached."""
        sums, reasons = self.sums, dict(skipped)
        sizes, specs = self.sizes, {}
        for name, module in self.layers.items():
            if name not in sums.input_of:
                reasons[name] = "never called in calibration"
            elif name not in sizes:
                reasons[name] = "not called for the first example, so its cost is not known"
            elif sums.rows[sums.input_of[name]] == 0:
                reasons[name] = "no row reached it in calibration"
            elif self.metric is not None and name not in sums.output_grams:
                reasons[name] = NO_GRADIENT
            else:
                specs[name] = _spec(name, module, tuple(sizes[name]), sums.input_of[name])
        kept = {spec.input for spec in specs.values()}
        return Moments(
            specs=specs,
            grams={k: v for k, v in sums.grams.items() if k in kept},
            totals={k: v for k, v in sums.totals.items() if k in kept},
            rows={k: v for k, v in sums.rows.items() if k in kept},
            output_grams={k: v for k, v in sums.output_grams.items() if k in specs},
            examples=self.examples,
            outputs=self.outputs,
            batches=self.batches,
            metric=name_of(self.metric),
            skipped=reasons,
            fingerprint=fingerprint(self.model),
            example=self.example,
            joint_grams={k: v for k, v in sums.joint_grams.items() if k in specs},
            model_costs=network_costs(self.model, self.example).totals() if self.batches else {},
            sample=tuple(self.sample),
        )


def _spec(name: str, module: nn.Module, sizes: tuple[Any, ...], key: str) -> LayerSpec:
    kind = type_of(module)
    if kind is None:
        raise TypeError(f"layer {name!r} changed its class to {type(module).__name__} on the way")
    weight: Tensor = module.weight  # type: ignore[assignment]
    return LayerSpec(
        name=name,
        type=kind.name,
        dense=Form((kind.piece(module),)),
        sizes=sizes,
        itemsize=weight.element_size(),
        input=key,
    )


def _most_sampled(outputs: Any, count: int) -> int:
    """How many examples are kept; not so many that their outputs would fill the memory."""
    numbers = sum(t.numel() for t in tensors_in(outputs)) // count
    return min(_SAMPLE, max(1, _SAMPLE_OUTPUTS // max(1, numbers)))
