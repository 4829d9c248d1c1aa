"""The report: one HTML file that needs nothing but a browser."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from eckart.errors import InputError, MismatchError
from eckart.records import Curves, Frontier
from eckart.report.formats import ScoreFormat, milliseconds, short_count
from eckart.report.payload import page_data
from eckart.report.selection import dense_score, score_of, smallest_within_error
from eckart.report.supports import by_reason
from eckart.report.tables import table_columns, table_rows

SCRIPTS = (
    "dom.js",
    "numbers.js",
    "frontier.js",
    "totals.js",
    "layers.js",
    "spectra.js",
    "channels.js",
    "page.js",
)


def write_report(
    frontier: Frontier,
    curves: Curves,
    path: str | Path,
    *,
    title: str = "eckart",
    command: str | None = None,
) -> Path:
    """Write the frontier and everything behind it as one HTML file.

    The page reads nothing from the network: data, style and scripts are in the file, and its
    content security policy forbids the rest.

    Args:
        frontier: at least one point, all with scores.
        curves: the options the points were chosen from; of the same network.
        path: the file to write; its folder is made.
        title: the page's heading.
        command: what reproduces the report, shown with a button that copies it.

    Returns:
        The path of the file.

    Raises:
        InputError: the frontier is empty, or a network has no score.
        MismatchError: frontier and curves belong to different networks.

    Cost: O(points × layers + options) time. Long curves are thinned: about 100 kB for 20 layers,
    under 1 MB for 200 layers and 36 points.
    """
    _check(frontier, curves)
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            title=title,
            command=command,
            data=_script_json(page_data(frontier, curves)),
            tiles=_tiles(frontier),
            columns=table_columns(frontier),
            rows=table_rows(frontier),
            narrowed=any(point.plan.removals for point in frontier.points),
            whole=by_reason(_whole(frontier, curves)),
            damping=curves.damping,
            fingerprint=frontier.fingerprint,
            **_assets(),
        )
    )
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page, encoding="utf-8")
    return target


def _check(frontier: Frontier, curves: Curves) -> None:
    if not frontier.points:
        raise InputError("the frontier has no points to report: give at least one keep")
    if frontier.fingerprint != curves.fingerprint:
        raise MismatchError(
            f"the frontier is of network {frontier.fingerprint!r:.24}, the curves are of "
            f"{curves.fingerprint!r:.24}: make both from the same moments"
        )


def _whole(frontier: Frontier, curves: Curves) -> dict[str, str]:
    """Groups that cannot be narrowed, with the reason, of curves and plans."""
    plans = [point.plan.whole for point in frontier.points]
    return {name: reason for part in [*plans, curves.whole] for name, reason in part.items()}


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("eckart.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _assets() -> dict[str, str]:
    """Style and scripts, and the hash by which the page's policy admits the scripts."""
    folder = resources.files("eckart.report") / "templates"
    texts = [(folder / name).read_text(encoding="utf-8") for name in SCRIPTS]
    script = "\n(() => {\n'use strict';\n" + "\n".join(texts) + "})();\n"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = (folder / "report.css").read_text(encoding="utf-8")
    return {"style": Markup(style), "script": Markup(script), "script_hash": digest}


def _script_json(data: dict[str, Any]) -> Markup:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _tiles(frontier: Frontier) -> list[dict[str, str]]:
    """The headline facts: what it is, the number, and a remark."""
    score, dense = dense_score(frontier), frontier.dense
    written = ScoreFormat.of(score)
    value, _, error = written.text(score.value, score.standard_error).partition(" ± ")
    about = [f"± {error}" if error else "", f"on {score.n:,} examples" if score.n else ""]
    tiles = [
        _tile("Dense score", value + written.unit, " ".join(filter(None, about))),
        _tile("Parameters", short_count(dense.params), f"{dense.params:,}"),
        _tile("Multiply-adds", short_count(dense.macs), "for one example"),
    ]
    if dense.latency_ms is not None:
        text = f"{milliseconds(dense.latency_ms)} ms"
        tiles.append(_tile("Latency", text, f"batch of {dense.batch}"))
    return [*tiles, _best_tile(frontier)]


def _best_tile(frontier: Frontier) -> dict[str, str]:
    what = "Within one standard error"
    index = smallest_within_error(frontier)
    if index is None:
        return _tile(what, "none", "of the points measured")
    point, dense = frontier.points[index], dense_score(frontier)
    written, kept = ScoreFormat.of(dense), point.measurement.params / frontier.dense.params
    score = written.text(score_of(point).value) + written.unit
    return _tile(what, f"{kept:.2f} of params", f"smallest such point, {score}")


def _tile(what: str, value: str, remark: str) -> dict[str, str]:
    return {"what": what, "value": value, "remark": remark}
