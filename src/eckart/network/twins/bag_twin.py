"""``nn.EmbeddingBag`` that sums or averages: a table, and the sums of its rows."""

from __future__ import annotations

from typing import cast, final

import torch
from torch import Tensor, nn

from eckart.network.twins.plain import is_hooked, parameter

_SETTINGS = ("padding_idx", "scale_grad_by_freq", "sparse")


@final
class Bags(nn.Module):
    """What ``nn.EmbeddingBag`` computes, of one table.

    Attributes:
        table: whose rows are looked up.
        mode: ``"sum"`` or ``"mean"``.
        padding_idx: a row that counts in no bag, or None.
        include_last_offset: whether offsets end with the number of all entries.
    """

    def __init__(self, table: nn.Module, bag: nn.EmbeddingBag) -> None:
        """Of a table, with the settings of ``bag``."""
        super().__init__()
        self.mode, self.padding_idx = bag.mode, bag.padding_idx
        self.include_last_offset, self.table = bag.include_last_offset, table
        self.num_embeddings, self.embedding_dim = bag.num_embeddings, bag.embedding_dim

    def forward(
        self,
        input: Tensor,  # noqa: A002 - as torch's
        offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
    ) -> Tensor:
        """As torch's module: bags are the rows of ``input``, or begin at the offsets."""
        rows, counts = self.table(input), torch.ones_like(input, dtype=torch.bool)
        if self.padding_idx is not None:
            counts = input != self.padding_idx
        weights = counts.to(rows.dtype)
        if per_sample_weights is not None:
            weights = weights * per_sample_weights
        rows = rows * weights[..., None]
        if input.dim() == 2:
            return self._averaged(rows.sum(1), counts.sum(1))
        bag, bags = self._bags(len(input), cast(Tensor, offsets))
        summed = rows.new_zeros(bags, rows.shape[-1]).index_add(0, bag, rows)
        sizes = torch.zeros(bags, dtype=torch.int64, device=bag.device)
        return self._averaged(summed, sizes.index_add(0, bag, counts.long()))

    def _bags(self, entries: int, offsets: Tensor) -> tuple[Tensor, int]:
        """Which bag each entry is in, and how many there are."""
        starts = offsets[:-1] if self.include_last_offset else offsets
        at = torch.arange(entries, device=offsets.device).to(offsets.dtype)
        return torch.searchsorted(starts.contiguous(), at, right=True) - 1, len(starts)

    def _averaged(self, summed: Tensor, sizes: Tensor) -> Tensor:
        """The sums, or means; an empty bag gives zeros."""
        return summed if self.mode == "sum" else summed / sizes.clamp_min(1)[:, None]


@final
class BagTwin:
    """Sums and means, with all settings but ``max_norm``; also a subclass that inherits."""

    name = "bag"

    def applies(self, module: nn.Module) -> bool:
        """``forward`` is torch's own, and bags are sums of rows that do not change."""
        return (
            isinstance(module, nn.EmbeddingBag)
            and type(module).forward is nn.EmbeddingBag.forward
            and set(module._parameters) == {"weight"}
            and not (module._modules or is_hooked(module))
            and module.weight.is_floating_point()
            and module.mode in ("sum", "mean")
            and module.max_norm is None
        )

    def open(self, module: nn.Module) -> Bags:
        """A table over the module's own parameter."""
        old = cast(nn.EmbeddingBag, module)
        table = nn.Embedding(old.num_embeddings, old.embedding_dim, device="meta")
        table.weight = old.weight
        for name in _SETTINGS:
            setattr(table, name, getattr(old, name))
        return Bags(table.train(old.training), old).train(old.training)

    def close(self, module: nn.Module) -> nn.Module | None:
        """Torch's own module again, over the parameter of the table."""
        if not isinstance(module, Bags) or type(module.table) is not nn.Embedding:
            return None
        sizes = (module.num_embeddings, module.embedding_dim)
        closed = nn.EmbeddingBag(
            *sizes,
            mode=module.mode,
            include_last_offset=module.include_last_offset,
            device="meta",
        )
        closed.weight = parameter(module.table.weight, True)
        for name in _SETTINGS:
            setattr(closed, name, getattr(module.table, name))
        return closed.train(module.training)

    def note(self, module: nn.Module) -> str | None:
        """Nothing: the weights are those of the module."""
        return None
