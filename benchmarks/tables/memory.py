"""The page on memory, written in full from the results."""

from benchmarks.costs.memory_chain import SHAPE
from benchmarks.measuring.results_file import Row
from eckart.stages.calibrate.in_parts import MEMORY_BYTES

REPORT = """# A 1.1 B-parameter language model within 12 GiB

Written by `python -m benchmarks tables` from `benchmarks/results/memory.json`. The
network has TinyLlama's shape ({layers} layers of width {width}, {intermediate} between, vocabulary
{vocabulary}) and random weights in bfloat16. `A` is from {tokens} tokens. `weighted_svd` keeps
{keep} of the sites' parameters. OMP_NUM_THREADS={threads} on a machine with 24 GiB and no swap.
The whole run is one chain with one workspace:

```python
moments = eckart.calibrate(model, batches, metric=None, workspace="work")  # memory_bytes: 4 GiB
options = eckart.curves(model, moments, methods=["weighted_svd"])
plan = eckart.allocate(options, eckart.Budget(params=0.8, of="sites"))
smaller = eckart.apply(model, plan, moments)
```

It was started three times. The first run was killed by SIGKILL while the second part of the
moments was being written, the second when half of the layers were decomposed. The third ran to the
end.

| run | ended | seconds of stages | peak, GiB | files before | files after | made again |
|---|---|---|---|---|---|---|
{runs}

Only complete files count: parts of the moments, and one decomposition per layer. Seconds count only
the stages that were finished.

## Peak by stage

| stage | seconds | peak resident, GiB | by the formula |
|---|---|---|---|
{stages}

A peak is the largest of the process so far. The machine was busy with other work, which lengthens
the seconds. The formula leaves out the activations of one batch and the factors of one layer; they
explain why a measured peak can be higher.

M is the bytes of the weights and S the bytes of the smaller network's weights. b is what Python,
torch and transformers take ({base:.2f} GiB with the weights mapped and not read).

- calibrate: `b + M + memory_bytes`, and the activations of one batch. A layer whose input is `in`
  wide counts 12 in² (with a metric 12 (in² + out²)): 8 for the float64 sum, 4 for the float32 sum
  of the current batch. Layers that read the same tensor count `in` once. All layers at once would
  take {at_once:.1f} GiB for the sums alone.
- curves: `b + M + 8 max (6 in² + 2 out in + 3 min(out, in)²)` over the layers, one at a time (with
  a metric 6 out² more), and about 2 kB per option.
- apply: `b + M + S`, and one layer's factors in float64. Factors are read, not decomposed.
- disk: `8 Σ in²` over distinct inputs, and `4 Σ min(out, in) (out + in)` for the decompositions:
  {moments:.1f} and {decompositions:.1f} GB here. Another budget reads them and decomposes nothing.
"""


def formulas(result: Row) -> dict[str, float]:
    """The peaks by the formulas of the report, in bytes."""
    base = result["runs"][0]["stages"][0]["peak_bytes"]
    weights, smaller = (result["bytes_on_disk"][name] for name in ("network", "smaller"))
    width, between = SHAPE["hidden_size"], SHAPE["intermediate_size"]
    layer = 8 * (6 * between**2 + 2 * width * between + 3 * width**2)
    return {
        "calibrate": base + weights + MEMORY_BYTES,
        "curves": base + weights + layer,
        "apply": base + weights + smaller,
    }


def page(result: Row) -> str:
    """The page on what `python -m benchmarks memory` found."""
    gib = 2**30
    runs = [
        f"| {i} | {'killed' if run['killed'] else 'by itself'} | "
        f"{sum(stage['seconds'] for stage in run['stages']):.0f} | {run['peak_bytes'] / gib:.2f} | "
        f"{run['finished_before']} | {run['finished_after']} | {run['made_again']} |"
        for i, run in enumerate(result["runs"], 1)
    ]
    most = formulas(result)
    stages = [
        f"| {stage['stage']}, run {i} | {stage['seconds']:.0f} | {stage['peak_bytes'] / gib:.2f} | "
        + (f"{most[stage['stage']] / gib:.2f} |" if stage["stage"] in most else "|")
        for i, run in enumerate(result["runs"], 1)
        for stage in run["stages"]
    ]
    width, between, layers = (
        SHAPE[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers")
    )
    return REPORT.format(
        layers=layers,
        width=width,
        intermediate=between,
        vocabulary=SHAPE["vocab_size"],
        tokens=result["tokens"],
        keep=result["keep"],
        threads=result["threads"],
        runs="\n".join(runs),
        stages="\n".join(stages),
        base=result["runs"][0]["stages"][0]["peak_bytes"] / gib,
        at_once=12 * layers * (3 * width**2 + between**2) / gib,
        moments=result["bytes_on_disk"]["workspace"] / 1e9,
        decompositions=result["bytes_on_disk"]["workspace/decompositions"] / 1e9,
    )
