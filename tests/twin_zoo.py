"""Composite modules of every registered twin that the contracts are tried on."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from eckart.running.batches import mapped, tensors_in
from expert_zoo import MIXTURES, routed
from random_moments import normal

WIDTH = 8


@dataclass(frozen=True)
class Case:
    """A composite module, and what it is called with.

    Attributes:
        make: the module.
        given: arguments, the first of them a tensor with one example per entry.
        named: arguments by keyword.
        trains_alike: whether its twin computes the same in train mode.
        computed: whether its weight is computed from other numbers.
    """

    make: Callable[[], nn.Module]
    given: tuple[Any, ...]
    named: tuple[tuple[str, Any], ...] = ()
    trains_alike: bool = True
    computed: bool = False

    def module(self) -> nn.Module:
        """With numbers of its own, the same in every call."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about its encoder and old weight norm
            torch.manual_seed(0)
            made = self.make()
        for seed, parameter in enumerate(made.parameters()):
            parameter.data = 0.4 * normal(*parameter.shape, seed=seed).float()
        return made.eval()

    def outputs(self, module: nn.Module, *instead: Tensor) -> list[Tensor]:
        """All tensors that a module gives; some of the first arguments may be others."""
        count = len(instead[0]) if instead else len(self.given[0])
        given = (*instead, *self._first(count, self.given[len(instead) :]))
        return tensors_in(module(*given, **self._first(count, dict(self.named))))

    def _first(self, count: int, values: Any) -> Any:
        """What belongs to the first examples."""
        every = len(self.given[0])
        return mapped(values, lambda t: t[:count] if len(t) == every else t)


class Within(nn.Module):
    """A network in which a composite stands between two plain layers."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case, width = case, case.given[0].shape[-1]
        self.inner = case.module()
        torch.manual_seed(1)
        self.first = nn.Linear(width, width)
        self.last = nn.Linear(case.outputs(self.inner)[0].shape[-1], 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.case.outputs(self.inner, self.first(x))[0])


def _x(*shape: int, seed: int = 0) -> Tensor:
    return normal(*shape, seed=90 + seed).float()


def _attention(**options: Any) -> Callable[[], nn.Module]:
    settings = {"dropout": 0.3, "batch_first": True, **options}
    return lambda: nn.MultiheadAttention(WIDTH, 2, **settings)


def _block(**options: Any) -> nn.Module:
    return nn.TransformerEncoderLayer(WIDTH, 2, 12, batch_first=True, **options)


_SELF = (_x(4, 5, WIDTH),) * 3
_CROSS = (_x(4, 5, WIDTH), _x(4, 7, 6, seed=1), _x(4, 7, 3, seed=2))
_PADDED = torch.arange(5) >= torch.tensor([5, 3, 2, 4])[:, None]
_CAUSAL = torch.ones(5, 5, dtype=torch.bool).triu(1)

CASES = {
    "attention": Case(_attention(), _SELF),
    "attention-cross": Case(_attention(kdim=6, vdim=3, bias=False), _CROSS),
    "attention-more": Case(
        _attention(add_bias_kv=True, add_zero_attn=True),
        _SELF,
        (("key_padding_mask", _PADDED), ("attn_mask", _CAUSAL), ("average_attn_weights", False)),
    ),
    "attention-causal": Case(
        _attention(),
        _SELF,
        (("attn_mask", _CAUSAL), ("is_causal", True), ("need_weights", False)),
    ),
    "attention-positions-first": Case(_attention(batch_first=False), _SELF),
    "attention-unbatched": Case(_attention(), tuple(x[0] for x in _SELF)),
    "encoder-layer": Case(_block, _SELF[:1], (("src_mask", _CAUSAL),)),
    "encoder": Case(lambda: nn.TransformerEncoder(_block(activation="gelu"), 2), _SELF[:1]),
    "decoder": Case(
        lambda: nn.TransformerDecoder(
            nn.TransformerDecoderLayer(WIDTH, 2, 12, batch_first=True), 2
        ),
        (_SELF[0], _x(4, 3, WIDTH)),
        (("tgt_mask", _CAUSAL), ("tgt_is_causal", True)),
    ),
    "transformer": Case(
        lambda: nn.Transformer(WIDTH, 2, 1, 1, 12, batch_first=True), (_SELF[0], _x(4, 3, WIDTH))
    ),
}


def _recurrent(kind: type[nn.RNNBase], layers: int = 1, **options: Any) -> Callable[[], nn.Module]:
    settings = {"batch_first": True, "dropout": 0.4 * (layers > 1), **options}
    return lambda: kind(WIDTH, 10, layers, **settings)


class _Packing(nn.Module):
    """A recurrent layer that reads sequences of different lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(WIDTH, 6, 2, batch_first=True, bidirectional=True, dropout=0.3)

    def forward(self, x: Tensor) -> Tensor:
        lengths = torch.tensor([5, 2, 3, 5])[: len(x)]
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, (h, _) = self.rnn(packed)
        return pad_packed_sequence(y, batch_first=True)[0] + h.sum()


