import pytest
import typer

from eckart.cli.options.parsing import parse_budget, parse_fractions, parse_numbers, parse_size
from eckart.records import Budget

KNOWN = ("params", "macs", "bytes", "joules")


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("params=0.5", Budget(params=0.5, of="sites")),
        ("params=0.5, macs=20M", Budget(params=0.5, macs=20_000_000, of="sites")),
        ("bytes=3k,joules=0.25", Budget(bytes=3000, costs={"joules": 0.25}, of="sites")),
        ("macs=2G", Budget(macs=2_000_000_000, of="sites")),
    ],
)
def test_budget(text, budget):
    assert parse_budget(text, "sites", KNOWN) == budget


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("params", "not cost=amount"),
        ("speed=0.5", "unknown cost 'speed'; the costs are bytes, joules, macs, params"),
        ("params=0.5,params=3k", "two limits"),
        ("params=half", "neither a fraction"),
        ("params=1.5", "fraction in"),
        ("params=nan", "fraction in"),
        ("params=0", "fraction in"),
    ],
)
def test_budget_refuses(text, says):
    with pytest.raises(typer.BadParameter, match=says):
        parse_budget(text, "model", KNOWN)


def test_numbers():
    assert parse_numbers("0.5,1,-2e-1", "--mean") == (0.5, 1.0, -0.2)
    assert parse_size("784", "--input-size") == (784,)
    assert parse_size("3x32,32", "--input-size") == (3, 32, 32)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_numbers, "0.5;0.4"),
        (parse_numbers, ""),
        (parse_fractions, "0.5,1.1"),
        (parse_fractions, "0"),
        (parse_fractions, "nan"),
        (parse_size, "3,,3"),
        (parse_size, "0x3"),
        (parse_size, "-3"),
    ],
)
def test_numbers_refuse(parse, text):
    with pytest.raises(typer.BadParameter) as caught:
        parse(text, "--this")
    assert caught.value.param_hint == "--this"
