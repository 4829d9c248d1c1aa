"""A healing run in a process of its own, to be sent real signals.

python -m stages.heal.signalled FOLDER READS

It says how many batches it has read, and waits after so many: a signal need not hurry.
"""

import signal
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from eckart import heal
from eckart.records import Healed
from stages.heal.distilling import labelled, shuffled, student_of, teacher_network

STEPS = 60


class Waiting:
    """Batches that say when they are read, and wait at one of them."""

    def __init__(self, batches, at: int | None) -> None:
        self.batches, self.at, self.read = batches, at, 0

    def __iter__(self):
        for batch in self.batches:
            self.read += 1
            if self.at is not None:
                print(self.read, flush=True)
            if self.read == self.at:
                time.sleep(60)
            yield batch


def healed_in(folder: Path, at: int | None = None) -> Healed:
    """The same run whenever it is called, but for where it waits."""
    torch.manual_seed(0)
    teacher = teacher_network()
    student, batches = student_of(teacher), shuffled(labelled(teacher))
    return heal(
        student,
        teacher,
        Waiting(batches, at),
        treatments=["distil"],
        steps=STEPS,
        checkpoint=folder,
    )


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    target = Path(sys.argv[1])
    found = healed_in(target, int(sys.argv[2]))
    print(found.log[-1].note, flush=True)
    save_file(found.model.state_dict(), target / "healed")
