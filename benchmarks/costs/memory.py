"""Calibration and compression of a 1.1 B-parameter language model within 12 GiB, killed on the way.

python -m benchmarks.costs.memory --scratch /tmp/memory --output benchmarks/results/memory.json
python -m benchmarks.costs.memory --output benchmarks/results/memory.json --report docs/results/memory.md

The second line writes the report of results that are there. The network is TinyLlama's shape with
random weights in bfloat16: memory and time do not depend on them. The chain runs in a child
process, which is killed by SIGKILL while it calibrates and while it decomposes, and begun again.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eckart import Budget, allocate, apply, calibrate, curves, save
from eckart.stages.calibrate.in_parts import MEMORY_BYTES

SHAPE: dict[str, Any] = {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
}
SEQUENCES, LENGTH, KEEP = 4, 256, 0.8
LIMIT_GIB = 12
KILLED_AT = (  # as soon as the workspace has a file of every pattern
    ("moments-000.safetensors", ".tmp*"),  # the second part of the moments is being written
    ("model.layers.10.mlp*",),  # half of the layers are decomposed
)
METHODS = ["weighted_svd"]


def made(folder: Path) -> None:
    """The network, written once."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    if (folder / "config.json").exists():
        return
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPE, dtype="bfloat16"))
    model.save_pretrained(folder)
    torch.set_default_dtype(torch.float32)


def loaded(folder: Path) -> nn.Module:
    """The network, its weights mapped from the file and read where they are needed."""
    from transformers import AutoModelForCausalLM

    model: nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype="bfloat16")
    return model


def tokens() -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    shape = (SEQUENCES, 1, LENGTH)
    return [
        {"input_ids": t} for t in torch.randint(SHAPE["vocab_size"], shape, generator=generator)
    ]


def stages(scratch: Path) -> Iterator[tuple[str, float]]:
    """The whole chain, and the seconds that each step took."""
    start = time.perf_counter()

    def seconds() -> float:
        nonlocal start
        before, start = start, time.perf_counter()
        return start - before

    model = loaded(scratch / "network")
    yield "load", seconds()
    moments = calibrate(
        model, tokens(), metric=None, layers=["model.layers.*"], workspace=scratch / "workspace"
    )
    yield "calibrate", seconds()
    options = curves(model, moments, methods=METHODS)
    yield "curves", seconds()
    plan = allocate(options, Budget(params=KEEP, of="sites"))
    yield "allocate", seconds()
    smaller = apply(model, plan, moments)
    yield "apply", seconds()
    save(smaller, scratch / "smaller")
    yield "save", seconds()


def child(scratch: Path) -> None:
    """One run: a line of JSON for every step."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    for stage, seconds in stages(scratch):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"stage": stage, "seconds": seconds, "peak_bytes": peak}), flush=True)


def finished(scratch: Path) -> dict[str, int]:
    """Everything finished in the workspace, with the time at which it was written."""
    files = (scratch / "workspace").rglob("*.safetensors")
    return {str(path.relative_to(scratch)): path.stat().st_mtime_ns for path in files}


def run(scratch: Path, kill_at: Sequence[str]) -> dict[str, Any]:
    """One child; killed as soon as there is a file of every pattern in the workspace."""
    before, log = finished(scratch), scratch / "log.jsonl"
    command = [
        sys.executable,
        "-m",
        "benchmarks.costs.memory",
        "--child",
        "--scratch",
        str(scratch),
    ]
    killed = False
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output)
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            found = [any((scratch / "workspace").rglob(pattern)) for pattern in kill_at]
            if not killed and found and all(found):
                os.kill(process.pid, signal.SIGKILL)
                killed = True
            time.sleep(0.05)
    if not killed and ended[1] != 0:
        raise SystemExit(f"the run failed with status {ended[1]}")
    after = finished(scratch)
    return {
        "killed": killed,
        "peak_bytes": ended[2].ru_maxrss * 1024,
        "stages": [json.loads(line) for line in log.read_text().splitlines()],
        "finished_before": len(before),
        "finished_after": len(after),
        "made_again": sum(after.get(name) != written for name, written in before.items()),
    }


def sizes(scratch: Path) -> dict[str, int]:
    """Bytes on disk."""
    folders = ("network", "workspace", "workspace/decompositions", "smaller")
    return {
        name: sum(p.stat().st_size for p in (scratch / name).iterdir() if p.is_file())
        for name in folders
    }


REPORT = """# A 1.1 B-parameter language model within 12 GiB

