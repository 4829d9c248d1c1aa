"""Names that the command line checks without torch are those of the registries."""

from eckart.checkpoint.folder import STRUCTURE
from eckart.checkpoint.transformers import CONFIG
from eckart.cli import names
from eckart.methods import METHODS, SELECTIONS
from eckart.metrics import METRICS
from eckart.pipeline import KEEPS
from eckart.records.offered import ROUNDING
from eckart.runtimes import RUNTIMES
from eckart.stages.heal import TREATMENTS


def test_names_are_those_of_the_registries():
    assert list(names.METHODS) == [*METHODS, ROUNDING]
    assert list(names.SELECTIONS) == list(SELECTIONS)
    assert list(names.METRICS) == list(METRICS)
    assert list(names.TREATMENTS) == list(TREATMENTS)
    assert list(names.RUNTIMES) == list(RUNTIMES)


def test_defaults_are_those_of_python():
    assert names.KEEPS == KEEPS
    assert (names.CONFIG, names.STRUCTURE) == (CONFIG, STRUCTURE)
