"""Networks that hear: the pitch of a recording, and spoken words.

Tones and spoken words calibrate the first. Of 300 clips each half is scored after the other has
calibrated, so both halves together score every clip once.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.networks.checks import check_in
from benchmarks.networks.subject import Subject
from eckart import Score

TONES, CLIPS, EVERY = 64, 48, 8  # that calibrate the pitch; every so many frames of each
BATCH, SEED = 50, 0
KEYWORDS = ("res8",)


def pitches(data: Path) -> list[Any]:
    """Frames of tones with harmonics, vibrato and noise, and of spoken words."""
    check, random = check_in(data / "crepe_tiny"), torch.Generator().manual_seed(SEED)
    spoken, *_ = check_in(data / "kws_honk").clips()
    chosen = torch.randperm(len(spoken), generator=random)[:CLIPS]
    waves = [*(_tone(random) for _ in range(TONES)), *spoken[chosen]]
    frames = torch.cat([check.frames(wave)[::EVERY] for wave in waves])
    return list(frames[torch.randperm(len(frames), generator=random)].split(BATCH))


def within_20_cents(data: Path) -> Callable[[nn.Module], Score]:
    """Percent of the voiced frames whose pitch is that of the original network."""
    check = check_in(data / "crepe_tiny")
    sound, reference, confidence = check.recording()
    frames, voiced = check.frames(sound), confidence > 0.5

    @torch.inference_mode()
    def score(model: nn.Module) -> Score:
        found = check.cents(model(frames))[: len(reference)]
        right = (found - reference).abs()[voiced] <= 20
        return Score(100 * float(right.float().mean()), len(right))

    return score


def _tone(random: torch.Generator) -> Tensor:
    """Half a second at 16 kHz."""
    pitch, depth, rate, noise = torch.rand(4, generator=random)
    time = torch.arange(8000) / 16000
    swing = 0.003 * depth * torch.cos(2 * torch.pi * (3 + 4 * rate) * time)
    phase = 2 * torch.pi * 60 * 16**pitch * (time + swing)
    strength = torch.rand(8, generator=random) / torch.arange(1, 9)
    harmonics = [s * torch.sin(k * phase) for k, s in enumerate(strength, start=1)]
    hiss: Tensor = 0.1 * noise * torch.randn(len(time), generator=random)
    return torch.stack(harmonics).sum(0) + hiss


def _spotter(kind: str, half: int) -> Subject:
    """A network that spots keywords; one half of the clips calibrates, the other is scored."""

    def parts(data: Path) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        check = check_in(data / "kws_honk")
        waves, words, _ = check.clips()
        order = torch.randperm(len(waves), generator=torch.Generator().manual_seed(SEED))
        return check.features(waves), words, order.tensor_split(2)

    def network(data: Path) -> nn.Module:
        model: nn.Module = check_in(data / "kws_honk").load(kind)
        return model

    def calibration(data: Path) -> list[Any]:
        features, _, halves = parts(data)
        return list(features[halves[1 - half]].split(BATCH))

    def accuracy(data: Path) -> Callable[[nn.Module], Score]:
        features, words, halves = parts(data)

        @torch.inference_mode()
        def score(model: nn.Module) -> Score:
            right = model(features[halves[half]]).argmax(1) == words[halves[half]]
            return Score(100 * float(right.float().mean()), len(right))

        return score

    return Subject(network, calibration, accuracy, "auto", "%")


def _pitch(data: Path) -> nn.Module:
    model: nn.Module = check_in(data / "crepe_tiny").load()
    return model


SUBJECTS = {
    "crepe_tiny": Subject(_pitch, pitches, within_20_cents, "auto", "%"),
    **{f"{kind}/{half + 1}": _spotter(kind, half) for kind in KEYWORDS for half in (0, 1)},
}
