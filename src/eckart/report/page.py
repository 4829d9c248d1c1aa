"""The report: one HTML file that needs nothing but a browser."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eckart.errors import InputError, MismatchError
from eckart.records import Curves, Frontier
from eckart.report.explanations import LOSS_SENTENCE, explained
from eckart.report.headlines import headlines
from eckart.report.healing import Logs, checked_logs
from eckart.report.payload import PointCommand, page_data
from eckart.report.recommended import Taken, recommendation
from eckart.report.supports import by_reason
from eckart.report.tables import table_columns, table_rows
from eckart.storage.writing import make_folder, write_text

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

SCRIPTS = (
    "dom.js",
    "numbers.js",
    "selection.js",
    "tips.js",
    "frontier.js",
    "totals.js",
    "layers.js",
    "where.js",
    "stayed.js",
    "spectra.js",
    "channels.js",
    "healing.js",
    "recipes.js",
    "page.js",
)


def write_report(
    frontier: Frontier,
    curves: Curves,
    path: str | Path,
    *,
    title: str = "eckart",
    command: str | None = None,
    point_command: PointCommand | None = None,
    healed: Logs | None = None,
    taken: Taken | None = None,
) -> Path:
    """Write the frontier and everything behind it as one HTML file.

    The page loads nothing from the internet: data, style and scripts are in the file, and its
    content security policy forbids everything else.

    Args:
        frontier: at least one point; predicted losses are drawn if there are no scores.
        curves: the options that the points were chosen from, for the same network.
        path: the file to write; its folder is created.
        title: the page's heading.
        command: the command that reproduces the report, shown with a button that copies it.
        point_command: gives the command that makes one point again, or None.
        healed: the logs that ``heal`` returned, by the ``(keep, label)`` of the points whose
            networks were healed.
        taken: files of the point that the page recommends, which the page lists with their sizes.

    Returns:
        The path of the file.

    Raises:
        InputError: the frontier is empty, or a healing log belongs to none of its points.
        MismatchError: frontier and curves belong to different networks.
        WriteError: the file cannot be written; an older one stays as it was.

    Cost: O(points × layers + options) time. Long curves are thinned: 150 kB for ResNet-20
    and 10 points, 1.2 MB for 1,000 layers of 10 options each and 36 points.
    """
    _check(frontier, curves)
    logs = checked_logs(healed, frontier)
    data = page_data(frontier, curves, point_command=point_command, healed=logs)
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            title=title,
            recommended=recommendation(frontier),
            loss_sentence=LOSS_SENTENCE,
            taken=[] if taken is None else taken.rows(Path(path)),
            taken_lines="" if taken is None else taken.lines,
            command=command,
            data=_script_json(data),
            headlines=headlines(frontier),
            columns=table_columns(frontier),
            rows=table_rows(frontier),
            methods=explained(frontier, curves),
            healing=any(point["healing"] for point in data["points"]),
            latency=data["latency"],
            coded=data["coded"],
            narrowed=any(point.plan.removals for point in frontier.points),
            notes=by_reason(_notes(frontier, curves)),
            whole=by_reason(_whole(frontier, curves)),
            damping=curves.damping,
            fingerprint=frontier.fingerprint,
            **_assets(),
        )
    )
    make_folder(Path(path).parent)
    write_text(path, page)
    return Path(path)


def _check(frontier: Frontier, curves: Curves) -> None:
    if not frontier.points:
        raise InputError("the frontier has no points to report: give at least one keep")
    if frontier.fingerprint != curves.fingerprint:
        raise MismatchError(
            f"the frontier is of network {frontier.fingerprint!r:.24}, the curves are of "
            f"{curves.fingerprint!r:.24}: make both from the same moments"
        )


def _notes(frontier: Frontier, curves: Curves) -> dict[str, str]:
    """What curves and plans say about modules that are opened."""
    parts = [*(point.plan.notes for point in frontier.points), curves.notes]
    return {name: note for part in parts for name, note in part.items()}


def _whole(frontier: Frontier, curves: Curves) -> dict[str, str]:
    """The groups of curves and plans that cannot be narrowed, with the reason."""
    plans = [point.plan.whole for point in frontier.points]
    return {name: reason for part in [*plans, curves.whole] for name, reason in part.items()}


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # only pages need it

    return Environment(
        loader=PackageLoader("eckart.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _assets() -> dict[str, str]:
    """Style, scripts, and the hash that lets the scripts run under the page's policy."""
    from markupsafe import Markup

    folder = resources.files("eckart.report") / "templates"
    texts = [(folder / name).read_text(encoding="utf-8") for name in SCRIPTS]
    script = "\n(() => {\n'use strict';\n" + "\n".join(texts) + "})();\n"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = (folder / "report.css").read_text(encoding="utf-8")
    return {"style": Markup(style), "script": Markup(script), "script_hash": digest}


def _script_json(data: dict[str, Any]) -> Markup:
    """JSON that cannot close the script element around it."""
    from markupsafe import Markup

    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)
