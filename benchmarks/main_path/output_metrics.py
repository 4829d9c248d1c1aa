"""Which output metric ranks layers best: accuracy after compression without fine-tuning.

python -m benchmarks.main_path.output_metrics --data ../data --networks resnet20 resnet32 lenet5
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

import eckart
from benchmarks.main_path.frontier import setting
from benchmarks.peers.ours import FACTORS
from benchmarks.subjects.networks import accuracy

BATCH = 250
METRICS: dict[str, object] = {
    "logits": eckart.Logits(),
    "logits, mean removed": eckart.Logits(class_dim=1),
    "Fisher, sampled": eckart.Fisher(),
    "Fisher, true targets": eckart.Fisher(targets="true"),
    "Fisher, temperature 2": eckart.Fisher(temperature=2.0),
    "Fisher, temperature 4": eckart.Fisher(temperature=4.0),
    "Fisher, temperature 8": eckart.Fisher(temperature=8.0),
    "none (A only)": None,
}
KEEPS = {"resnet20": (0.5, 0.3), "resnet32": (0.5, 0.3), "lenet5": (0.1, 0.05)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare output metrics")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--networks", nargs="+", default=list(KEEPS))
    parser.add_argument("--calibration", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/metrics.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    for network in arguments.networks:
        on = setting(network, arguments.data, arguments.calibration, 0)
        batches = list(zip(*(part.split(BATCH) for part in on.calibration), strict=True))
        logits = eckart.calibrate(on.model, batches, progress=False)
        for name, metric in METRICS.items():
            if metric is None:
                moments = replace(logits, output_grams={}, metric=None)
            else:
                moments = eckart.calibrate(on.model, batches, metric=metric, progress=False)
            options = eckart.curves(on.model, moments, methods=FACTORS, progress=False)
            for keep in KEEPS[network]:
                plan = eckart.allocate(options, eckart.Budget(params=keep))
                value = accuracy(eckart.apply(on.model, plan, moments), *on.test)
                rows.append(
                    {
                        "network": network,
                        "metric": name,
                        "keep": keep,
                        "accuracy": value,
                        "images": len(on.test[0]),
                    }
                )
                print(f"{network:10} {name:26} {keep:5.2f} {100 * value:6.2f} %", flush=True)
                arguments.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
