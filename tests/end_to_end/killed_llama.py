"""Compress a small Llama in a process that is killed again and again, until one run ends.

python killed_llama.py FOLDER SEED

Each run is a fork, so that torch is imported once. It ends itself by SIGKILL, at a random moment or
around the writing of a file. FOLDER/runs.json says of each run what was finished before and what it
began.
"""

import json
import logging
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

import eckart
from eckart.moments.parts import stored_fields

SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 60,
}
FEW = 12 * (2 * 32 * 32 + 48 * 48)  # bytes: the sums of about one block


def llama() -> torch.nn.Module:
    torch.manual_seed(0)
    model: torch.nn.Module = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPE)).bfloat16()
    return model


def compressed(folder: Path) -> None:
    """The run that is killed."""
    model = llama()
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(60, (4, 2, 16), generator=generator)
    batches = [{"input_ids": part} for part in ids]
    moments = eckart.calibrate(
        model,
        batches,
        metric=None,
        layers=["model.layers.*"],
        workspace=folder / "workspace",
        memory_bytes=FEW,
    )
    smaller = eckart.compress(
        model, moments, keep=0.7, of="sites", methods=["weighted_svd"], latency=False
    )
    eckart.save(smaller.model, folder / "smaller")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def doomed(chance: random.Random) -> None:
    """Let this process die: after some time, or before or after some file is put in its place."""
    if chance.random() < 0.5:
        threading.Timer(chance.uniform(0.0, 0.4), die).start()
        return
    left, before, replace = chance.randint(1, 5), chance.random() < 0.5, os.replace

    def counted(source: Path, target: Path) -> None:
        nonlocal left
        left -= 1
        if left == 0 and before:
            die()
        replace(source, target)
        if left == 0:
            die()

    os.replace = counted  # type: ignore[assignment]


def finished(folder: Path) -> dict[str, int]:
    """What is finished, files and layers with moments, with the time when it was written."""
    written = {}
    for path in (folder / "workspace").rglob("*.safetensors"):
        names = [
            path.name,
            *(stored_fields(path)["specs"] if path.name.startswith("moments") else []),
        ]
        written |= dict.fromkeys(names, path.stat().st_mtime_ns)
    return written


def run(folder: Path, chance: random.Random | None) -> tuple[bool, list[str]]:
    """One fork; whether it came to an end, and what it began on the way."""
    log = folder / "log"
    log.write_text("")
    pid = os.fork()
    if pid == 0:
        logging.basicConfig(filename=log, level=logging.INFO, format="%(message)s")
        if chance is not None:
            doomed(chance)
        try:
            compressed(folder)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    if status not in (0, signal.SIGKILL):
        raise SystemExit(f"a run failed with status {status}")
    lines = [line.split(maxsplit=1) for line in log.read_text().splitlines()]
    begun = [rest for word, rest in lines if word == "decomposing"]
    for word, rest in lines:
        if word == "gathering":
            begun += rest.replace(":", "").split()
    return status == 0, begun


def main() -> None:
    folder, chance = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
    torch.set_num_threads(1)
    (folder / "whole").mkdir()
    (folder / "killed").mkdir()
    compressed(folder / "whole")  # here, so that all that it imports is there for the forks
    runs, ended, start = [], False, time.monotonic()
    while not ended:
        before = finished(folder / "killed")
        patient = time.monotonic() - start > 20  # a slow machine gets to the end as well
        ended, begun = run(folder / "killed", None if patient else chance)
        after = finished(folder / "killed")
        changed = [name for name, written in before.items() if after.get(name) != written]
        runs.append({"before": sorted(before), "begun": begun, "changed": changed})
    (folder / "runs.json").write_text(json.dumps(runs))


if __name__ == "__main__":
    main()
