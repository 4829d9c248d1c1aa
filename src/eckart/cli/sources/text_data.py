"""Windows of text: which calibrate, which choose, and which are reported on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eckart.cli.options.parsing import usage_error
from eckart.running.progress import tracked

if TYPE_CHECKING:
    from jaxtyping import Int64
    from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """Batches of windows, as often as asked for.

    Attributes:
        batches: dicts of ``input_ids``.
        batch_size: windows in a batch.
    """

    batches: Sequence[dict[str, Tensor]]
    batch_size: int

    @property
    def examples(self) -> int:
        """Number of windows."""
        return sum(len(batch["input_ids"]) for batch in self.batches)

    @property
    def tokens(self) -> int:
        """Number of tokens in all windows."""
        return sum(batch["input_ids"].numel() for batch in self.batches)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return iter(self.batches)

    def after(self, batches: int) -> Windows:
        """The rest, when so many batches have been read."""
        return Windows(self.batches[batches:], self.batch_size)

    def dealt(self, rank: int, ranks: int) -> Windows:
        """Every so many batches, from one on."""
        return Windows(self.batches[rank::ranks], self.batch_size)


@dataclass(frozen=True)
class Shown:
    """Windows that are read under a progress bar."""

    windows: Windows

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return tracked(self.windows, "reading text", True)


@dataclass(frozen=True)
class TextData:
    """Text for several purposes; no window is handed out twice, unless asked for ``again``.

    Attributes:
        tokenizer: of the model.
        calibrated_on, reported_on: files; None where they were not named.
        sequences: windows for each purpose.
        length: tokens in each.
        batch_size: windows in a batch.
    """

    tokenizer: Any
    calibrated_on: Path | None
    reported_on: Path | None
    sequences: int
    length: int
    batch_size: int
    _used: dict[Path, int] = field(default_factory=dict, repr=False)
    _ids: dict[Path, Int64[Tensor, " tokens"]] = field(default_factory=dict, repr=False)

    def calibration(self, *, again: bool = False) -> Windows:
        """The next windows of the text to calibrate on; its first where ``again``."""
        return self._take(_named(self.calibrated_on, "--text"), again=again)

    def report(self) -> Windows:
        """The next windows of the text to report on."""
        return self._take(_named(self.reported_on, "--perplexity"))

    def reserve(self, count: int) -> None:
        """Do not hand out the next windows of the text to calibrate on, if it is named."""
        if self.calibrated_on is not None:
            path = self.calibrated_on.resolve()
            self._used[path] = self._used.get(path, 0) + count

    def _take(self, path: Path, *, again: bool = False) -> Windows:
        from eckart.text import cut, read_text, token_ids  # brings torch

        place = path.resolve()
        if place not in self._ids:
            self._ids[place] = token_ids(self.tokenizer, read_text(path))
        start = 0 if again else self._used.get(place, 0)
        batches = cut(self._ids[place], self.sequences, self.length, self.batch_size, start)
        self._used[place] = max(self._used.get(place, 0), start + self.sequences)
        return Windows(batches, self.batch_size)


def _named(path: Path | None, option: str) -> Path:
    if path is None:
        raise usage_error(option, "needed here: a file of text")
    return path
