"""Networks as ONNX files: as they are, in 8 bits by ONNX Runtime, smaller by eckart."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import eckart
from benchmarks.measuring.clocks import timed
from benchmarks.side_by_side.subject import Subject
from eckart.running.batches import inputs_of, tensors_in

_FILE, _SAVED = "network.onnx", "eckart"


@dataclass(frozen=True, eq=False)
class Session:
    """An ONNX file, loaded on one thread."""

    runtime: Any

    def __call__(self, batch: Any) -> Tensor:
        """The first output."""
        return torch.from_numpy(self.runtime.run(self._outputs[:1], self._named(batch))[0])

    def on(self, batch: Any) -> Callable[[], object]:
        """A call with these inputs, which are not read again."""
        named = self._named(batch)
        return lambda: self.runtime.run(self._outputs[:1], named)

    @property
    def _outputs(self) -> list[str]:
        return [output.name for output in self.runtime.get_outputs()]

    def _named(self, batch: Any) -> dict[str, Any]:
        names = [value.name for value in self.runtime.get_inputs()]
        numbers = [tensor.contiguous().numpy() for tensor in tensors_in(inputs_of(batch))]
        return dict(zip(names, numbers, strict=True))


def session(path: Path, *, codes_once: bool = False) -> Session:
    """Load a file; weights in codes may be made once instead of in every call."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if codes_once:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    providers = ["CPUExecutionProvider"]
    return Session(onnxruntime.InferenceSession(path, options, providers=providers))


@dataclass(frozen=True)
class Made:
    """A file that runs.

    Attributes:
        onnx: the file.
        network: the same network in torch; None where there is none.
        stored: bytes of that network as it is kept on disk.
        seconds: to make it now; None if it was in the cache.
    """

    onnx: Path
    network: Callable[[], nn.Module] | None
    stored: int | None
    seconds: float | None

    def session(self) -> Session:
        """The file, loaded on one thread."""
        return session(self.onnx, codes_once=self.onnx.parent.joinpath(_SAVED).exists())


def dense(subject: Subject, folder: Path) -> Made:
    """The network as it is."""

    def make(path: Path) -> None:
        eckart.export(subject.model, path, subject.example)

    stored = sum(t.nbytes for t in subject.model.state_dict().values())
    return _cached(folder, make, lambda: subject.model, lambda: stored)


def compressed(subject: Subject, title: str, folder: Path, workspace: Path) -> Made:
    """The network that `compress` makes for a budget, saved and exported; moments stay."""
    saved = folder / _SAVED

    def network() -> nn.Module:
        return eckart.load(subject.fresh(), saved, dequantize=True)

    def make(path: Path) -> None:
        smaller = subject.compress(title, workspace).model
        eckart.save(smaller, saved)
        eckart.export(smaller, path, subject.example)

    return _cached(folder, make, network, lambda: _size(saved))


def static_8_bits(subject: Subject, plain: Made, folder: Path) -> Made:
    """Weights and activations in 8 bits, with ranges from the calibration data."""

    def make(path: Path) -> None:
        from onnxruntime import quantization

        kind = quantization.QuantType
        kinds = {"weight_type": kind.QInt8, "activation_type": kind.QUInt8}  # fastest on x86
        reader = _Reader(plain.session(), subject.few)
        quantization.quantize_static(plain.onnx, path, reader, per_channel=True, **kinds)

    return _cached(folder, make)


def dynamic_8_bits(subject: Subject, plain: Made, folder: Path) -> Made:
    """Weights in 8 bits, activations in 8 bits with the ranges of each call."""

    def make(path: Path) -> None:
        from onnxruntime import quantization

        kinds = {"weight_type": quantization.QuantType.QInt8}
        quantization.quantize_dynamic(plain.onnx, path, per_channel=True, **kinds)

    return _cached(folder, make)


class _Reader:
    """Gives the quantiser one batch after the other."""

    def __init__(self, of: Session, batches: list[Any]) -> None:
        self._left = iter([of._named(batch) for batch in batches])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._left, None)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _cached(
    folder: Path,
    make: Callable[[Path], None],
    network: Callable[[], nn.Module] | None = None,
    stored: Callable[[], int] | None = None,
) -> Made:
    path, seconds = folder / _FILE, None
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"unfinished-{_FILE}"
        seconds, _ = timed(lambda: make(partial))
        partial.replace(path)
    return Made(path, network, None if stored is None else stored(), seconds)
