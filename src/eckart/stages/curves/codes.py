"""The options of one layer with codes in place of its weights."""

from __future__ import annotations

from eckart.methods import Rounding
from eckart.records import LayerSpec, Option
from eckart.records.offered import ROUNDING
from eckart.stages.curves.problems import Bench


def coded_options(bench: Bench, spec: LayerSpec) -> list[Option]:
    """The layer itself in codes of every width."""
    rounding = Rounding()
    state = bench.cache.state(rounding, bench.problem(spec.name))
    return [Option(ROUNDING, form, loss) for form, loss in rounding.losses(state)]
