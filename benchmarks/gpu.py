"""Calibrate, plan, round and measure on a GPU, in eight minutes: `python -m benchmarks.gpu`.

Weights and inputs are random, so the rows are about time: what plans should take, and what their
networks take. Nothing is downloaded. A row is written as soon as it is known, and no new one is
begun once the time is nearly spent.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import torch
from torch import nn

import eckart
from benchmarks.measuring.clocks import timed
from benchmarks.measuring.results_file import Results, Row, results_path
from eckart.methods import Cache
from eckart.search.plan import Search
from eckart.search.timed import timed_network

T = TypeVar("T")
SECONDS = 440
CALIBRATION, TOKENS = 2, 512  # batches, and tokens of a text


@dataclass(frozen=True)
class Case:
    """One network on one runtime.

    Attributes:
        network: the name.
        runtime: of eckart.
        dtype: of weights and inputs.
        batch: examples in a pass.
        limits: fractions of the dense network's time to ask for.
    """

    network: str
    runtime: str
    dtype: str
    batch: int
    limits: tuple[float, ...] = (0.7,)


CASES = (
    Case("resnet18", "eager", "float32", 64, (0.8, 0.6)),
    Case("resnet18", "eager", "bfloat16", 64),
    Case("resnet50", "eager", "bfloat16", 64),
    Case("llama1b", "eager", "bfloat16", 1),
    Case("resnet18", "compile", "bfloat16", 64),
    Case("resnet50", "compile", "bfloat16", 64),
)
TINY = (Case("convolutions", "eager", "float32", 4), Case("llama", "eager", "bfloat16", 1))


def images(make: Callable[..., nn.Module], size: int = 224) -> Callable[[int], Any]:
    """A network with a maker of its inputs."""
    return lambda batch: (make, lambda: torch.randn(batch, 3, size, size))


def torchvision(name: str) -> nn.Module:
    """A network of torchvision with random weights."""
    import torchvision

    made: nn.Module = getattr(torchvision.models, name)(weights=None)
    return made


def llama(tokens: int, **config: Any) -> Callable[[int], Any]:
    """A Llama from its configuration, with a maker of texts."""

    def make() -> nn.Module:
        from transformers import LlamaConfig, LlamaForCausalLM

        made: nn.Module = LlamaForCausalLM(LlamaConfig(use_cache=False, **config))
        return made

    words = config["vocab_size"]
    return lambda batch: (make, lambda: {"input_ids": torch.randint(0, words, (batch, tokens))})


def convolutions() -> nn.Module:
    """A few layers, to try this script without a GPU."""
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


BILLION: dict[str, Any] = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16}
BILLION |= {"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32_000}
FEW: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
FEW |= {"num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 64}
NETWORKS: dict[str, Callable[[int], Any]] = {
    "resnet18": images(lambda: torchvision("resnet18")),
    "resnet50": images(lambda: torchvision("resnet50")),
    "llama1b": llama(TOKENS, **BILLION),
    "convolutions": images(convolutions, 16),
    "llama": llama(16, **FEW),
}


class Work:
    """One case on one device."""

    def __init__(self, case: Case, device: str, end: float) -> None:
        self.end = end
        torch.manual_seed(0)
        make, inputs = NETWORKS[case.network](case.batch)
        dtype = getattr(torch, case.dtype)
        self.case, self.device = case, device
        self.model = make().to(device, dtype).eval()
        made = (inputs() for _ in range(CALIBRATION))
        self.batches = [_converted(batch, device, dtype) for batch in made]
        self._gathered(self.batches)  # what only the first call takes
        self.calibration_s, self.moments = self._timed(lambda: self._gathered(self.batches))

    def _timed(self, run: Callable[[], T]) -> tuple[float, T]:
        """Seconds until the device has done all of it."""

        def whole() -> T:
            found = run()
            if self.device.startswith("cuda"):
                torch.cuda.synchronize()
            return found

        return timed(whole)

    def _gathered(self, batches: list[Any], model: nn.Module | None = None) -> eckart.Moments:
        model = self.model if model is None else model
        return eckart.calibrate(model, batches, layers=_layers(self.case), progress=False)

    def _passes(self) -> None:
        """A forward and a backward pass of each batch, which calibration is held against."""
        for batch in self.batches:
            given = batch if isinstance(batch, dict) else {}
            found = self.model(**given) if given else self.model(batch)
            getattr(found, "logits", found).float().square().sum().backward()
            self.model.zero_grad()

    def steps(self) -> Iterator[Row]:
        """Calibration, curves and rounding: seconds here, and of the first and last on the CPU."""
        self._passes()
        passes_s, _ = self._timed(self._passes)
        yield {"what": "calibration", "seconds": self.calibration_s, "passes_s": passes_s}
        how: dict[str, Any] = {"methods": ["pivoted_svd", "rounding"], "bits": (4,)}
        how |= {"limits": "bytes", "progress": False}
        seconds, options = self._timed(lambda: eckart.curves(self.model, self.moments, **how))
        yield {"what": "curves", "seconds": seconds}
        plan = eckart.allocate(options, eckart.Budget(bytes=0.5))
        seconds, _ = self._timed(lambda: eckart.apply(self.model, plan, self.moments))
        yield {"what": "rounding", "seconds": seconds}
        if not self.device.startswith("cpu") and monotonic() < self.end:
            yield from self._on_the_cpu(how)

    def _on_the_cpu(self, how: dict[str, Any]) -> Iterator[Row]:
        """Calibration with one batch, and curves, in float32."""
        model = deepcopy(self.model).to("cpu", torch.float32)
        batches = [_converted(batch, "cpu", torch.float32) for batch in self.batches[:1]]
        seconds, moments = timed(lambda: self._gathered(batches, model))
        yield {"what": "calibration on the CPU, one batch", "seconds": seconds}
        if monotonic() < self.end:
            seconds, _ = timed(lambda: eckart.curves(model, moments, damping=1e-6, **how))
            yield {"what": "curves on the CPU", "seconds": seconds}

    def rows(self) -> Iterator[Row]:
        """What calibration, curves and rounding take, what was profiled, and a row per limit."""
        yield from self.steps()
        case = self.case
        seconds, timings = timed(
            lambda: eckart.profile(
                self.model, self.moments, runtime=case.runtime, batch=case.batch, progress=False
            )
        )
        terms = timings.terms
        yield {
            "what": "profile",
            "seconds": seconds,
            "calibration_s": self.calibration_s,
            "dense_ms": timings.dense_ms,
            "noise": timings.noise,
            "layers": sum(len(s.inputs) * len(s.outputs) for s in timings.surfaces),
            "machine": terms.machine,
            "versions": dict(terms.versions),
        }
        curves_s, options = timed(
            lambda: eckart.curves(self.model, self.moments, limits="ms", progress=False)
        )
        for limit in case.limits:
            yield {"what": "point", "limit": limit, "curves_s": curves_s} | self._within(
                limit, options, timings
            )

    def _within(self, limit: float, options: eckart.Curves, timings: Any) -> Row:
        budget = eckart.Budget(ms=limit)
        cache = Cache.beside(self.moments, options.states)
        search = Search(self.model, self.moments, None, budget, cache)
        try:
            seconds, found = timed(lambda: timed_network(search, budget, options, timings))
        except eckart.BudgetError as error:
            return {"not reachable": str(error)[:200]}
        costs, totals = found.applied.plan.costs, found.applied.plan.totals
        shares = {name: costs[name] / totals[name] for name in ("ms", "macs", "params")}
        return {"predicted": shares, "share": found.pace.share, "built": found.built} | {
            "milliseconds": found.pace.smaller.median,
            "dense_milliseconds": found.pace.dense.median,
            "seconds": seconds,
        }


def _layers(case: Case) -> tuple[str, ...] | None:
    """A Llama's blocks alone: its table and its head are large, and take part in no budget here."""
    return ("model.layers.*",) if case.network.startswith("llama") else None


def _converted(batch: Any, device: str, dtype: torch.dtype) -> Any:
    if isinstance(batch, dict):
        return {name: tensor.to(device) for name, tensor in batch.items()}
    return batch.to(device, dtype)


def run(cases: Sequence[Case], device: str, output: Path, seconds: float) -> None:
    """Measure what is not in the file yet, until the time is spent."""
    results, end = Results(output), monotonic() + seconds
    for case in cases:
        key: Row = {"network": case.network, "runtime": case.runtime, "dtype": case.dtype}
        key |= {"batch": case.batch, "device": device}
        if results.has(**key, what="done") or monotonic() > end:
            continue
        results.forget(**key)
        for row in Work(case, device, end).rows():
            results.add(key | row)
            if monotonic() > end:
                break
        else:
            results.add(key | {"what": "done"})


def main(given: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--output", type=Path, default=results_path("gpu"))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="begin no row after these")
    parser.add_argument("--tiny", action="store_true", help="small networks, to try the script")
    found = parser.parse_args(given)
    run(TINY if found.tiny else CASES, found.device, found.output, found.seconds)


if __name__ == "__main__":
    main()
