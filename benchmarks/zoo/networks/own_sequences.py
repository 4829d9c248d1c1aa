"""Hand-written networks on sequences and volumes."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.zoo.network import BATCHES, EXAMPLES, Network, drawn, keywords, whole

WORDS, LENGTH, WIDTH = 64, 12, 32


class Recurrent(nn.Module):
    """A classifier of the last state of a recurrent network."""

    def __init__(self, kind: type[nn.RNNBase], **options: bool | int) -> None:
        super().__init__()
        self.cells = kind(16, 24, 2, batch_first=True, **options)  # type: ignore[arg-type]
        ways = 2 if options.get("bidirectional") else 1
        self.out = nn.Linear(ways * (int(options.get("proj_size", 0)) or 24), 5)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.cells(x)
        out: Tensor = self.out(states[:, -1])
        return out


class Packed(nn.Module):
    """Sentences of different lengths, packed for an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.cells = nn.Embedding(WORDS, 16), nn.LSTM(16, 24, batch_first=True)
        self.out = nn.Linear(24, 5)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(
            self.table(words), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = pad_packed_sequence(self.cells(packed)[0], batch_first=True)
        out: Tensor = self.out(states.mean(1))
        return out


class Translator(nn.Module):
    """Sequence to sequence: a GRU reads, a GRU cell writes, one word after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, 16)
        self.encoder, self.decoder = nn.GRU(16, 24, batch_first=True), nn.GRUCell(16, 24)
        self.out = nn.Linear(24, WORDS)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        _, state = self.encoder(self.table(source))
        hidden, found = state[0], list[Tensor]()
        for at in range(target.shape[1]):
            hidden = self.decoder(self.table(target[:, at]), hidden)
            found.append(self.out(hidden))
        return torch.stack(found, 1)


class Encoder(nn.Module):
    """Torch's encoder, with padding masked."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 48, 0.1, batch_first=batch_first)
        self.table = nn.Embedding(WORDS, WIDTH)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out, self.batch_first = nn.Linear(WIDTH, 5), batch_first

    def forward(self, words: Tensor, padding: Tensor) -> Tensor:
        x = self.table(words if self.batch_first else words.T)
        x = self.encoder(x, src_key_padding_mask=padding)
        out: Tensor = self.out(x.mean(1 if self.batch_first else 0))
        return out


class Decoder(nn.Module):
    """Torch's whole transformer, with a causal mask."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, WIDTH)
        self.whole = nn.Transformer(WIDTH, 4, 1, 1, 48, batch_first=True)
        self.out = nn.Linear(WIDTH, WORDS)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        x = self.whole(self.table(source), self.table(target), tgt_mask=mask, tgt_is_causal=True)
        out: Tensor = self.out(x)
        return out


class CrossAttention(nn.Module):
    """Learned queries that read a sequence of another width."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, 4, WIDTH))
        self.read = nn.MultiheadAttention(WIDTH, 4, batch_first=True, kdim=20, vdim=20)
        self.out = nn.Linear(4 * WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        found, _ = self.read(self.queries.expand(len(x), -1, -1), x, x, need_weights=False)
        out: Tensor = self.out(found.flatten(1))
        return out


class Bags(nn.Module):
    """Bags of words without order."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(WORDS, 24, mode="mean")
        self.out = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, words: Tensor) -> Tensor:
        out: Tensor = self.out(self.table(words))
        return out


def convolutional(axes: int) -> nn.Module:
    """A classifier of signals, images or volumes, with strides and a pooled end."""
    convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[axes - 1]
    pooled = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[axes - 1]
    layers: list[nn.Module] = []
    for inputs, outputs in ((2, 16), (16, 24), (24, 32)):
        layers += [convolution(inputs, outputs, 3, 2, 1), norm(outputs), nn.ReLU()]
    return nn.Sequential(*layers, pooled(1), nn.Flatten(), nn.Linear(32, 5))


class Causal(nn.Module):
    """WaveNet: dilated gated convolutions with skips."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, 16, 1)
        self.steps = (1, 2, 4)
        self.gates = nn.ModuleList([nn.Conv1d(16, 32, 2, dilation=d) for d in self.steps])
        self.mixes = nn.ModuleList([nn.Conv1d(16, 16, 1) for _ in range(3)])
        self.out = nn.Conv1d(16, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, skip = self.first(x), torch.zeros(())
        for step, gate, mix in zip(self.steps, self.gates, self.mixes, strict=True):
            padded = nn.functional.pad(x, (step, 0))
            filtered, gated = gate(padded).chunk(2, 1)
            found = mix(filtered.tanh() * gated.sigmoid())
            x, skip = x + found, skip + found
        out: Tensor = self.out(skip.relu())
        return out


def padded() -> list[dict[str, Tensor]]:
    """Sentences with a padding mask."""
    lengths = torch.arange(LENGTH) >= torch.tensor([12, 9, 7, 10])[:, None]
    return [
        {"words": torch.randint(1, WORDS, (EXAMPLES, LENGTH)), "padding": lengths}
        for _ in range(BATCHES)
    ]


SENTENCES = keywords(words=whole(WORDS, LENGTH), lengths=whole(LENGTH, least=3))
PAIRS = keywords(source=whole(WORDS, LENGTH), target=whole(WORDS, LENGTH))
NETWORKS = [
    Network("own/lstm", "own", "recurrent", lambda: Recurrent(nn.LSTM), drawn(LENGTH, 16)),
    Network(
        "own/lstm-projected",
        "own",
        "recurrent",
        lambda: Recurrent(nn.LSTM, proj_size=12),
        drawn(LENGTH, 16),
    ),
    Network(
        "own/gru-both-ways",
        "own",
        "recurrent",
        lambda: Recurrent(nn.GRU, bidirectional=True),
        drawn(LENGTH, 16),
    ),
    Network("own/rnn", "own", "recurrent", lambda: Recurrent(nn.RNN), drawn(LENGTH, 16)),
    Network("own/lstm-packed", "own", "recurrent", Packed, SENTENCES),
    Network("own/sequence-to-sequence", "own", "recurrent", Translator, PAIRS),
    Network(
        "own/encoder-batch-first", "own", "attention", lambda: Encoder(batch_first=True), padded
    ),
    Network("own/encoder", "own", "attention", lambda: Encoder(batch_first=False), padded),
    Network("own/transformer", "own", "attention", Decoder, PAIRS),
    Network("own/cross-attention", "own", "attention", CrossAttention, drawn(LENGTH, 20)),
    Network(
        "own/bag-of-words",
        "own",
        "tables",
        Bags,
        lambda: [torch.randint(WORDS, (EXAMPLES, 9)) for _ in range(BATCHES)],
    ),
    Network("own/signals", "own", "convolutional", lambda: convolutional(1), drawn(2, 64)),
    Network("own/volumes", "own", "convolutional", lambda: convolutional(3), drawn(2, 16, 16, 16)),
    Network("own/wavenet", "own", "convolutional", Causal, drawn(1, 48)),
]
