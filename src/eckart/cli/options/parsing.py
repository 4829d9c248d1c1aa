"""Numbers and budgets from the command line's strings; what cannot be read is a usage error."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import typer

from eckart.errors import InputError
from eckart.records import Budget
from eckart.records.budgets import Amount, Scope
from eckart.records.offer import AUTO

_OWN = ("params", "macs", "bytes", "ms")  # the limits that Budget has a field for
_SUFFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


def parse_numbers(text: str, option: str) -> tuple[float, ...]:
    """Numbers that are separated by commas.

    Example:
        >>> parse_numbers("0.5,0.25", "--keeps")
        (0.5, 0.25)
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise usage_error(
            option, f"{text!r} is not a list of numbers such as 0.5,0.25 (no spaces)"
        ) from None


def parse_fractions(text: str, option: str) -> tuple[float, ...]:
    """Numbers in (0, 1], separated by commas."""
    numbers = parse_numbers(text, option)
    if any(not 0 < number <= 1 for number in numbers):
        raise usage_error(option, f"{text!r}: every fraction must be above 0 and at most 1")
    return numbers


def parse_names(text: str) -> tuple[str, ...]:
    """Names that are separated by commas; none in an empty text.

    Example:
        >>> parse_names("conv1,layer1.*"), parse_names("")
        (('conv1', 'layer1.*'), ())
    """
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_bits(text: str) -> str | tuple[int | str, ...]:
    """Widths of codes that are separated by commas; ``"auto"`` stays, and ``"none"`` is none.

    Example:
        >>> parse_bits("3,4,8"), parse_bits("auto"), parse_bits("none")
        ((3, 4, 8), 'auto', ())
    """
    if text == AUTO:
        return text
    parts = () if text == "none" else parse_names(text)
    return tuple(int(part) if part.isdecimal() else part for part in parts)


def parse_weights(text: str, option: str) -> dict[str, float]:
    """Names that are separated by commas, each with a weight, which is 1 if it has none.

    Example:
        >>> parse_weights("logits,boxes=0.5", "--outputs")
        {'logits': 1.0, 'boxes': 0.5}
    """
    weights = {}
    for part in parse_names(text):
        name, _, weight = part.partition("=")
        try:
            weights[name.strip()] = float(weight or 1)
        except ValueError:
            raise usage_error(option, f"{part!r}: the weight is not a number") from None
    if not weights or not all(0 < weight < float("inf") for weight in weights.values()):
        raise usage_error(option, f"{text!r}: name at least one, with positive weights")
    return weights


def known_names(text: str, known: Collection[str], what: str, option: str) -> tuple[str, ...]:
    """The names in a text, all of them known.

    Raises:
        typer.BadParameter: one of them is not.

    Example:
        >>> known_names("svd,cp", ["svd", "cp"], "method", "--methods")
        ('svd', 'cp')
    """
    names = parse_names(text)
    for name in names:
        if name not in known:
            raise usage_error(option, f"unknown {what} {name!r}; known: {', '.join(known)}")
    return names


def is_path(text: str) -> bool:
    """Whether a name can only be a path: ids on the hub are ``name`` or ``owner/name``.

    Example:
        >>> [is_path(text) for text in ("bert", "owner/bert", "./bert", "bert/", "a/b/c")]
        [False, False, True, True, True]
    """
    return text.startswith(("/", ".", "~")) or text.endswith("/") or text.count("/") > 1


def parse_size(text: str, option: str) -> tuple[int, ...]:
    """The shape of one example: whole numbers separated by commas or ``x``.

    Example:
        >>> parse_size("3x224x224", "--input-size")
        (3, 224, 224)
    """
    parts = re.split("[x,]", text)
    if not all(re.fullmatch("[1-9][0-9]*", part) for part in parts):
        raise usage_error(option, f"{text!r} is not a shape such as 3,224,224 or 784")
    return tuple(int(part) for part in parts)


def parse_budget(text: str, of: Scope, known: Collection[str]) -> Budget:
    """Limits such as ``params=0.5,macs=100M``; fractions have a point, amounts do not.

    Args:
        text: ``cost=amount``, separated by commas.
        of: what fractions are taken of.
        known: the names of the costs.

    Example:
        >>> parse_budget("params=0.5,macs=3M", "model", {"params", "macs"}).limits
        {'params': 0.5, 'macs': 3000000}
    """
    limits: dict[str, Amount] = {}
    for part in text.split(","):
        name, equals, amount = (word.strip() for word in part.partition("="))
        if not equals:
            raise usage_error("--budget", f"{part!r} is not cost=amount, such as params=0.5")
        if name not in known:
            names = ", ".join(sorted(known))
            raise usage_error("--budget", f"unknown cost {name!r}; the costs are {names}")
        if name in limits:
            raise usage_error("--budget", f"{name} has two limits; give one")
        limits[name] = _parse_amount(amount)
    return make_budget("--budget", limits, of)


def make_budget(option: str, limits: Mapping[str, Amount], of: Scope) -> Budget:
    """A budget; limits that make no sense are the option's fault."""
    own = {name: limits.get(name) for name in _OWN}
    others = {name: limit for name, limit in limits.items() if name not in _OWN}
    try:
        return Budget(**own, of=of, costs=others)
    except InputError as error:
        raise usage_error(option, str(error)) from error


def usage_error(option: str, message: str) -> typer.BadParameter:
    """An error that ends the command with exit code 2."""
    return typer.BadParameter(message, param_hint=option)


def _parse_amount(text: str) -> Amount:
    whole = re.fullmatch(r"([0-9]+)([kMG]?)", text)
    if whole:
        return int(whole[1]) * _SUFFIXES[whole[2]]
    try:
        return float(text)
    except ValueError:
        raise usage_error(
            "--budget",
            f"{text!r} is neither a fraction such as 0.5 nor an amount such as 1200k or 3M",
        ) from None
