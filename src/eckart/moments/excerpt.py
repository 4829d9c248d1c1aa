"""The moments of some layers, as they travel to another machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from eckart.moments.record import Moments
from eckart.storage.workspace import some_of


def excerpt(moments: Moments, layers: Sequence[str]) -> Moments:
    """The moments of some layers, as far as losses need them; those on disk stay there.

    Several outputs become one, at their scales, because these depend on all layers.
    """
    specs = {name: moments.specs[name] for name in layers}
    inputs = [spec.input for spec in specs.values()]
    plain = [name for name in layers if [*moments.output_keys(name)] == [""]]
    several = [name for name in layers if moments.output_keys(name) and name not in plain]
    outputs = some_of(moments.output_grams, plain)
    if several:
        outputs = {**outputs, **{name: moments.output_gram(name) for name in several}}
    return replace(
        moments,
        specs=specs,
        grams=some_of(moments.grams, inputs),
        totals=some_of(moments.totals, inputs),
        rows={key: moments.rows[key] for key in inputs},
        output_grams=outputs,
        joint_grams=some_of(moments.joint_grams, [k for k in layers if k in moments.joint_grams]),
        spreads={},
        scatters={},
        calls={},
        skipped={},
        left_out={},
        example=None,
        sample=(),
    )
