"""A calibration under way: batches go in one by one, and moments come out at any time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from eckart.errors import EckartError, InputError, NoGradientError
from eckart.layers import piece_of, type_of
from eckart.metrics import Outputs, Probe, count_of, fitting_metric, is_joint, name_of, probe_of
from eckart.moments import Moments
from eckart.moments.accumulator import Accumulator
from eckart.moments.distributed import world
from eckart.moments.file_format import scatter_key
from eckart.network.costs import network_costs
from eckart.network.reached import Reached
from eckart.network.routing import Routing
from eckart.network.twins import multiplied
from eckart.records import Form, LayerSpec
from eckart.records.offer import AUTO
from eckart.records.pieces import Size
from eckart.records.spreads import Spread, output_key
from eckart.running.batches import (
    batch_for,
    call,
    detached,
    examples_in,
    first_examples,
    inputs_of,
    moved,
    tensors_in,
)
from eckart.running.hooks import watching
from eckart.stages.calibrate.first_batch import first_seen, unread
from eckart.stages.calibrate.task import Task

NO_GRADIENT = "no gradient reached its outputs in calibration"
_NOT_CALLED = "never called in calibration"
_READ = f"{_NOT_CALLED}: another module reads its weight instead"
_COMPUTED = "the network computes with its rows, and does not only look them up"
_SAMPLE = 64  # examples whose inputs are kept
_SAMPLE_OUTPUTS = 2**25  # or fewer, whose outputs are no more numbers than this
_SEED_STRIDE = 1_000_003  # a prime, so that (seed, batch) pairs rarely meet


@dataclass
class Run:
    """A pass under way: the sums, and what must be remembered of the data."""

    task: Task
    metric: str | Probe | None = field(init=False)
    sums: Accumulator = field(default_factory=Accumulator)
    examples: int = 0
    outputs: int = 0
    batches: int = 0
    example: Any = None
    whole: bool = False
    sample: list[Any] = field(default_factory=list)
    sampled: int = 0
    sizes: Mapping[str, list[Size]] = field(default_factory=dict)
    costs: Mapping[str, int] = field(default_factory=dict)
    spreads: dict[str, Spread] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    reached: Reached = field(init=False)
    routing: Routing = field(init=False)

    def __post_init__(self) -> None:
        self.metric, self.reached = self.task.metric, Reached(self.task.model)
        self.routing = Routing(self.task.model)

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
        batch = batch_for(self.task.model, batch)
        inputs = moved(inputs_of(batch), self.task.model)
        count, samples = examples_in(inputs), 1
        if self.example is None:
            self._trace(batch, inputs)
        probe = None if self.metric is None else probe_of(self.metric)
        self.sums.begin(inputs, count if is_joint(probe) else None)
        on_gradient = None if self.metric is None else self.sums.see_gradient
        with (
            watching(self.task.layers, self.sums.see_input, on_gradient),
            torch.no_grad() if self.metric is None else torch.enable_grad(),
        ):
            with self.reached.following(), self.routing.following():
                outputs = call(self.task.model, inputs)
            self.sums.check_finite()
            found = {}
            if isinstance(probe, Outputs) and probe.scales is None:
                found = probe.spreads(outputs, batch)
                self._backward_apart(probe.parts(outputs, batch, self._generator()))
                self.left_out = {**probe.left_out(outputs, batch), **self.left_out}
            elif probe is not None:
                samples = self._backward(probe(outputs, batch, self._generator()))
        most = _most_sampled(outputs, count)
        if self.sampled < most:
            kept = detached(inputs) if self.whole else first_examples(inputs, most - self.sampled)
            self.sample.append(kept)
            self.sampled += count
        counted = count_of(probe, batch, outputs)
        self.outputs += counted
        self.sums.commit(samples, counted)
        for path, spread in found.items():
            before = self.spreads.get(path)
            self.spreads[path] = spread if before is None else before + spread
        self.examples += count
        self.batches += 1

    def _trace(self, batch: Any, inputs: Any) -> None:
        """What one example tells: sizes, and by its outputs what ``"auto"`` stands for.

        Where the network does not run on one example, the whole batch takes its place.
        """
        model = self.task.model
        example, outputs = first_seen(model, inputs, batch)
        self.whole = examples_in(example) == examples_in(inputs) > 1
        counted = network_costs(model, example)
        self.sizes, self.costs = counted.sizes, {**counted.totals(), **self.task.stored}
        self.example = example
        if self.metric == AUTO:
            self.metric = fitting_metric(model, outputs, example)
        if isinstance(self.metric, Outputs):
            self.metric.check_names(outputs, example)
        self.left_out |= unread(model, batch)

    def _backward_apart(self, parts: Mapping[str, Tensor]) -> None:
        """Differentiate each output by itself; those that depend on no layer are passed over."""
        reaching = {path: value for path, value in parts.items() if value.requires_grad}
        if parts and not reaching:
            raise NoGradientError
        last = next(reversed(reaching), None)
        for path, value in reaching.items():
            self.sums.differentiate(path)
            _differentiate(value, again=path != last)

    def _backward(self, values: Tensor) -> int:
        """Differentiate each sample; how many there were."""
        if values.dim() > 1 or values.numel() == 0:
            raise InputError(
                f"a probe gives one number or a vector of some, got shape {tuple(values.shape)}"
            )
        if not values.requires_grad:
            raise NoGradientError
        self.sums.differentiate("")
        *others, last = values.reshape(-1).unbind()
        for value in others:
            _differentiate(value, again=True)
        _differentiate(last)
        return 1 + len(others)

    def _generator(self) -> torch.Generator:
        rank, size = world()
        index = self.task.first_batch + rank + self.batches * size
        return torch.Generator().manual_seed(self.task.seed * _SEED_STRIDE + index)

    def moments(self) -> Moments:
        """What was gathered, for the layers that were reached; nothing is run for it."""
        sums, reasons = self.sums, dict(self.task.skipped)
        sizes, specs, whole = self.sizes, {}, multiplied(self.task.model)
        shares = self.routing.shares()
        for name, module in self.task.layers.items():
            if name not in sums.input_of:
                read = f"{_READ}{self.reached.reader(module)}"
                reasons[name] = read if self.reached.reads(module) else _NOT_CALLED
            elif sums.rows[sums.input_of[name]] == 0:
                reasons[name] = "no row reached it in calibration"
            elif self.metric is not None and not self._has_gradients(name):
                reasons[name] = NO_GRADIENT
            elif piece_of(module).table and self.reached.computes_with(module):
                reasons[name] = _COMPUTED
            else:
                spec = _spec(name, module, tuple(sizes.get(name, ())), sums.input_of[name])
                how, share = whole.get(name, "never"), shares.get(name, 1.0)
                specs[name] = replace(spec, multiplied=how, share=share)
        kept = {spec.input for spec in specs.values()}
        return Moments(
            specs=specs,
            grams={k: v for k, v in sums.grams.items() if k in kept},
            totals={k: v for k, v in sums.totals.items() if k in kept},
            rows={k: v for k, v in sums.rows.items() if k in kept},
            output_grams={k: v for k, v in sums.output_grams.items() if k in self._keys(specs)},
            examples=self.examples,
            outputs=self.outputs,
            batches=self.batches,
            metric=self._metric_name,
            skipped=reasons,
            fingerprint=self.task.fingerprint,
            example=self.example,
            joint_grams={k: v for k, v in sums.joint_grams.items() if k in specs},
            model_costs=self._model_costs() if self.batches else {},
            sample=tuple(self.sample),
            spreads=dict(self.spreads),
            left_out=dict(self.left_out),
            calls=dict(sums.calls),
            whole_batches=self.whole,
            unreached=tuple(self.reached.missing) if self.batches else (),
            scatters={k: v for k, v in sums.scatters.items() if k in self._scattered(specs, kept)},
        )

    def _model_costs(self) -> dict[str, int]:
        """With what one token uses of a mixture of experts, if it is one."""
        if not self.routing.choices:
            return dict(self.costs)
        return {**self.costs, "active_params": self.routing.active(self.costs["params"])}

    @property
    def _metric_name(self) -> str | None:
        """That of all outputs is the same whichever of them were chosen; the spreads tell which."""
        apart = isinstance(self.metric, Outputs) and self.metric.scales is None
        return "outputs" if apart else name_of(self.metric)

    def _has_gradients(self, name: str) -> bool:
        return not self._keys([name]).isdisjoint(self.sums.output_grams)

    def _scattered(self, layers: Iterable[str], inputs: Iterable[str]) -> set[str]:
        """The names of the scatters of these layers and inputs."""
        named = {"gram": inputs, "output": self._keys(layers), "joint": layers}
        return {scatter_key(kind, key) for kind, keys in named.items() for key in keys}

    def _keys(self, layers: Iterable[str]) -> set[str]:
        return {output_key(name, path) for name in layers for path in ("", *self.spreads)}


def _differentiate(value: Tensor, again: bool = False) -> None:
    """Backpropagate; what goes wrong in that is said to be the network's.

    Args:
        value: one number.
        again: whether another number of the same pass follows.
    """
    try:
        value.backward(retain_graph=again)
    except (EckartError, MemoryError, torch.OutOfMemoryError):
        raise  # of what sees the gradients, or of the machine
    except Exception as error:
        raise InputError(
            f"no gradient can flow through the network in eval mode, because {_why(error)}, or "
            f"pass metric=None to weight by inputs alone ({type(error).__name__}: {error!s:.150})"
        ) from error


def _why(error: Exception) -> str:
    if "inplace operation" in str(error):
        return (
            "it overwrites tensors in place that the gradient needs, as caches and states do: "
            "switch these off (use_cache=False among the inputs)"
        )
    return "one of its functions cannot be differentiated: mend its backward"


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
