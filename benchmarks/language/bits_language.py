"""Language models with their decoders in few bits: perplexity, without fine-tuning.

Ways of rounding are compared at the same width in all layers, then widths that are chosen by their
expected losses. Bits per weight count scales and zero points. Rows already in the results are not
measured again; to do so, delete them or the file.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import exp
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.language.few_bits import Rounding, Way, cheapest
from benchmarks.language.language_subject import Subject
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.peers.forms import matrix
from benchmarks.subjects.language import (
    STORIES,
    WIKITEXT,
    Batch,
    halves,
    smollm2,
    stories260k,
    text,
)
from eckart.linalg.rounding import Rounded
from eckart.moments.shrinkage import shrinkage_of, shrunk_a, shrunk_g
from eckart.text import Tokenizer, windows

WIDTHS = (2, 3, 4, 5, 6)  # that are allocated
WAYS = {
    "to nearest": Way(usual=True),
    "GPTQ": Way(a=1e-2, usual=True),
    "inputs": Way(a=1e-2),
    "both sides": Way(1e-2, 1e-2),
    "both sides, G 0.1": Way(1e-2, 0.1),
    "both sides, G 0.3": Way(1e-2, 0.3),
    "both sides, G 1": Way(1e-2, 1.0),
    "both sides, G 10": Way(1e-2, 10.0),
    "both sides, A and G 0.1": Way(0.1, 0.1),
    "inputs, A 0.1": Way(0.1),
    "inputs, shrunk": Way(1e-2, shrunk=True),
    "both sides, shrunk": Way(1e-2, 1e-2, shrunk=True),
    "inputs, and the mean of G": Way(1e-2, float("inf")),
}
EVERYWHERE = tuple(WAYS)[:-1]
GRID_TOKENS = 16_384
GRIDS = {
    f"spans of {span}{', zero points' * zeros}": Way(1e-2, 1e-2, span=span, zeros=zeros)
    for zeros in (False, True)
    for span in (16, 32, 64, 128)
}
ALLOCATED = ("inputs, and the mean of G", "both sides", "both sides, shrunk")


@dataclass(frozen=True)
class Setting:
    """A network, and how it is calibrated and judged.

    Attributes:
        load: the network and its tokenizer.
        source: the text; one half calibrates, the other judges.
        evaluation: sequences and their length, which judge.
        length: of the sequences that calibrate.
        tokens: how many calibrate.
        ways: of rounding all layers to one width.
        bits: the widths of that.
        limits: bits per weight, within which widths are allocated.
        grids: widths at which grids are compared by their losses.
        checked: whether losses are also measured under the moments of the text that judges.
    """

    load: Callable[[Path | None], tuple[nn.Module, Tokenizer]]
    source: str
    evaluation: tuple[int, int]
    length: int
    tokens: tuple[int, ...]
    ways: tuple[str, ...] = EVERYWHERE
    bits: tuple[int, ...] = (4, 3)
    limits: tuple[float, ...] = (4.5, 4.0, 3.5, 3.0)
    grids: tuple[int, ...] = ()
    checked: bool = False


SETTINGS = {
    "stories260k": Setting(
        stories260k,
        STORIES,
        (32, 256),
        256,
        (2_048, 16_384, 131_072),
        grids=(2, 3, 4, 5, 6),
        checked=True,
    ),
    "SmolLM2-135M": Setting(
        lambda _: smollm2(),
        WIKITEXT,
        (8, 1024),
        512,
        (16_384,),
        (*EVERYWHERE[:4], "both sides, shrunk"),
    ),
}


@dataclass(frozen=True, eq=False)
class Judge:
    """Text that judges a network beside the dense one, whose answers are kept in half precision."""

    batches: list[Batch]
    dense: list[Tensor] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """How many are predicted."""
        return sum(batch["input_ids"][:, 1:].numel() for batch in self.batches)

    @torch.no_grad()
    def row(self, model: nn.Module) -> Row:
        """The perplexity, and the divergence from the network that was judged first, in nats."""
        nats, divergence, first = 0.0, 0.0, not self.dense
        for at, batch in enumerate(self.batches):
            ids = batch["input_ids"]
            answers = F.log_softmax(model(input_ids=ids).logits[:, :-1].float(), -1)
            nats -= float(answers.gather(-1, ids[:, 1:, None]).sum())
            if first:
                self.dense.append(answers.half())
            expected = self.dense[at].float()
            divergence += float((expected.exp() * (expected - answers)).sum())
        return {"perplexity": exp(nats / self.tokens), "kl": divergence / self.tokens}


@dataclass(frozen=True, eq=False)
class Decoder:
    """A dense network, and other data under whose moments losses are measured as well."""

    subject: Subject
    other: Subject | None = None

    def roundings(self) -> Iterator[tuple[str, Rounding]]:
        """One layer after the other."""
        moments = self.subject.moments
        for name, layer in self.subject.layers.items():
            sides = {"a": partial(moments.a, name), "g": partial(moments.g, name)}
            how = shrinkage_of(moments, name)
            if how is not None:
                sides["shrunk a"] = partial(shrunk_a, moments, name, how)
                sides["shrunk g"] = partial(shrunk_g, moments, name, how)
            yield name, Rounding(matrix(layer)[None], sides)

    def rounded(
        self, ways: Mapping[str, Way], widths: Mapping[str, Sequence[int]]
    ) -> tuple[dict[str, dict[str, Tensor]], dict[str, Row]]:
        """All weights by each way, in half precision, and what is known of them."""
        weights: dict[str, dict[str, Tensor]] = {title: {} for title in ways}
        rows: dict[str, Row] = {title: Counter() for title in ways}
        for at, (name, rounding) in enumerate(self.roundings()):
            for title, way in ways.items():
                width = widths[title][at]
                seconds, found = rounding.rounded(way, width)
                weights[title][name] = found.weight[0].half()
                bits = way.bits(rounding.weight, width) / self.subject.size
                rows[title].update({"bits": bits, "seconds": seconds})
                rows[title].update(self._losses(name, rounding, found))
        return weights, rows

    def allocated(self, way: Way, limits: Sequence[float]) -> dict[float, list[int]]:
        """Widths of all layers within some bits per weight, by what they are expected to lose."""
        losses, sizes = [], []
        for _, rounding in self.roundings():
            losses.append(rounding.losses(way, WIDTHS))
            sizes.append([way.bits(rounding.weight, width) for width in WIDTHS])
        size = self.subject.size
        return {
            limit: [WIDTHS[at] for at in cheapest(losses, sizes, limit * size)] for limit in limits
        }

    def judged(self, judge: Judge, weights: Mapping[str, Tensor]) -> Row:
        """The row of the network with these weights; it has its own ones back afterwards."""
        layers = self.subject.layers
        before = {name: layers[name].weight.data for name in weights}
        try:
            for name, found in weights.items():
                layers[name].weight.data = found.float()
            return judge.row(self.subject.model)
        finally:
            for name, own in before.items():
                layers[name].weight.data = own

    def _losses(self, name: str, rounding: Rounding, found: Rounded) -> Row:
        """Under the moments as they are, and under those of the other data."""
        row = {"loss": rounding.lost(found)}
        if self.other is not None:
            moments = self.other.moments
            there = {"a": partial(moments.a, name), "g": partial(moments.g, name)}
            row["loss elsewhere"] = replace(rounding, moments=there).lost(found)
        return row


def measure(
    output: Path,
    data: Path | None = None,
    *,
    networks: Sequence[str] = tuple(SETTINGS),
    allocate: Sequence[str] = ALLOCATED,
) -> None:
    """Measure the rows that the results do not have yet."""
    results = Results(output)
    for network in networks:
        setting = SETTINGS[network]
        model, tokenizer = setting.load(data)
        halved = halves(text(setting.source, data))
        judging = windows(tokenizer, halved[1], *setting.evaluation, batch=1)
        judge = Judge(judging)
        shared: Row = {"network": network, "tokens": judge.tokens}
        dense = judge.row(model)
        if not results.has(network=network, method="dense"):
            results.add({**shared, "method": "dense", **dense})
        other = Subject(model, judging) if setting.checked else None
        for tokens in setting.tokens:
            batches = windows(tokenizer, halved[0], tokens // setting.length, setting.length, 1)
            decoder = Decoder(Subject(model, batches), other)
            row = {**shared, "calibration": tokens}
            everywhere(results, row, decoder, judge, setting)
            if tokens == GRID_TOKENS:
                grids(results, row, decoder, setting)
        widths_chosen(results, row, decoder, judge, setting, allocate)


def everywhere(
    results: Results, shared: Row, decoder: Decoder, judge: Judge, setting: Setting
) -> None:
    """All layers at one width."""
    for width in setting.bits:
        keys = {way: {**shared, "method": way, "width": width} for way in setting.ways}
        keys = {way: key for way, key in keys.items() if not results.has(**key)}
        widths = dict.fromkeys(keys, [width] * len(decoder.subject.layers))
        _add(results, keys, decoder, judge, widths)


def grids(results: Results, shared: Row, decoder: Decoder, setting: Setting) -> None:
    """What grids lose, all layers at one width."""
    for width in setting.grids:
        if not results.has(**shared, width=width, grid=next(iter(GRIDS))):
            widths = dict.fromkeys(GRIDS, [width] * len(decoder.subject.layers))
            _, rows = decoder.rounded(GRIDS, widths)
            keys = {**shared, "method": "both sides", "width": width}
            results.add(*({**keys, "grid": title, **row} for title, row in rows.items()))


def widths_chosen(
    results: Results,
    shared: Row,
    decoder: Decoder,
    judge: Judge,
    setting: Setting,
    ways: Sequence[str],
) -> None:
    """Widths that are chosen within some bits per weight."""
    for way in ways:
        keys = {str(at): {**shared, "method": way, "limit": at} for at in setting.limits}
        keys = {title: key for title, key in keys.items() if not results.has(**key)}
        if keys:
            found = decoder.allocated(WAYS[way], [key["limit"] for key in keys.values()])
            widths = {str(limit): chosen for limit, chosen in found.items()}
            _add(results, keys, decoder, judge, widths)


def _add(
    results: Results,
    keys: Mapping[str, Row],
    decoder: Decoder,
    judge: Judge,
    widths: Mapping[str, Sequence[int]],
) -> None:
    weights, rows = decoder.rounded({t: WAYS[key["method"]] for t, key in keys.items()}, widths)
    for title, key in keys.items():
        results.add(key | dict(rows[title]) | decoder.judged(judge, weights.pop(title)))


MEASUREMENT = Measurement(measure, choices={"networks": SETTINGS, "allocate": WAYS}, threads=1)
