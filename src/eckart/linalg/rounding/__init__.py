"""Weights in few bits: grids, rounding with feedback from both sides, and what it costs."""

from eckart.linalg.rounding.chain_rounding import RoundedChain, chain_losses, round_chain
from eckart.linalg.rounding.choice import Choice, choose_grid, width_losses
from eckart.linalg.rounding.feedback import Rounded, round_weight
from eckart.linalg.rounding.grids import Grid
from eckart.linalg.rounding.packing import pack, unpack, unpacked
from eckart.linalg.rounding.triangles import Triangle, triangle
from eckart.records.code_sizes import packed_bytes, stored_bytes

__all__ = [
    "Choice",
    "Grid",
    "Rounded",
    "RoundedChain",
    "Triangle",
    "chain_losses",
    "choose_grid",
    "pack",
    "packed_bytes",
    "round_chain",
    "round_weight",
    "stored_bytes",
    "triangle",
    "unpack",
    "unpacked",
    "width_losses",
]
