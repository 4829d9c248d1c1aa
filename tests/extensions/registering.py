"""One line each."""

from eckart.costs import register_cost
from eckart.layers import register_layer
from eckart.methods import register_method, register_selection
from eckart.metrics import register_metric
from eckart.network.twins import register_twin
from eckart.runtimes import register_runtime
from extensions.cost import WIDTHS
from extensions.layer_type import MixType
from extensions.method import OutputRows
from extensions.metric import in_tolerances
from extensions.runtime import BFLOAT16
from extensions.selection import FirstFirst
from extensions.twin import GatedUnitTwin


def register() -> None:
    register_layer(MixType())
    register_twin(GatedUnitTwin())
    register_method(OutputRows())
    register_selection(FirstFirst())
    register_cost(WIDTHS)
    register_runtime(BFLOAT16)
    register_metric("in_tolerances", lambda: in_tolerances)
