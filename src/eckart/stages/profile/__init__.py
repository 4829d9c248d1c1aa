"""A network and a runtime to timings: the table behind budgets in milliseconds."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from eckart.errors import InputError
from eckart.moments import Moments
from eckart.network.identity import check_same_network
from eckart.network.wrappers import network_in
from eckart.records.pieces import ACTIVATIONS
from eckart.records.timings import Terms, Timings, named
from eckart.running.arguments import check_kind
from eckart.running.batches import batch_of
from eckart.running.progress import tracked
from eckart.runtimes import RUNTIMES, Runtime, Times, clock_of, interleaved, runtime_named
from eckart.runtimes.eager import passes
from eckart.stages.profile.eight_bits import rounded_network
from eckart.stages.profile.kinds import Kinds, grids
from eckart.stages.profile.networks import whole_networks
from eckart.stages.profile.surfaces import surface
from eckart.stages.profile.terms import terms_of

__all__ = ["profile", "terms_of"]

_ROUNDS, _CHANNELS = 7, 16


def profile(
    model: nn.Module,
    moments: Moments,
    *,
    runtime: str = "eager",
    batch: int = 1,
    threads: int | None = None,
    device: str | torch.device | None = None,
    activations: int = 0,
    progress: bool | None = None,
    path: str | Path | None = None,
) -> Timings:
    """Time what the layers of a network may become, where it will run.

    Every kind of layer that a smaller network may have is timed alone, on a grid of widths: as the
    difference between three copies and one, so that the call itself cancels. With them runs what
    the runtime fuses into a layer: its bias, a folded norm, an activation, an addition. The dense
    network and three smaller ones are timed as a whole; they say how their times follow from those
    of the layers.

    Args:
        model: the dense network. Wrappers by ``torch.compile`` and ``DataParallel`` are left out.
        moments: from ``calibrate``; they tell the sizes of the maps.
        runtime: ``"eager"``, ``"compile"``, ``"onnxruntime"``, ``"openvino"`` or one of your own,
            see ``eckart.runtimes.register_runtime``.
        batch: examples in a forward pass.
        threads: of the runtime; None takes torch's number.
        device: where to time; None is where the network is.
        activations: 8 also times layers whose weights and activations have 8 bits, where the
            runtime has kernels for them.
        progress: whether to show a bar; None shows it on a terminal.
        path: a JSON file, written after each kind of layer. The same call continues it.

    Returns:
        The timings, for ``allocate``, ``compress`` and ``frontier``.

    Raises:
        InputError: the runtime is unknown, not installed, or has no kernels of 8 bits.
        MismatchError: the moments belong to another network, or the file at ``path`` has timings of
            another network, runtime, batch or machine; it says what differs.

    Cost: about 650 layers of 23 kinds for ResNet-20, 2,600 of 54 for ResNet-18, each timed seven
        times; and, to export, one pass of four networks.

    Example:
        >>> import torch, eckart
        >>> network = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 4))
        >>> moments = eckart.calibrate(network, [torch.randn(64, 20)])
        >>> timings = eckart.profile(network, moments, batch=64, threads=1)
        >>> print(timings)
        dense ... ms; eager, batch 64, 1 thread; ... layers of ... kinds timed, noise ...%
    """
    place, model = runtime_named(runtime), network_in(model)
    check_kind("moments", moments, Moments)
    check_kind("batch", batch, Integral)
    check_same_network(model, moments.fingerprint, "these moments")
    if batch < 1:
        raise InputError(f"batch={batch}: time at least one example")
    _check_activations(activations, place)
    if device is not None:
        model = copy.deepcopy(model).to(device)
    terms = terms_of(model, place, batch, threads or torch.get_num_threads())
    work = _Work(place, terms, next(iter(model.parameters()), torch.empty(0)))
    begun = timings = _begun(terms, path)
    for timings in work.layers(begun, grids(moments.specs.values(), activations), progress):
        _save(timings, path)
    inputs, specs = batch_of(moments.example, batch), dict(moments.specs)
    if not timings.whole:
        whole, times = whole_networks(model, specs, inputs, place, timings)
        timings = replace(timings, whole=tuple(whole))
        timings = replace(timings, noise=max(timings.noise, _noise(times)))
        _save(timings, path)
    if activations and not timings.rounded:
        rounded = rounded_network(model, specs, inputs, place, timings)
        timings = replace(timings, rounded=(rounded,))
        _save(timings, path)
    return timings


def _check_activations(bits: int, runtime: Runtime) -> None:
    if bits not in (0, ACTIVATIONS):
        raise InputError(f"activations={bits}: they have {ACTIVATIONS} bits, or 0 for their dtype")
    if bits and not runtime.rounds:
        known = ", ".join(sorted(name for name, found in RUNTIMES.items() if found.rounds))
        raise InputError(
            f"the runtime {runtime.name!r} has no kernels for activations of {bits} bits: "
            f"time on {known}"
        )


class _Work:
    """Times the layers that are not in a table yet."""

    def __init__(self, runtime: Runtime, terms: Terms, like: torch.Tensor) -> None:
        self.runtime, self.terms, self.like = runtime, terms, like

    def layers(self, timings: Timings, kinds: Kinds, progress: bool | None) -> Iterator[Timings]:
        """The timings with one more kind of layer at each step."""
        known = {(found.kind, found.size) for found in timings.surfaces}
        left = {key: grid for key, grid in kinds.items() if key not in known}
        if not timings.passing and not self.runtime.fuses:
            timings = replace(timings, passing=self._passing(kinds))
        yield timings
        noises = [timings.noise] * len(known)
        for (kind, size), grid in tracked(left.items(), "timing layers", progress, len(left)):
            batch, threads = self.terms.batch, self.terms.threads
            found, times = surface(self.runtime, kind, size, grid, batch, threads, self.like)
            noises.append(_noise(times))
            surfaces = (*timings.surfaces, found)
            timings = replace(timings, surfaces=surfaces, noise=median(noises))
            yield timings

    def _passing(self, kinds: Iterable[tuple[Any, tuple[int, ...]]]) -> dict[str, float]:
        """Milliseconds per channel of a norm and an activation, by size of the map."""
        sizes = sorted({kind.output_size(size) for kind, size in kinds if kind.kernel})
        clock = self.runtime.clock or clock_of(self.terms.threads, self.like.device)
        runs = [self._norm(size) for size in sizes]
        times = interleaved(runs, _ROUNDS, clock) if runs else []
        pairs = zip(sizes, times, strict=True)
        return {named(size): found.least / _CHANNELS for size, found in pairs}

    def _norm(self, size: tuple[int, ...]) -> Any:
        norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[len(size) - 1]
        module = nn.Sequential(norm(_CHANNELS), nn.ReLU()).to(self.like)
        shape = (self.terms.batch, _CHANNELS, *size)
        inputs = torch.randn(shape, dtype=self.like.dtype, device=self.like.device)
        return passes(module.eval(), inputs, self.terms.threads)


def _begun(terms: Terms, path: str | Path | None) -> Timings:
    """What a file holds already; nothing, if there is none."""
    if path is None or not Path(path).exists():
        return Timings(terms=terms, surfaces=())
    found = Timings.load(path)
    found.terms.check(terms)
    return found


def _save(timings: Timings, path: str | Path | None) -> None:
    if path is not None:
        timings.save(path)


def _noise(times: Iterable[Times]) -> float:
    """The median over calls of (usual − least) / least."""
    return median([found.median / max(found.least, 1e-9) - 1 for found in times] or [0.0])
