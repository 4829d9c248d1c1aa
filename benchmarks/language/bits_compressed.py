"""Language models in few bits as ``compress`` makes them, next to the rows of ``bits-language``.

The same networks, calibration data, judge and bits per weight of the decoder; what is compared is
the whole product: curves of all widths, one exact budget of bytes, rounding one after the other.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torch import nn

import eckart
from benchmarks.language.bits_language import SETTINGS, Judge, Setting
from benchmarks.language.language_subject import Subject
from benchmarks.measuring.clocks import timed
from benchmarks.measuring.measurement import Measurement
from benchmarks.measuring.results_file import Results, Row
from benchmarks.subjects.data import CACHE
from benchmarks.subjects.language import halves, text
from eckart.methods import Cache
from eckart.search.plan import Search, fitted
from eckart.text import Tokenizer, windows

METHOD = "compress"
_FLOAT, _BYTE = 4, 8


def measure(
    output: Path,
    data: Path | None = None,
    *,
    networks: Sequence[str] = tuple(SETTINGS),
    cache: Path = CACHE / "bits-compressed",
) -> None:
    """Measure the rows that the results do not have yet.

    Args:
        output: the results.
        data: the data folder.
        networks: which.
        cache: a folder that keeps the moments.
    """
    results = Results(output)
    for network in networks:
        setting = SETTINGS[network]
        shared: Row = {"network": network, "method": METHOD}
        limits = [at for at in setting.limits if not results.has(**shared, limit=at)]
        if not limits:
            continue
        model, tokenizer = setting.load(data)
        halved = halves(text(setting.source, data))
        judge = Judge(windows(tokenizer, halved[1], *setting.evaluation, batch=1))
        dense = judge.row(model)["perplexity"]
        subject = _subject(model, tokenizer, halved[0], setting, cache / network)
        shared |= {"tokens": judge.tokens, "calibration": subject.moments.outputs}
        spent, options = timed(partial(_options, subject))
        for limit in limits:
            row = shared | {"limit": limit, "dense": dense, "curves_s": spent}
            results.add(row | _within(limit, subject, options, judge))


def _subject(
    model: nn.Module, tokenizer: Tokenizer, source: str, setting: Setting, cache: Path
) -> Subject:
    """The network with its moments, which are gathered once."""
    tokens, length = setting.tokens[-1], setting.length
    subject = Subject(model, windows(tokenizer, source, tokens // length, length, 1))
    path = cache.with_suffix(f".{tokens}.safetensors")
    if path.exists():
        subject.__dict__["moments"] = eckart.Moments.load(path)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        subject.moments.save(path)
    return subject


def _options(subject: Subject) -> eckart.Curves:
    """All widths of the decoder's layers; others stay as they are."""
    model, moments = subject.model, subject.moments
    others = [name for name in moments.specs if name not in subject.layers]
    return eckart.curves(model, moments, methods=["rounding"], limits=["bytes"], dense=others)


def _within(limit: float, subject: Subject, options: eckart.Curves, judge: Judge) -> Row:
    """The network whose decoder takes at most so many bits per weight."""
    rest = subject.moments.model_costs["bytes"] - _FLOAT * subject.size
    budget = eckart.Budget(bytes=int(rest + limit * subject.size / _BYTE))
    cache = Cache.beside(subject.moments, options.states)
    search = Search(subject.model, subject.moments, None, budget, cache)
    spent, (found, _) = timed(
        lambda: fitted(subject.model, subject.moments, options, search.choose, cache)
    )
    plan = found.plan
    widths = Counter(bits for choice in plan.choices.values() for bits in choice.form.bits)
    return {
        "bits": _BYTE * (plan.costs["bytes"] - rest) / subject.size,
        "loss": plan.loss,
        "after rounding": plan.refined_loss,
        "apply_s": spent,
        "widths": {str(bits): count for bits, count in sorted(widths.items())},
        **judge.row(found.model),
    }


MEASUREMENT = Measurement(measure, choices={"networks": SETTINGS}, threads=1)
