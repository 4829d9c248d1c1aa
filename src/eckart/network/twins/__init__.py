"""Twins: modules that hide plain layers, made of plain layers; and their registry."""

from eckart.network.twins.attention import Attention
from eckart.network.twins.attention_twin import AttentionTwin
from eckart.network.twins.bag_twin import Bags, BagTwin
from eckart.network.twins.bilinear_twin import BilinearTwin, Pairs
from eckart.network.twins.cell import Cell
from eckart.network.twins.cell_twin import CellTwin
from eckart.network.twins.encoder_twin import EncoderTwin
from eckart.network.twins.experts import Expert, Experts
from eckart.network.twins.experts_twin import ExpertsTwin
from eckart.network.twins.inherited_twin import InheritedTwin
from eckart.network.twins.opening import (
    Composite,
    around,
    closed,
    composites,
    multiplied,
    notes,
    opened,
)
from eckart.network.twins.own_product_twin import OwnProductTwin
from eckart.network.twins.placing import put, with_twins
from eckart.network.twins.recurrent import Recurrent
from eckart.network.twins.recurrent_twin import RecurrentTwin
from eckart.network.twins.registry import TWINS, Multiplies, Twin, register_twin, twin_of
from eckart.network.twins.same_padding import SamePadded
from eckart.network.twins.weight_twin import WeightTwin

register_twin(OwnProductTwin())  # from the most general to the most special
register_twin(InheritedTwin())
register_twin(WeightTwin())
register_twin(BagTwin())
register_twin(BilinearTwin())
register_twin(CellTwin())
register_twin(RecurrentTwin())
register_twin(EncoderTwin())
register_twin(AttentionTwin())
register_twin(ExpertsTwin())

__all__ = [
    "TWINS",
    "Attention",
    "AttentionTwin",
    "BagTwin",
    "Bags",
    "BilinearTwin",
    "Cell",
    "CellTwin",
    "Composite",
    "EncoderTwin",
    "Expert",
    "Experts",
    "ExpertsTwin",
    "InheritedTwin",
    "Multiplies",
    "OwnProductTwin",
    "Pairs",
    "Recurrent",
    "RecurrentTwin",
    "SamePadded",
    "Twin",
    "WeightTwin",
    "around",
    "closed",
    "composites",
    "multiplied",
    "notes",
    "opened",
    "put",
    "register_twin",
    "twin_of",
    "with_twins",
]
