"""Names and defaults that options show and check before torch is there.

The registries and constants they repeat import torch; tests/cli/test_names.py holds the two equal.
"""

from __future__ import annotations

METHODS = (
    "svd",
    "activation_svd",
    "weighted_svd",
    "pivoted_svd",
    "spatial",
    "tucker2",
    "cp",
    "rounding",
)
SELECTIONS = ("backward_elimination", "group_lasso", "largest_norm")
METRICS = ("outputs", "logits", "fisher", "next_token", "embedding", "similarity")
TREATMENTS = ("correct", "refit", "distil", "finetune")
RUNTIMES = ("eager", "compile", "onnxruntime", "openvino")
KEEPS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
CONFIG, STRUCTURE = "config.json", "eckart.json"