Written by `python -m benchmarks.costs.memory`, from `benchmarks/results/memory.json`. TinyLlama's shape
({layers} layers of width {width}, {intermediate} between, vocabulary {vocabulary}), random weights
in bfloat16; `A` from {tokens} tokens; `weighted_svd`, {keep} of the sites' parameters kept;
OMP_NUM_THREADS={threads} on a machine with 24 GiB and no swap. All of it is one chain with one
workspace:

```python
moments = eckart.calibrate(model, batches, metric=None, workspace="work")  # memory_bytes: 4 GiB
options = eckart.curves(model, moments, methods=["weighted_svd"])
plan = eckart.allocate(options, eckart.Budget(params=0.8, of="sites"))
smaller = eckart.apply(model, plan, moments)
```

It was begun three times: killed by SIGKILL while the second part of the moments was being written,
killed when half of the layers were decomposed, and then left to end.

| run | ended | seconds of stages | peak, GiB | files before | files after | made again |
|---|---|---|---|---|---|---|
{runs}

Files are those that were whole: parts of the moments, and one decomposition per layer. Seconds are
those of stages that were finished.

## Peak by stage

| stage | seconds | peak resident, GiB | by the formula |
|---|---|---|---|
{stages}

Peaks are those of the process so far. Seconds are of a machine that was busy with other work.
What is measured above the formula is what it names without a figure: the activations of one batch,
and the factors of one layer.

With M the bytes of the weights, S those of the smaller network's, b what Python, torch and
transformers take ({base:.2f} GiB with the weights mapped and not read):

- calibrate: `b + M + memory_bytes`, and the activations of one batch. A layer whose input is `in`
  wide counts 12 in² (with a metric 12 (in² + out²)): 8 for the float64 sum, 4 for the float32 sum
  of the batch under way; layers that read one tensor count `in` once. All at once it would be
  {at_once:.1f} GiB for the sums alone.
- curves: `b + M + 8 max (6 in² + 2 out in + 3 min(out, in)²)` over the layers, one at a time (with
  a metric 6 out² more), and some 2 kB per option.
- apply: `b + M + S`, and one layer's factors in float64: factors are read, not decomposed.
- disk: `8 Σ in²` over distinct inputs, and `4 Σ min(out, in) (out + in)` for the decompositions:
  {moments:.1f} and {decompositions:.1f} GB here. Another budget reads them and decomposes nothing.
"""


def formulas(result: dict[str, Any]) -> dict[str, float]:
    """The peaks that the report promises, in bytes."""
    base = result["runs"][0]["stages"][0]["peak_bytes"]
    weights, smaller = (result["bytes_on_disk"][name] for name in ("network", "smaller"))
    width, between = SHAPE["hidden_size"], SHAPE["intermediate_size"]
    layer = 8 * (6 * between**2 + 2 * width * between + 3 * width**2)
    return {
        "calibrate": base + weights + MEMORY_BYTES,
        "curves": base + weights + layer,
        "apply": base + weights + smaller,
    }


def report(result: dict[str, Any]) -> str:
    """The results as Markdown."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description="A 1.1 B-parameter model within 12 GiB")
    parser.add_argument("--scratch", type=Path, help="a folder with some 20 GB of room")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    if arguments.report:
        result = json.loads(arguments.output.read_text())
        arguments.report.write_text(report(result), encoding="utf-8")
        return
    os.environ["HF_HUB_OFFLINE"] = "1"
    if arguments.child:
        child(arguments.scratch)
        return
    made(arguments.scratch / "network")
    runs = []
    for kill_at in (*KILLED_AT, ()):
        runs.append(run(arguments.scratch, kill_at))
        print(json.dumps(runs[-1]), flush=True)
    result = {"shape": SHAPE, "tokens": SEQUENCES * LENGTH, "keep": KEEP, "runs": runs}
    result |= {
        "bytes_on_disk": sizes(arguments.scratch),
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
