"""A frontier made by hand: 5 layers, of which one stays dense, 2 families, 4 keeps each."""

from dataclasses import replace

import pytest
import torch

from eckart.records import (
    ChannelGroup,
    Choice,
    Curve,
    Curves,
    Form,
    Frontier,
    GroupCurve,
    HealingStep,
    LayerSpec,
    Measurement,
    Option,
    Piece,
    Plan,
    Point,
    Removal,
    Score,
    Site,
)

HOSTILE = "block.<script>window.hacked=1</script>&\"'"
REASON = "its weight is read by <b>another</b> layer & </script><script>window.hacked=2</script>"
KEEPS = (0.8, 0.6, 0.4, 0.2)
RIGHT = {"uniform svd": (880, 700, 300, 100), "eckart": (920, 915, 880, 700)}
DENSE_RIGHT = 920
SIZE = (8, 8)


def conv(inputs, outputs, kernel, padding):
    return Piece(inputs, outputs, kernel, stride=(1, 1), padding=padding, dilation=(1, 1))


def specs():
    convs = {"conv1": (3, 8), "block.conv2": (8, 16), HOSTILE: (16, 16)}
    dense = {name: conv(*widths, (3, 3), (1, 1)) for name, widths in convs.items()}
    dense |= {"mix": conv(16, 16, (1, 1), (0, 0)), "head": Piece(16, 10, bias=True)}
    types = {name: "Conv2d" if piece.kernel else "Linear" for name, piece in dense.items()}
    return {
        name: LayerSpec(
            name=name,
            type=types[name],
            dense=Form((p,)),
            sizes=(SIZE if p.kernel else (1,),),
            itemsize=4,
            input=name,
        )
        for name, p in dense.items()
    }


def chain(piece, rank):
    if not piece.kernel:
        return Form((Piece(piece.inputs, rank), Piece(rank, piece.outputs, bias=piece.bias)))
    first = conv(piece.inputs, rank, piece.kernel, piece.padding)
    return Form((first, conv(rank, piece.outputs, (1, 1), (0, 0))))


def curve(spec, scale):
    options = [
        Option(method, chain(spec.piece, rank), worse * scale / rank**2)
        for method, worse in (("weighted_svd", 1.0), ("svd", 3.0))
        for rank in range(1, 6)
    ]
    return Curve(Site(spec.name, (spec.name,)), (*options, Option("dense", spec.dense, 0.0)))


@pytest.fixture(scope="session")
def curves():
    layers = specs()
    total = sum(spec.dense.params for spec in layers.values()) + 100
    sites = tuple(curve(layers[name], 1 + i) for i, name in enumerate(layers) if name != "mix")
    macs = sum(spec.dense.macs(spec.sizes[0]) for spec in layers.values())
    totals = {"params": total, "macs": macs}
    return Curves(
        curves=sites,
        specs=layers,
        totals=totals,
        dense={"mix": REASON},
        fingerprint="a" * 64,
        damping=1e-4,
    )


def score(right):
    samples = torch.zeros(1000)
    samples[:right] = 1
    return Score(right / 1000, 1000, higher_is_better=True, samples=samples)


def plan(curves, method, keep):
    choices = {}
    for site in curves.curves:
        spec = curves.specs[site.site.name]
        able = [o for o in site.options if o.method == method]
        best = [o for o in able if o.form.params <= keep * spec.dense.params]
        if best:
            choices[spec.name] = Choice(method, best[-1].form, best[-1].loss)
    loss = sum(choice.loss for choice in choices.values())
    why = {name: "no option is small enough" for name in curves.specs if name not in choices}
    dense = {**why, **curves.dense}
    return Plan(
        choices=choices,
        dense=dense,
        loss=loss,
        costs={},
        totals=dict(curves.totals),
        fingerprint=curves.fingerprint,
        damping=1e-4,
    )


def measured(curves, choices, right):
    saved = [(curves.specs[name], choice.form) for name, choice in choices.items()]
    params = curves.totals["params"] - sum(s.dense.params - f.params for s, f in saved)
    less = sum(s.dense.macs(size) - f.macs(size) for s, f in saved for size in s.sizes)
    macs = curves.totals["macs"] - less
    return Measurement(
        params=params,
        macs=macs,
        bytes=4 * params,
        latency_ms=0.5 + macs / 1e6,
        latency_spread_ms=0.01,
        score=score(right),
    )


@pytest.fixture(scope="session")
def frontier(curves):
    dense = measured(curves, {}, DENSE_RIGHT)
    points = []
    for label, method in (("uniform svd", "svd"), ("eckart", "weighted_svd")):
        for keep, right in zip(KEEPS, RIGHT[label], strict=True):
            done = plan(curves, method, keep)
            after = measured(curves, done.choices, right)
            error = after.score.drop_error(dense.score)
            points.append(
                Point(keep=keep, label=label, plan=done, measurement=after, drop_error=error)
            )
    return Frontier(
        dense=dense, points=tuple(points), cost="params", fingerprint=curves.fingerprint
    )


@pytest.fixture(scope="session")
def untimed(frontier):
    """The same without latency."""

    def strip(measurement):
        return replace(measurement, latency_ms=None, latency_spread_ms=None)

    points = tuple(replace(p, measurement=strip(p.measurement)) for p in frontier.points)
    return replace(frontier, dense=strip(frontier.dense), points=points)


