"""Recurrent networks that predict the next character of Shakespeare.

They were trained on the whole text, so no part of it is new to them; what calibrates is not scored.
"""

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.networks.subject import Subject
from benchmarks.subjects.language import SHAKESPEARE
from eckart import Score
from eckart.text import read_text

SCORED, STREAMS, WARM = (
    100_000,
    100,
    200,
)  # characters at the end; rows; steps before a prediction counts
SEQUENCES, LENGTH, BATCH = 512, 128, 64  # that calibrate


class Characters(nn.Module):
    """Embedding, GRU and a linear layer over the printable characters of ASCII."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        count = len(string.printable)
        self.encoder, self.decoder = nn.Embedding(count, width), nn.Linear(width, count)
        self.rnn = nn.GRU(width, width, layers, batch_first=True)

    def forward(self, ids: Tensor) -> Tensor:
        scores: Tensor = self.decoder(self.rnn(self.encoder(ids))[0])
        return scores


def characters(data: Path) -> Tensor:
    """The text as numbers; an unknown character counts as the first."""
    known = {character: number for number, character in enumerate(string.printable)}
    return torch.tensor([known.get(character, 0) for character in read_text(data / SHAKESPEARE)])


def network(width: int, layers: int) -> Callable[[Path], nn.Module]:
    """A trained network by its sizes."""

    def made(data: Path) -> nn.Module:
        model = Characters(width, layers)
        model.load_state_dict(load_file(data / f"gru_char/gru_{layers}x{width}.safetensors"))
        return model.eval()

    return made


def calibration(data: Path) -> list[Any]:
    """Sequences at equal distances in the part that is not scored."""
    text = characters(data)[:-SCORED]
    starts = torch.linspace(0, len(text) - LENGTH, SEQUENCES).long()
    return list(torch.stack([text[at : at + LENGTH] for at in starts.tolist()]).split(BATCH))


def perplexity(data: Path) -> Callable[[nn.Module], Score]:
    """Per character, in streams of the last part of the text."""
    streams = characters(data)[-SCORED:].view(STREAMS, -1)

    @torch.inference_mode()
    def score(model: nn.Module) -> Score:
        predicted = model(streams[:, :-1])[:, WARM:].flatten(0, 1)
        expected = streams[:, WARM + 1 :].flatten()
        value = float(F.cross_entropy(predicted, expected).exp())
        return Score(value, len(expected), higher_is_better=False)

    return score


def _subject(width: int, layers: int) -> Subject:
    return Subject(network(width, layers), calibration, perplexity, "fisher", "perplexity")


SUBJECTS = {"gru_1x256": _subject(256, 1), "gru_2x128": _subject(128, 2)}
