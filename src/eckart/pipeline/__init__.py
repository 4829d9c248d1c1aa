"""The whole chain. Start reading in ``one_budget``.

    model, batches ─ calibrate ─▶ Moments ─ curves ─▶ Curves ─ allocate(budget) ─▶ Plan
    smaller model ◀─ apply ─ Plan          measure(model) ─▶ Measurement

Calibrate once; every budget after that is one plan, one ``apply`` and one evaluation.
"""

from eckart.pipeline.compressed import Compressed
from eckart.pipeline.many_budgets import KEEPS, frontier
from eckart.pipeline.one_budget import compress

__all__ = ["KEEPS", "Compressed", "compress", "frontier"]