GROUPS = {
    "block.conv2": ("block.conv2", HOSTILE, 16),
    "conv1": ("conv1", "block.conv2", 8),
}
ORDERS = {"conv1": (5, 0, 1, 7, 2, 3, 4, 6), "block.conv2": tuple(range(16))}
WHOLE = {HOSTILE: REASON, "head": "nothing reads it but the network's output"}


def group_curve(name):
    writer, reader, size = GROUPS[name]
    units = tuple((unit,) for unit in range(size))
    group = ChannelGroup(
        name=name,
        size=size,
        writers={writer: units},
        readers={reader: units},
        followers={"norm": units},
    )
    losses = {kept: 0.5 * (size - kept) ** 2 for kept in range(1, size + 1)}
    return GroupCurve(
        group=group,
        method="backward_elimination",
        order=ORDERS[name],
        losses=losses,
        costs={"params": (2,) * size},
    )


@pytest.fixture(scope="session")
def coupled(curves):
    """The curves with two groups, in the wrong order, and options of narrower layers."""
    curve = curves.curves[0]
    narrow = conv(3, 5, (3, 3), (1, 1))
    options = (Option("narrowed", Form((narrow,)), 0.0), Option("svd", chain(narrow, 2), 77.0))
    sites = (replace(curve, options=(*options, *curve.options)), *curves.curves[1:])
    groups = tuple(group_curve(name) for name in GROUPS)
    return replace(curves, curves=sites, groups=groups, whole=WHOLE)


@pytest.fixture(scope="session")
def narrowed(frontier, coupled):
    """The frontier whose last point keeps 3 of conv1's 8 channels."""
    ranked = coupled.groups[1]
    gone = Removal(
        group=ranked.group, method=ranked.method, kept=ranked.kept(3), loss=ranked.losses[3]
    )
    piece = conv(3, 3, (3, 3), (1, 1))
    reader = conv(3, 16, (3, 3), (1, 1))
    point = frontier.points[-1]
    choices = {
        **point.plan.choices,
        "conv1": Choice("narrowed", Form((piece,)), 0.0),
        "block.conv2": Choice("weighted_svd", chain(reader, 2), 0.25),
    }
    loss = sum(part.loss for part in [*choices.values(), gone])
    dense = {name: why for name, why in point.plan.dense.items() if name not in choices}
    done = replace(
        point.plan,
        choices=choices,
        dense=dense,
        loss=loss,
        removals={"conv1": gone},
        bound=loss / 2,
    )
    last = replace(point, plan=done, measurement=measured(coupled, choices, 700))
    return replace(frontier, points=(*frontier.points[:-1], last))


@pytest.fixture(scope="session")
def unscored(frontier):
    """The same without any score."""

    def strip(measurement):
        return replace(measurement, score=None)

    points = tuple(
        replace(p, measurement=strip(p.measurement), drop_error=None) for p in frontier.points
    )
    return replace(frontier, dense=strip(frontier.dense), points=points)


@pytest.fixture(scope="session")
def log():
    """Three networks that were better, one that was not, one treatment that was not done."""

    def score(value):
        return Score(value, 50, higher_is_better=False)

    return (
        HealingStep(
            treatment="start", note="as handed in", score=score(0.4), seconds=0.0, accepted=True
        ),
        HealingStep(
            treatment="correct", note="norms", score=score(0.2), seconds=1.0, accepted=True
        ),
        HealingStep(treatment="refit", note="ρ = 1", score=score(0.3), seconds=2.0, accepted=False),
        HealingStep(
            treatment="distil",
            note="<img src=x onerror=window.hacked=3>",
            score=None,
            seconds=0.0,
            accepted=False,
        ),
        HealingStep(
            treatment="refit", note="ρ = 0.1", score=score(0.1), seconds=2.0, accepted=True
        ),
    )


@pytest.fixture(scope="session")
def thousand(frontier, curves):
    """A thousand layers, each with ten options, and 36 points that change all of them."""
    spec = curves.specs["block.conv2"]
    names = [f"model.layers.{i}.self_attention.projection" for i in range(1000)]
    specs = {name: replace(spec, name=name, input=name) for name in names}
    sites = tuple(curve(specs[name], 1 + i) for i, name in enumerate(names))
    dense = replace(frontier.dense, params=1000 * spec.dense.params)
    many = replace(curves, curves=sites, specs=specs, dense={}, totals={"params": dense.params})
    choices = [
        {site.site.name: Choice("svd", o.form, o.loss) for site in sites if (o := site.options[k])}
        for k in range(5)
    ]
    points = tuple(
        replace(
            frontier.points[i % 4],
            keep=(i + 1) / 37,
            plan=replace(frontier.points[0].plan, choices=choices[i % 5], dense={}),
        )
        for i in range(36)
    )
    return replace(frontier, dense=dense, points=points), many


@pytest.fixture(scope="session")
def coded(frontier):
    """The frontier with both factors of every layer in codes of 3 and 4 bits, by bytes."""

    def in_codes(choice):
        pieces = zip(choice.form.pieces, (3, 4), strict=True)
        return replace(choice, form=Form(tuple(replace(p, bits=b) for p, b in pieces)))

    def point(found):
        choices = {name: in_codes(choice) for name, choice in found.plan.choices.items()}
        measured = replace(found.measurement, bytes=found.measurement.bytes // 8)
        return replace(found, plan=replace(found.plan, choices=choices), measurement=measured)

    return replace(frontier, cost="bytes", points=tuple(map(point, frontier.points)))
