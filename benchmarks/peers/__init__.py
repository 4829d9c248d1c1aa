"""Other methods, implemented from their papers or run from their own packages.

`PEERS[name](model, calibration, keep)` returns a smaller copy of a model in eval mode:
`calibration` is (images, labels), `keep` the fraction of all its parameters that may stay (of its
MACs for "balf_macs").
"""

from collections.abc import Callable

from torch import nn

from benchmarks.peers.calibration import Calibration
from benchmarks.peers.channels import l2_channels
from benchmarks.peers.low_rank import (
    asvd,
    balf_macs,
    balf_params,
    fwsvd,
    svd_global,
    svd_llm,
    svd_uniform,
)
from benchmarks.peers.pruning import torch_pruning_l2, torch_pruning_taylor
from benchmarks.peers.tucker import tucker2_uniform
from benchmarks.peers.zero_sum import zero_sum_svd

Compress = Callable[[nn.Module, Calibration, float], nn.Module]

PEERS: dict[str, Compress] = {
    "svd_uniform": svd_uniform,
    "svd_global": svd_global,
    "svd_llm": svd_llm,
    "balf_params": balf_params,
    "balf_macs": balf_macs,
    "asvd": asvd,
    "fwsvd": fwsvd,
    "zero_sum_svd": zero_sum_svd,
    "l2_channels": l2_channels,
    "torch_pruning_l2": torch_pruning_l2,
    "torch_pruning_taylor": torch_pruning_taylor,
    "tucker2_uniform": tucker2_uniform,
}
