"""The results of the five studies, read from their pages."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.tables.markdown import table

PAGES = Path("docs/results")
Cells = Mapping[str, str]


@dataclass(frozen=True)
class Study:
    """Where to find a study's figures on its page: the last row with the given cells counts.

    Attributes:
        title, way: the study's name in the table, and what the course did.
        page: the name of the page.
        course, ours: cells of the rows of the course's method and of eckart.
        dense: cells of the dense network's row; None if only the text has its accuracy.
        params, accuracy: the columns to read; numbers or percents, and fractions or percents.
    """

    title: str
    way: str
    page: str
    course: Cells
    ours: Cells
    dense: Cells | None = field(default=None)
    params: str = "parameters, %"
    accuracy: str = "accuracy"


STUDIES = (
    Study(
        "an MLP on MNIST",
        "SVD of one matrix",
        "study-mlp-mnist",
        {"hidden matrix": "SVD after training", "rank": "10"},
        {"hidden matrix": "eckart, whole network", "rank": "10"},
        {"hidden matrix": "dense"},
        params="all parameters",
        accuracy="2 runs",
    ),
    Study(
        "the rank of a network on Iris",
        "U·core·V",
        "study-iris-rank",
        {"network": "U·core·V, rank 1, from the weights"},
        {"network": "eckart, both layers, no larger"},
        {"network": "dense"},
        params="parameters",
    ),
    Study(
        "ResNet-18 on Imagenette",
        "SVD, uniform",
        "study-resnet18-imagenette",
        {"method": "SVD, uniform", "keep": "0.3"},
        {"method": "eckart", "keep": "0.3"},
    ),
    Study(
        "reconstruction of LeNet-5",
        "group lasso, least squares",
        "study-lenet-reconstruction",
        {"method": "the course's"},
        {"method": "eckart"},
    ),
    Study(
        "a residual MLP on CIFAR-10",
        "SVD, one rank",
        "study-residual-mlp-cifar10",
        {"kind": "SVD", "rank": "10"},
        {"kind": "eckart", "rank": "10"},
        {"kind": "dense"},
        accuracy="test",
    ),
)


def studies() -> str:
    """Accuracy in percent at equal size: the course's method and ours, nothing retrained."""
    head = ("study", "dense", "parameters kept", "the course's method", "**eckart**")
    return table(head, [tuple(_row(study)) for study in STUDIES])


def _row(study: Study) -> Iterator[str]:
    path = PAGES / f"{study.page}.md"
    text = path.read_text()
    rows = [row for row in _rows(text) if {study.params, study.accuracy} <= row.keys()]
    course, ours = (_last(rows, where, path) for where in (study.course, study.ours))
    yield f"[{study.title}]({path.relative_to('docs')})"
    if study.dense is None:
        whole, accuracy = 100.0, re.findall(r"dense network's (\S+) %", text)[0]
    else:
        dense = _last(rows, study.dense, path)
        whole, accuracy = _number(dense[study.params]), dense[study.accuracy]
    yield _percent(accuracy)
    yield f"{100 * _number(ours[study.params]) / whole:.1f} %"
    yield f"{_percent(course[study.accuracy])} ({study.way})"
    yield _percent(ours[study.accuracy])


def _rows(text: str) -> Iterator[Cells]:
    """Every row of every table, as a dict from column heads to cells."""
    head: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            head = []
        elif not head:
            head = cells
        elif not set(line) <= set("|-: "):
            yield dict(zip(head, cells, strict=True))


def _last(rows: list[Cells], where: Cells, path: Path) -> Cells:
    found = [row for row in rows if where.items() <= row.items()]
    if not found:
        raise LookupError(f"{path} has no row with {dict(where)}: correct its name in STUDIES")
    return found[-1]


def _number(cell: str) -> float:
    return float(cell.replace(",", ""))


def _percent(cell: str) -> str:
    value = _number(cell)
    return f"{100 * value if value <= 1 else value:.2f}"


SECTIONS: dict[str, Callable[[], str]] = {"studies": studies}
