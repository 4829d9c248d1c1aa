"""The lines drawn for each site: loss against the fraction that is kept, per method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eckart.records import Curve, Curves, Form, LayerSpec
from eckart.report.formats import known
from eckart.report.widths import ends

MOST_DOTS = 12_000  # on the whole page
FEWEST, MOST = 12, 64  # on one line

Kept = Callable[[Form, LayerSpec], float]
Dot = tuple[float, float]  # fraction kept, predicted loss


def drawn_spectra(curves: Curves, by_bytes: bool = False) -> list[dict[str, Any]]:
    """The lines to draw for every site; long ones are thinned, but their ends are kept.

    Only layers at full width are drawn: the loss of a narrower one depends on which channels went.

    Args:
        curves: all options.
        by_bytes: whether fractions are of a layer's bytes; else of its parameters.

    Returns:
        For each site its name, its layers, and per method the options that no cheaper option beats
        (``line``) and the others (``rest``), as [fraction kept, predicted loss].
    """
    kept = bytes_kept if by_bytes else params_kept
    found = [(c.site, _by_method(c, curves.specs[c.site.name], kept)) for c in curves.curves]
    lines = sum(len(dots) for _, dots in found)
    most = max(FEWEST, min(MOST, MOST_DOTS // max(lines, 1)))
    return [
        {"name": site.name, "layers": list(site.layers), "methods": _methods(dots, most)}
        for site, dots in found
    ]


def _methods(dots_by_method: Mapping[str, Sequence[Dot]], most: int) -> list[dict[str, Any]]:
    methods = []
    for method, dots in dots_by_method.items():
        line, rest = _lower_edge(sorted(dot for dot in dots if known(dot[1]) is not None))
        methods.append(
            {"method": method, "line": _rounded(line, most), "rest": _rounded(rest, most)}
        )
    return methods


def params_kept(form: Form, spec: LayerSpec) -> float:
    """The fraction of a layer's parameters that a form has."""
    return form.params / spec.dense.params


def bytes_kept(form: Form, spec: LayerSpec) -> float:
    """The fraction of a layer's bytes that a form has."""
    return form.stored_bytes(spec.itemsize) / spec.dense.stored_bytes(spec.itemsize)


def _by_method(curve: Curve, spec: LayerSpec, kept: Kept) -> dict[str, list[Dot]]:
    """The options that change the layer and keep all its channels."""
    found: dict[str, list[Dot]] = {}
    for option in curve.options:
        if not option.form.is_plain and ends(option.form) == ends(spec.dense):
            dots = found.setdefault(option.method, [])
            dots.append((kept(option.form, spec), option.loss))
    return found


def _lower_edge(dots: Sequence[Dot]) -> tuple[list[Dot], list[Dot]]:
    """Split dots sorted by cost into those with less loss than all before them, and the others."""
    line: list[Dot] = []
    rest: list[Dot] = []
    for dot in dots:
        better = not line or dot[1] < line[-1][1]
        (line if better else rest).append(dot)
    return line, rest


def _rounded(dots: Sequence[Dot], most: int) -> list[list[float]]:
    if len(dots) > most:
        step = (len(dots) - 1) / (most - 1)
        dots = [dots[round(index * step)] for index in range(most)]
    return [[float(f"{x:.4g}"), float(f"{y:.4g}")] for x, y in dots]
