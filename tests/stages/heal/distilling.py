"""A teacher, students that are worse, and batches to distil on."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from eckart import Score

Batch = tuple[Tensor, Tensor]


def teacher_network(dropout: float = 0.0) -> nn.Module:
    """Two matrices with a batch norm between them, for four classes."""
    return nn.Sequential(
        nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(dropout), nn.Linear(12, 4)
    ).eval()


def student_of(teacher: nn.Module, noise: float = 0.3) -> nn.Module:
    """The same network with noise on its weights."""
    student = copy.deepcopy(teacher)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter += noise * torch.randn_like(parameter)
    return student


def labelled(teacher: nn.Module, examples: int = 120, size: int = 20) -> list[Batch]:
    """Random inputs with the teacher's answers."""
    inputs = torch.randn(examples, 6)
    with torch.no_grad():
        answers = teacher(inputs).argmax(1)
    return list(zip(inputs.split(size), answers.split(size), strict=True))


def shuffled(batches: list[Batch]) -> DataLoader:
    """A loader whose order and batches differ in each pass."""
    parts = (torch.cat(part) for part in zip(*batches, strict=True))
    return DataLoader(TensorDataset(*parts), batch_size=20, shuffle=True)


def distance(teacher: nn.Module, batches: list[Batch]) -> Callable[[nn.Module], Score]:
    """An ``evaluate``: mean squared difference to the teacher; lower is better."""

    def evaluate(model: nn.Module) -> Score:
        with torch.no_grad():
            per_example = [(model(x) - teacher(x)).square().mean(1) for x, _ in batches]
        samples = torch.cat(per_example)
        return Score(float(samples.mean()), len(samples), higher_is_better=False, samples=samples)

    return evaluate
