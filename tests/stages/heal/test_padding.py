"""Healing on a padded batch is healing on its sequences one by one."""

from copy import deepcopy

import pytest
import torch
from torch import nn

import eckart
from eckart.stages.heal.closeness import closeness
from eckart.stages.heal.distil.objectives import Imitation
from transformer_networks import bert, llama, padded, token_ids

pytest.importorskip("transformers")
SEQUENCES = [token_ids(1, length)[0] for length in (12, 5, 9, 7, 12, 3, 11, 8)]
ONE_BY_ONE = [{"input_ids": s[None], "attention_mask": torch.ones_like(s[None])} for s in SEQUENCES]
TOGETHER = [padded(SEQUENCES[:4]), padded(SEQUENCES[4:])]


@pytest.fixture(scope="module", params=[llama, bert])
def networks(request: pytest.FixtureRequest) -> tuple[nn.Module, nn.Module, eckart.Moments]:
    """A teacher, what was made of it, and its moments."""
    model = request.param()
    moments = eckart.calibrate(model, ONE_BY_ONE, progress=False)
    smaller = eckart.compress(model, moments, keep=0.5, of="sites", latency=False).model
    return model, smaller, moments


def test_the_judge_does_not_see_padding(networks: tuple[nn.Module, nn.Module, eckart.Moments]):
    model, smaller, _ = networks
    together, apart = (closeness(model, data)(smaller) for data in (TOGETHER, ONE_BY_ONE))
    assert together.value > 0
    assert together.n == apart.n == len(SEQUENCES)
    assert together.value == pytest.approx(apart.value, rel=1e-4)


@pytest.mark.parametrize("treatment", ["correct", "refit"])
def test_the_closed_forms_do_not_see_padding(
    treatment: str, networks: tuple[nn.Module, nn.Module, eckart.Moments]
):
    model, smaller, moments = networks
    judge = closeness(model, TOGETHER)
    healed = [
        eckart.heal(
            smaller,
            model,
            data,
            moments=moments,
            treatments=[treatment],
            evaluate=lambda network: -judge(network).value,
            held_out=0.0,
            progress=False,
        ).model
        for data in (TOGETHER, ONE_BY_ONE)
    ]
    with torch.no_grad():
        for batch in ONE_BY_ONE:
            first, second = (network(**batch)[0] for network in healed)
            torch.testing.assert_close(first, second, rtol=2e-2, atol=2e-3)


def test_distillation_does_not_see_padding(
    networks: tuple[nn.Module, nn.Module, eckart.Moments],
):
    """The mean over the real positions of a batch is that over the sequences' positions.

    Hidden states are compared as numbers, not as if they were logits.
    """
    model, smaller = (deepcopy(network).requires_grad_(False) for network in networks[:2])
    batch, alone = TOGETHER[0], ONE_BY_ONE[:4]
    objective = Imitation(temperature=1.0)
    if hasattr(model, "lm_head"):
        lengths = [b["input_ids"].numel() for b in alone]
        parts = [float(objective(smaller(**b), b, model)) for b in alone]
        expected = sum(n * v for n, v in zip(lengths, parts, strict=True)) / sum(lengths)
    else:
        pairs = [(model(**b)[0], smaller(**b)[0]) for b in alone]
        squares = sum(float((x - y).square().sum()) for x, y in pairs)
        expected = 0.5 * squares / sum(float(x.square().sum()) for x, _ in pairs)
    assert float(objective(smaller(**batch), batch, model)) == pytest.approx(expected, rel=1e-3)
