"""Mixtures of experts of transformers: their experts alone, and whole networks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from random_moments import normal

WIDTH, INNER, EXPERTS, TOKENS = 8, 12, 5, 10


def experts(model: str, kind: str, kernel: str = "eager", **more: Any) -> Callable[[], nn.Module]:
    """The experts of one class alone, as one of transformers' kernels computes them."""

    def make() -> nn.Module:
        transformers = pytest.importorskip("transformers")
        prefix = kind.removesuffix("Experts")
        config = getattr(transformers, f"{prefix}Config")(
            **{
                "hidden_size": WIDTH,
                "intermediate_size": INNER,
                "num_local_experts": EXPERTS,
                "num_experts": EXPERTS,
                "moe_intermediate_size": INNER,
                **more,
            }
        )
        config._experts_implementation = kernel
        module = __import__(f"transformers.models.{model}.modeling_{model}", fromlist=[kind])
        return getattr(module, kind)(config)

    return make


def routed(without: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, the two experts of each, and their weights; one expert may get no token."""
    known = [at for at in range(EXPERTS) if at != without]
    first = torch.tensor([known[i % len(known)] for i in range(TOKENS)])
    second = torch.tensor([known[(i * 3 + 1 + i // 4) % len(known)] for i in range(TOKENS)])
    second = torch.where(second == first, torch.tensor(known)[(first + 1) % len(known)], second)
    weights = normal(TOKENS, 2, seed=8).float().softmax(-1)
    return normal(TOKENS, WIDTH, seed=7).float(), torch.stack([first, second], 1), weights


MIXTURES = {
    "experts": experts("mixtral", "MixtralExperts"),
    "experts-in-turns": experts("gpt_oss", "GptOssExperts"),
    "experts-ungated": experts("nemotron_h", "NemotronHExperts", n_routed_experts=EXPERTS),
}