class _Started(nn.Module):
    """A recurrent layer that begins with states of its own."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.rnn = kind(WIDTH, WIDTH, 3, batch_first=True, dropout=0.4)

    def forward(self, x: Tensor) -> Tensor:
        h = x[:, 0].repeat(3, 1, 1)
        y, last = self.rnn(x, (h, 2 * h) if self.rnn.mode == "LSTM" else h)
        return y + sum(state.sum() for state in tensors_in(last))


class _Stepping(nn.Module):
    """A loop over a recurrent cell."""

    def __init__(self, kind: type[nn.RNNCellBase], **options: Any) -> None:
        super().__init__()
        self.cell = kind(WIDTH, 10, **options)

    def forward(self, x: Tensor) -> Tensor:
        state, found = None, []
        for step in x.unbind(1):
            state = self.cell(step, state)
            found.append(tensors_in(state)[0])
        return torch.stack(found, 1)


class _Standardised(nn.Conv2d):
    """A convolution whose filters are standardised before they are used."""

    def forward(self, x: Tensor) -> Tensor:
        mean, spread = (
            f(self.weight, dim=(1, 2, 3), keepdim=True) for f in (torch.mean, torch.std)
        )
        weight = (self.weight - mean) / (spread + 1e-5)
        return functional.conv2d(x, weight, self.bias, self.stride, self.padding)


class _Same(nn.Conv2d):
    """A convolution that pads more at the end where the padding is odd."""

    def forward(self, x: Tensor) -> Tensor:
        sides = []
        for size, kernel, stride in zip(x.shape[-2:], self.kernel_size, self.stride, strict=True):
            more = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            sides = [more // 2, more - more // 2, *sides]
        return functional.conv2d(functional.pad(x, sides), self.weight, self.bias, self.stride)


class _Reshaping(nn.Linear):
    """A linear layer by another product."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T + self.bias


def _pruned() -> nn.Module:
    return prune.l1_unstructured(nn.Linear(WIDTH, 10), "weight", 0.3)


class _Positions(nn.Embedding):
    """Positions that begin at 2, of the shape of what they are added to."""

    def __init__(self) -> None:
        self.offset = 2
        super().__init__(7, WIDTH)

    def forward(self, x: Tensor, past: int = 0) -> Tensor:
        at = torch.arange(past, past + x.shape[1]).expand(x.shape[:2])
        return super().forward(at + self.offset)


class _Scaled(nn.Embedding):
    """Rows times a number, through a norm of their own."""

    def __init__(self) -> None:
        super().__init__(9, 6, padding_idx=1)
        self.norm, self.scale = nn.LayerNorm(6), 3.0

    def forward(self, ids: Tensor) -> Tensor:
        return self.norm(super().forward(ids)) * self.scale


class _Activated(nn.Conv2d):
    """A convolution with its activation, and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__(WIDTH, 10, 3, padding=1)
        self.slope = nn.Parameter(torch.ones(10, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.slope * super().forward(x))


class _Noisy(nn.Linear):
    """Reads its weight itself, and adds noise in training."""

    def forward(self, x: Tensor) -> Tensor:
        noise = 0.1 * torch.randn_like(self.weight) if self.training else 0
        return functional.linear(
            x, self.weight + noise if self.training else self.weight, self.bias
        )


class _Own(nn.Module):
    """A linear layer that somebody wrote by hand, in one of three ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        shape = (10, WIDTH) if how == "linear" else (WIDTH, 10)
        self.how, self.matrix = how, nn.Parameter(torch.zeros(shape))
        self.offset = nn.Parameter(torch.zeros(10)) if how != "product" else None

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "linear":
            return functional.linear(x, self.matrix, self.offset)
        y = x @ (0.5 * self.matrix) if self.how == "scaled" else x @ self.matrix
        return y if self.offset is None else y + 3 * self.offset


class _Looking(nn.Module):
    """A table of some kind, for inputs that are floating numbers."""

    def __init__(self, table: nn.Module, positions: bool = False) -> None:
        super().__init__()
        self.table_of, self.positions = table, positions

    def forward(self, x: Tensor) -> Tensor:
        if self.positions:
            return x + self.table_of(x)
        return self.table_of((3 * x).abs().long().clamp_max(8)) * x.mean(-1)[..., None, None]


_IMAGES = (_x(4, WIDTH, 7, 6),)


