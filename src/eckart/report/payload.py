"""All data that the page's scripts read, as plain dictionaries and lists."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterable
from typing import Any

from eckart.records import Choice, Curves, Form, Frontier, LayerSpec, Measurement, Plan, Point
from eckart.report.formats import ScoreFormat, known
from eckart.report.healing import Logs, healing_data
from eckart.report.selection import (
    MAIN,
    drop_error,
    drop_of,
    first_selected,
    has_scores,
    labels,
)
from eckart.report.spectra import drawn_spectra
from eckart.report.supports import Supports
from eckart.report.tables import has_bytes, has_latency
from eckart.report.widths import ends, is_changed
from eckart.storage.documents import sealed

PointCommand = Callable[[Point], str | None]  # the command that makes a point again


def page_data(
    frontier: Frontier,
    curves: Curves,
    *,
    point_command: PointCommand | None = None,
    healed: Logs | None = None,
) -> dict[str, Any]:
    """The data of the page; every form and reason is stored once and referred to by its index.

    Args:
        frontier: at least one point.
        curves: of the same network.
        point_command: gives the command line that makes a point again.
        healed: healing logs by the (keep, label) of their point.

    Returns:
        Numbers, strings, lists and dictionaries, without NaN or infinity.
    """
    layers, logs = _Layers(frontier, curves), healed or {}
    points = [
        {
            **_point(point, frontier, layers),
            "command": None if point_command is None else point_command(point),
            "healing": healing_data(logs.get((point.keep, point.label))),
        }
        for point in frontier.points
    ]
    dense = frontier.dense.score
    return {
        "percent": ScoreFormat.of(dense).percent,
        "higher": dense is None or dense.higher_is_better,
        "scored": has_scores(frontier),
        "latency": has_latency(frontier),
        "coded": has_bytes(frontier),
        "cost": frontier.cost,
        "dense": _measured(frontier.dense),
        "labels": list(labels(frontier)),
        "selected": first_selected(frontier),
        "points": points,
        "layers": layers.rows,
        "reasons": list(layers.reasons),
        "sites": drawn_spectra(curves, by_bytes=has_bytes(frontier)),
        "groups": layers.supports.rows,
    }


def _point(point: Point, frontier: Frontier, layers: _Layers) -> dict[str, Any]:
    dense = frontier.dense.score
    return {
        **_measured(point.measurement),
        "label": point.label,
        "keep": point.keep,
        "drop": drop_of(point, dense),
        "drop_error": drop_error(point, dense),
        "loss": known(point.plan.loss),
        "bound": _bound(point),
        "chosen": [layers.form_index(n, point.plan.choices.get(n)) for n in layers.names],
        "why": [layers.reason_index(point.plan.dense.get(n)) for n in layers.names],
        "kept": layers.supports.kept_by(point.plan.removals),
        "plan": _packed(point.plan) if point.label == MAIN else None,
    }


def _packed(plan: Plan) -> str:
    """The plan as a file, compressed and in letters: the page unpacks it to be downloaded."""
    text = json.dumps(sealed(plan.as_json()), separators=(",", ":"))  # dumps() would indent
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _bound(point: Point) -> float | None:
    """The loss that no plan can go below; only for our points, because baselines ignore it."""
    return known(point.plan.bound) if point.label == MAIN and point.plan.bound > 0 else None


def _measured(measured: Measurement) -> dict[str, Any]:
    score = measured.score
    return {
        "params": measured.params,
        "macs": measured.macs,
        "bytes": measured.bytes,
        "latency": known(measured.latency_ms),
        "score": None if score is None else score.value,
        "error": None if score is None else known(score.standard_error),
    }


class _Layers:
    """One row per layer, and the forms and reasons that points refer to."""

    def __init__(self, frontier: Frontier, curves: Curves) -> None:
        plans = [point.plan for point in frontier.points]
        named: Iterable[str] = (n for plan in plans for n in (*plan.choices, *plan.dense))
        self.names = list(dict.fromkeys([*curves.specs, *curves.dense, *named]))
        self.specs = curves.specs
        self.supports = Supports(frontier, curves, self.names)
        self._place = {name: place for place, name in enumerate(self.names)}
        self.reasons: dict[str, int] = {}
        self.rows = [self._row(name, curves.dense.get(name)) for name in self.names]
        self._forms: dict[tuple[str, Choice], int] = {}

    def _row(self, name: str, reason: str | None) -> dict[str, Any]:
        spec = self.specs.get(name)
        costs = [None, None] if spec is None else _costs(spec.dense, spec)
        dense = "" if spec is None else str(spec.dense)
        why = self.reason_index(reason)
        return {
            "name": name,
            "dense": dense,
            "costs": costs,
            "why": why,
            "ends": None if spec is None else ends(spec.dense),
            "bytes": None if spec is None else spec.dense.stored_bytes(spec.itemsize),
            "weights": None if spec is None else [spec.piece.weights, 8 * spec.itemsize],
            "reads": self.supports.read_by(name),
            "writes": self.supports.written_by(name),
            "forms": [],
        }

    def reason_index(self, reason: str | None) -> int | None:
        """The index of the reason, which is added if it is new."""
        return self.reasons.setdefault(reason, len(self.reasons)) if reason else None

    def form_index(self, name: str, choice: Choice | None) -> int | None:
        """The index of the choice among the layer's forms, to which it is added if it is new."""
        if choice is None or not is_changed(choice):
            return None
        key = name, choice
        if key not in self._forms:
            forms = self.rows[self._place[name]]["forms"]
            self._forms[key] = len(forms)
            forms.append(_form(choice, self.specs.get(name)))
        return self._forms[key]


def _form(choice: Choice, spec: LayerSpec | None) -> list[Any]:
    """Method, form, rank, parameters, MACs, loss, widths, bytes, and weights and bits of pieces.

    It is a list to keep the page small.
    """
    loss = known(choice.loss)
    rounded = None if loss is None else float(f"{loss:.4g}")
    form = choice.form
    size = None if spec is None else form.stored_bytes(spec.itemsize)
    parts = [[p.weights, p.bits or 8 * (spec.itemsize if spec else 4)] for p in form.pieces]
    costs = _costs(form, spec)
    return [choice.method, str(form), form.rank, *costs, rounded, ends(form), size, parts]


def _costs(form: Form, spec: LayerSpec | None) -> list[int | None]:
    """Parameters and, where the input sizes are known, multiply-adds."""
    macs = None if spec is None else spec.macs(form)
    return [form.params, macs]
