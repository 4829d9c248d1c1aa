"""A healing run in a process of its own, to be sent real signals.

python -m stages.heal.signalled FOLDER
"""

import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from eckart import Healed, heal
from stages.heal.distilling import labelled, shuffled, student_of, teacher_network

STEPS = 60


class Slow:
    """Batches that say when they are read, and take their time."""

    def __init__(self, batches, seconds: float) -> None:
        self.batches, self.seconds, self.read = batches, seconds, 0

    def __iter__(self):
        for batch in self.batches:
            time.sleep(self.seconds)
            self.read += 1
            if self.seconds:
                print(self.read, flush=True)
            yield batch


def healed_in(folder: Path, seconds: float = 0.0) -> Healed:
    """The same run whenever it is called, but for how long it takes."""
    torch.manual_seed(0)
    teacher = teacher_network()
    student, batches = student_of(teacher), shuffled(labelled(teacher))
    return heal(
        student,
        teacher,
        Slow(batches, seconds),
        treatments=["distil"],
        steps=STEPS,
        checkpoint=folder,
    )


if __name__ == "__main__":
    target = Path(sys.argv[1])
    found = healed_in(target, seconds=0.06)
    print(found.log[-1].note, flush=True)
    save_file(found.model.state_dict(), target / "healed")
