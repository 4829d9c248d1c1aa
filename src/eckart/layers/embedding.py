"""``nn.Embedding``: a matrix of which every input picks one row."""

from __future__ import annotations

from collections.abc import Hashable
from typing import cast, final

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from eckart.layers.linear import LinearType
from eckart.layers.registry import InputSums
from eckart.records import Piece
from eckart.records.pieces import Size

_SETTINGS = ("padding_idx", "scale_grad_by_freq", "sparse")
"""What says how the rows are trained, and nothing about what they give."""


@final
class EmbeddingType:
    """``y = W x`` where x is a column of the identity, so ``A`` is the frequency of each row.

    ``A`` is as large as the square of the vocabulary. All that is needed of it are the frequencies
    and the moment ``E[y yᵀ] = W A Wᵀ`` of the rows that are looked up, which take that little
    memory. Low rank is a narrower table and a matrix.
    """

    name = "embedding"
    module: type[nn.Module] = nn.Embedding
    _linear = LinearType()

    def refusal(self, module: nn.Module) -> str | None:
        """Refuse a table that changes as it is read."""
        if cast(nn.Embedding, module).max_norm is not None:
            return "max_norm rescales its rows as they are looked up; rescale them once instead"
        return None

    def piece(self, module: nn.Module) -> Piece:
        """Rows, and what each of them holds."""
        table = cast(nn.Embedding, module)
        return Piece(table.num_embeddings, table.embedding_dim, table=True)

    def plain(self, piece: Piece, like: Tensor) -> nn.Module:
        """``nn.Embedding``; for the matrix behind a narrower one, ``nn.Linear``."""
        if not piece.table:
            return self._linear.plain(piece, like)
        table = nn.Embedding(piece.inputs, piece.outputs, device="meta", dtype=like.dtype)
        return table.to_empty(device=like.device)

    def size(self, module: nn.Module, x: Tensor) -> Size:
        """The number of rows that are looked up."""
        return (x.numel(),)

    def geometry(self, module: nn.Module) -> Hashable:
        """Every table counts its own rows."""
        return (self.name, id(module))

    def input_sums(self, module: nn.Module, x: Tensor) -> InputSums:
        """Cost: O(rows · out² + in)."""
        table, which = cast(nn.Embedding, module), x.reshape(-1)
        rows = looked_up(table, which)
        counts = rows.new_zeros(table.num_embeddings)
        counts.index_add_(0, which, rows.new_ones(len(which)))  # a bincount waits for the device
        return InputSums((rows.T @ rows)[None], counts[None], len(rows))

    def output_gram(self, module: nn.Module, grad: Tensor) -> Float[Tensor, "groups out out"]:
        """Cost: O(rows · out²)."""
        return self._linear.output_gram(module, grad)


def looked_up(table: nn.Module, which: Tensor) -> Float[Tensor, "*rows out"]:
    """The rows of a table, in float32; its hooks do not see it."""
    return F.embedding(which, cast(nn.Embedding, table).weight).float()


def keep_settings(fresh: nn.Module, table: nn.Module) -> None:
    """Give one table the settings of another, in codes or not; other modules stay as they are."""
    fresh, table = (getattr(module, "layer", module) for module in (fresh, table))
    if isinstance(fresh, nn.Embedding) and isinstance(table, nn.Embedding):
        for name in _SETTINGS:
            setattr(fresh, name, getattr(table, name))
