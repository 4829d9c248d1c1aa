"""One network through every stage."""

import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

import eckart
from benchmarks.measuring.counts import count_params
from benchmarks.zoo.checks import arguments, check_budget, check_equal, check_runs, outputs
from benchmarks.zoo.network import Network
from benchmarks.zoo.notes import Notes
from benchmarks.zoo.shares import shares
from eckart.errors import BudgetError, LeftDenseWarning
from eckart.records.budgets import Scope
from eckart.running.batches import inputs_of

KEEP = 0.6


def walk(network: Network, notes: Notes, *, export: bool, seed: int) -> None:
    """Calibrate, predict, choose, replace, run, save, load, measure, export.

    Raises:
        Wrong: a stage broke a promise. Whatever else a stage raises goes on.
    """
    dense, data = notes.stage("make", lambda: (network.made(seed), network.data()))
    notes.add(params=count_params(dense))
    notes.stage("dense", lambda: [outputs(dense, batch) for batch in data])
    moments = notes.stage("calibrate", lambda: eckart.calibrate(dense, data, progress=False))
    notes.add(**shares(dense, moments), metric=moments.metric)
    options = notes.stage("curves", lambda: eckart.curves(dense, moments, progress=False))
    notes.add(options=sum(len(c.options) for c in options.curves), groups=len(options.groups))
    plan, of = notes.stage("allocate", lambda: allocated(options, notes))
    smaller = notes.stage("apply", lambda: applied(dense, plan, moments, notes))
    notes.add(kept=round(count_params(smaller) / count_params(dense), 4))
    if of == "model":
        notes.stage("budget", lambda: check_budget(smaller, int(KEEP * count_params(dense))))
    notes.stage("runs", lambda: check_runs(network, dense, smaller, data))
    with tempfile.TemporaryDirectory() as folder:
        notes.stage("save", lambda: eckart.save(smaller, folder))
        loaded = notes.stage("load", lambda: eckart.load(network.made(seed + 1), folder))
    notes.stage("equal", lambda: check_equal(smaller, loaded, data))
    inputs = inputs_of(data[0])
    notes.stage("measure", lambda: eckart.measure(loaded, inputs, latency=False))
    if export:
        notes.stage("export", lambda: exported(dense, loaded, data[0], notes))


def allocated(options: eckart.Curves, notes: Notes) -> tuple[eckart.Plan, Scope]:
    """The plan; if the whole network cannot become so small, of the layers that take part."""
    try:
        return eckart.allocate(options, eckart.Budget(params=KEEP)), "model"
    except BudgetError as error:
        notes.add(reason=f"BudgetError: {error}"[:1000])
        return eckart.allocate(options, eckart.Budget(params=KEEP, of="sites")), "sites"


def applied(
    dense: nn.Module, plan: eckart.Plan, moments: eckart.Moments, notes: Notes
) -> nn.Module:
    """The smaller network, after the warnings about layers that stayed dense are written down."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        smaller = eckart.apply(dense, plan, moments).eval()
    found = [str(w.message)[:300] for w in caught if issubclass(w.category, LeftDenseWarning)]
    if found:
        notes.add(**{"left dense": found})
    return smaller


def exported(dense: nn.Module, smaller: nn.Module, batch: Any, notes: Notes) -> None:
    """Write the smaller network as ONNX; a failure counts only if the dense one can be written."""
    try:
        to_onnx(smaller, batch)
    except Exception as error:
        try:
            to_onnx(dense, batch)
        except Exception:
            notes.add(export="dense fails too")
            return
        raise error


def to_onnx(model: nn.Module, batch: Any) -> None:
    """Export by torch, without its optimiser."""
    args, kwargs = arguments(model, batch)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "network.onnx"
        torch.onnx.export(
            model, args, path, kwargs=kwargs, dynamo=True, verbose=False, optimize=False
        )
