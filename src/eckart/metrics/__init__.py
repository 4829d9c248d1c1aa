"""Output metrics: what counts as a change of the network's output.

A metric is a probe: a random scalar function of the outputs. Its gradient ``g`` at the outputs is
one random sample, and changes of the output are measured with the matrix ``E[g gᵀ]``. There is one
file per kind of output.
"""

from eckart.metrics.embedding import Embedding, Pooling, Similarity, pooled
from eckart.metrics.logits import IGNORED, Fisher, Logits, class_axis, logits_of
from eckart.metrics.next_token import NextToken, predicted_tokens
from eckart.metrics.outputs import Chosen, Outputs, with_outputs
from eckart.metrics.probes import (
    METRICS,
    Measurable,
    Probe,
    count_of,
    fitting_metric,
    is_joint,
    name_of,
    named,
    probe_of,
    register_metric,
)

register_metric("outputs", Outputs)
register_metric("logits", Logits)
register_metric("fisher", Fisher)
register_metric("next_token", NextToken)
register_metric("embedding", Embedding)
register_metric("similarity", Similarity)

__all__ = [
    "IGNORED",
    "METRICS",
    "Chosen",
    "Embedding",
    "Fisher",
    "Logits",
    "Measurable",
    "NextToken",
    "Outputs",
    "Pooling",
    "Probe",
    "Similarity",
    "class_axis",
    "count_of",
    "fitting_metric",
    "is_joint",
    "logits_of",
    "name_of",
    "named",
    "pooled",
    "predicted_tokens",
    "probe_of",
    "register_metric",
    "with_outputs",
]