class _Bagged(nn.Module):
    """Bags of rows that are near its inputs; a case is called with floating numbers."""

    def __init__(self, offsets: bool = False, **options: Any) -> None:
        super().__init__()
        self.bag, self.offsets = nn.EmbeddingBag(9, 6, **options), offsets

    def forward(self, x: Tensor) -> Tensor:
        which, weights = (3 * x).abs().long().clamp_max(8), None
        if self.bag.mode == "sum":
            weights = x.square()
        if not self.offsets:
            y = self.bag(which, per_sample_weights=weights)
        else:
            starts = torch.arange(0, which.numel() + self.bag.include_last_offset, WIDTH)
            y = self.bag(which.flatten(), starts)
        return y * x.mean(1, keepdim=True)


CASES |= {
    "lstm": Case(lambda: _Started(nn.LSTM), _SELF[:1]),
    "lstm-projected": Case(
        _recurrent(nn.LSTM, 2, proj_size=4, bidirectional=True, bias=False), _SELF[:1]
    ),
    "lstm-time-first": Case(_recurrent(nn.LSTM, 2, batch_first=False), _SELF[:1]),
    "lstm-packed": Case(_Packing, _SELF[:1]),
    "gru": Case(_recurrent(nn.GRU, 2, bidirectional=True), _SELF[:1]),
    "gru-unbatched": Case(_recurrent(nn.GRU), (_SELF[0][0], _x(1, 10))),
    "rnn": Case(lambda: _Started(nn.RNN), _SELF[:1]),
    "rnn-relu": Case(_recurrent(nn.RNN, nonlinearity="relu"), _SELF[:1]),
    "lstm-cell": Case(lambda: _Stepping(nn.LSTMCell), _SELF[:1]),
    "gru-cell": Case(lambda: _Stepping(nn.GRUCell, bias=False), _SELF[:1]),
    "gru-cell-itself": Case(lambda: nn.GRUCell(WIDTH, 10), (_x(4, WIDTH), _x(4, 10))),
    "lstm-cell-itself": Case(lambda: nn.LSTMCell(WIDTH, 10), (_x(4, WIDTH),)),
    "rnn-cell": Case(lambda: _Stepping(nn.RNNCell), _SELF[:1]),
    "bilinear": Case(lambda: nn.Bilinear(WIDTH, 6, 10), (_x(4, 5, WIDTH), _x(4, 5, 6))),
    "bilinear-no-bias": Case(
        lambda: nn.Bilinear(WIDTH, WIDTH, 3, bias=False), (_x(4, WIDTH), _x(4, WIDTH, seed=1))
    ),
    "bag": Case(lambda: _Bagged(mode="sum"), (_x(4, WIDTH),)),
    "bag-mean": Case(lambda: _Bagged(mode="mean", padding_idx=2), (_x(4, WIDTH),)),
    "bag-offsets": Case(
        lambda: _Bagged(True, mode="mean", include_last_offset=True, padding_idx=0),
        (_x(4, WIDTH),),
    ),
    "positions": Case(lambda: _Looking(_Positions(), positions=True), _SELF[:1]),
    "scaled-words": Case(lambda: _Looking(_Scaled()), (_x(4, WIDTH),)),
    "activated": Case(_Activated, _IMAGES),
    "noisy": Case(lambda: _Noisy(WIDTH, 10), _SELF[:1]),
    "own-linear": Case(lambda: _Own("linear"), _SELF[:1]),
    "own-product": Case(lambda: _Own("product"), _SELF[:1], computed=True),
    "own-scaled": Case(lambda: _Own("scaled"), _SELF[:1], computed=True),
    "spectral-table": Case(
        lambda: _Looking(spectral_norm(nn.Embedding(9, 6))),
        (_x(4, WIDTH),),
        trains_alike=False,
        computed=True,
    ),
    "rnn-cell-relu": Case(
        lambda: nn.RNNCell(WIDTH, 10, nonlinearity="relu"), (_x(4, WIDTH), _x(4, 10))
    ),
    "weight-norm": Case(
        lambda: weight_norm(nn.Conv2d(WIDTH, 10, 3, padding=1)), _IMAGES, computed=True
    ),
    "weight-norm-by-hooks": Case(
        lambda: nn.utils.weight_norm(nn.Conv2d(WIDTH, 10, 3, padding=1)), _IMAGES, computed=True
    ),
    "spectral-norm": Case(
        lambda: spectral_norm(nn.Linear(WIDTH, 10)), _SELF[:1], trains_alike=False, computed=True
    ),
    "pruned": Case(_pruned, _SELF[:1], computed=True),
    "standardised": Case(
        lambda: _Standardised(WIDTH, 10, 3, stride=2, padding=1), _IMAGES, computed=True
    ),
    "same": Case(lambda: _Same(WIDTH, 10, 3, stride=2), _IMAGES),
    "reshaping": Case(lambda: _Reshaping(WIDTH, 10), _SELF[:1]),
}

CASES |= {name: Case(make, routed(without=3)) for name, make in MIXTURES.items()}
