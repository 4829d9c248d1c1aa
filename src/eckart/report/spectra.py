"""What is drawn of a site's options: per method, loss against the fraction of parameters kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eckart.records import Curve, Curves, LayerSpec, Option
from eckart.report.formats import known
from eckart.report.widths import ends

MOST_DOTS = 12_000  # on the whole page
FEWEST, MOST = 12, 64  # on one line

Dot = tuple[float, float]  # fraction of the parameters kept, predicted loss


def drawn_spectra(curves: Curves) -> list[dict[str, Any]]:
    """For every site the lines to draw; long ones are thinned, their ends kept.

    Layers at their full width only: what narrower ones lose depends on which channels went.

    Returns:
        Site by site: its name, the layers in it, and for every method the options that no cheaper
        option beats (``line``) and the others (``rest``), as [fraction kept, predicted loss].
    """
    lines = sum(len(_by_method(curve, curves.specs)) for curve in curves.curves)
    most = max(FEWEST, min(MOST, MOST_DOTS // max(lines, 1)))
    return [_site(curve, curves.specs, most) for curve in curves.curves]


def _site(curve: Curve, specs: Mapping[str, LayerSpec], most: int) -> dict[str, Any]:
    whole = sum(specs[name].dense.params for name in curve.site.layers)
    methods = []
    for method, options in _by_method(curve, specs).items():
        dots = sorted((option.form.params / whole, option.loss) for option in options)
        line, rest = _lower_edge([dot for dot in dots if known(dot[1]) is not None])
        methods.append(
            {"method": method, "line": _rounded(line, most), "rest": _rounded(rest, most)}
        )
    return {"name": curve.site.name, "layers": list(curve.site.layers), "methods": methods}


def _by_method(curve: Curve, specs: Mapping[str, LayerSpec]) -> dict[str, list[Option]]:
    """The options that factor the layer and leave it all its channels."""
    whole = {ends(specs[name].dense) for name in curve.site.layers}
    found: dict[str, list[Option]] = {}
    for option in curve.options:
        if not option.form.is_plain and ends(option.form) in whole:
            found.setdefault(option.method, []).append(option)
    return found


def _lower_edge(dots: Sequence[Dot]) -> tuple[list[Dot], list[Dot]]:
    """Dots sorted by cost, split into those with less loss than all before, and the others."""
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
