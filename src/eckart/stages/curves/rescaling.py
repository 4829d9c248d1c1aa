"""How much more, or less, truncating a layer costs than its second moments say, measured.

Every layer is truncated at one rank, near half of its parameters, and the change of the outputs on
a few examples is held against the prediction. The layers are measured side by side: the examples
are repeated along the batch, and copy i sees layer i truncated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from eckart.errors import InputError
from eckart.layers import rebuild
from eckart.metrics import METRICS, Measurable, Probe, count_of, probe_of
from eckart.network.third_party import copied_in
from eckart.records import Option
from eckart.running.batches import call, examples_in, first_examples, mapped, moved, repeated
from eckart.running.hooks import amending, untouched, watching
from eckart.running.progress import tracked
from eckart.stages.curves.problems import Bench, half_sized

_FURTHEST = 4.0  # neither way is a ratio believed beyond this factor
_SEEN = 2.0  # a change is seen where it is so many times that of two equal runs
_NUMBERS = 2**27  # of the outputs that are held at once
_EXAMPLES = 128  # that run at once


def rescaled(
    bench: Bench,
    options: Mapping[str, Sequence[Option]],
    metric: Probe | None = None,
    progress: bool | None = None,
) -> dict[str, float]:
    """Measured over predicted change of the outputs for each layer, between 1/4 and 4.

    The change is that of the metric: the divergence in nats for next tokens and the Fisher, half
    the squared change for logits and embeddings, per output as the losses are. It is measured in
    float32, and that of two equal runs is subtracted. A layer whose change drowns in that, or that
    does not see the examples one after the other, gets the median of the others.

    Args:
        bench: the network and its moments.
        options: each layer's at full width.
        metric: the probe that the moments were gathered with; None looks it up by its name.
        progress: show a bar; None shows it on a terminal.

    Raises:
        InputError: the moments carry no sample, or the metric cannot be measured.

    Cost: forward passes of about as many examples as there were in the calibration, or of one for
        each layer where those are more.
    """
    probe = _measurable(bench, metric)
    model = copied_in(bench.model, torch.float32)
    predicted, truncated = dict[str, float](), dict[str, nn.Module]()
    for name, offered in options.items():
        problem = bench.problem(name)
        option = half_sized(problem, offered)
        if option is not None and option.loss > 0:
            weights = bench.built(problem, option)
            built = rebuild(model.get_submodule(name), option.form, weights)
            predicted[name], truncated[name] = option.loss, built.eval()
    changes, outputs = dict.fromkeys(truncated, 0.0), 0
    each = max(1, bench.moments.examples // max(1, len(truncated)))
    for inputs in _few(bench.moments.sample, each):
        run = _SideBySide(model, truncated, probe, inputs)
        for names in tracked(run.chunks, "measuring truncations", progress, len(run.chunks)):
            for name, change in run.changes(names).items():
                changes[name] += change
        outputs += run.count
    ratios = {n: changes[n] / outputs / predicted[n] for n in changes if changes[n] > 0}
    clipped = {n: min(max(ratio, 1 / _FURTHEST), _FURTHEST) for n, ratio in ratios.items()}
    usual = median(clipped.values()) if clipped else 1.0
    return {name: clipped.get(name, usual) for name in options}


def _measurable(bench: Bench, metric: Probe | None) -> Measurable:
    name = bench.moments.metric
    if metric is None and name in METRICS:
        metric = probe_of(name)
    if not isinstance(metric, Measurable):
        raise InputError(
            f"the change of the outputs cannot be measured in the metric {name}: pass rescale= the "
            "probe that the moments were gathered with, if it has observed and change"
        )
    if not bench.moments.sample:
        raise InputError("the moments carry no sample to measure changes on: calibrate anew")
    return metric


def _few(sample: Sequence[Any], most: int) -> Iterator[Any]:
    """So many examples of the sample, in float32."""
    for inputs in sample:
        if most > 0:
            few = first_examples(inputs, most)
            most -= examples_in(few)
            yield mapped(few, lambda t: t.float() if t.is_floating_point() else t)


@dataclass
class _SideBySide:
    """Some examples, repeated so that each copy sees another layer truncated."""

    model: nn.Module
    truncated: Mapping[str, nn.Module]
    probe: Measurable
    inputs: Any
    outputs: Any = field(init=False)
    shapes: dict[str, list[torch.Size]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.inputs = moved(self.inputs, self.model)
        with watching(self._layers, self._see_shape):
            self.outputs = self._run(self.inputs)
        numbers = self.probe.observed(self.outputs, self.inputs).numel()
        most = min(_NUMBERS // max(1, numbers), _EXAMPLES // examples_in(self.inputs))
        names, size = list(self.truncated), max(1, most)
        self.chunks = [names[at : at + size] for at in range(0, len(names), size)]
        self.count = count_of(self.probe, self.inputs, self.outputs)
        self.floor = self._floor(len(self.chunks[0])) if names else 0.0

    def changes(self, names: Sequence[str]) -> dict[str, float]:
        """What truncating each of these layers changes, less the floor; zero where it is unseen."""
        split = set[str]()
        parts = self._copies(names, split)
        changes = {n: self._change(part) for n, part in zip(names, parts, strict=True)}
        unseen = {n for n, c in changes.items() if n in split or c < _SEEN * self.floor}
        return {n: 0.0 if n in unseen else c - self.floor for n, c in changes.items()}

    @property
    def _layers(self) -> dict[str, nn.Module]:
        return {name: self.model.get_submodule(name) for name in self.truncated}

    def _see_shape(self, name: str, module: nn.Module, x: Tensor) -> None:
        self.shapes.setdefault(name, []).append(x.shape)

    def _floor(self, copies: int) -> float:
        """The change of copies of which none sees a truncated layer, at most."""
        return max(self._change(part) for part in self._parts(copies))

    def _change(self, found: Tensor) -> float:
        return self.probe.change(found, self.outputs, self.inputs)

    def _copies(self, names: Sequence[str], split: set[str]) -> Sequence[Tensor]:
        """What is observed of each copy; a layer that copies cannot be told apart in is noted."""
        seen: dict[str, Tensor] = {}
        calls = dict.fromkeys(names, 0)

        def amend(name: str, module: nn.Module, output: Tensor) -> Tensor | None:
            x, call_number = seen.pop(name), calls[name]
            calls[name] += 1
            axis = _grown(x.shape, self.shapes[name][call_number:], len(names))
            if axis is None:
                split.add(name)
                return None
            amended, slot = output.clone(), names.index(name)
            part = x.chunk(len(names), axis)[slot]
            amended.chunk(len(names), axis)[slot].copy_(self.truncated[name](part))
            return amended

        layers = {name: self.model.get_submodule(name) for name in names}
        with watching(layers, lambda n, _, x: seen.update({n: x})), amending(layers, amend):
            return self._parts(len(names))

    def _parts(self, copies: int) -> Sequence[Tensor]:
        batch = repeated(self.inputs, copies)
        return self.probe.observed(self._run(batch), batch).chunk(copies)

    @torch.no_grad()
    def _run(self, inputs: Any) -> Any:
        with untouched(self.model):
            return call(self.model, inputs)


def _grown(found: torch.Size, once: Sequence[torch.Size], copies: int) -> int | None:
    """The axis that is so many times as long as for the examples alone; None if there is no one."""
    if copies == 1:
        return 0
    if not once or len(once[0]) != len(found):
        return None
    grown = [at for at, (n, one) in enumerate(zip(found, once[0], strict=True)) if n != one]
    return grown[0] if len(grown) == 1 and found[grown[0]] == copies * once[0][grown[0]] else None
