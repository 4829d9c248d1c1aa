"""ONNX Runtime's own static quantisation: 8 bits per weight and activation in every layer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import eckart
from benchmarks.subjects.data import Labelled

_BATCH = 100


class _Images:
    """Gives ONNX Runtime one batch of calibration images after the other."""

    def __init__(self, name: str, batches: Sequence[Labelled]) -> None:
        self._name, self._left = name, iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        """The next batch by the name of its input; None at the end."""
        batch = next(self._left, None)
        return None if batch is None else {self._name: batch[0].contiguous().numpy()}


class OnnxSession:
    """A file in ONNX Runtime on one thread."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        from onnxruntime import InferenceSession, SessionOptions

        options = SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        self._session = InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._name = self._session.get_inputs()[0].name

    def __call__(self, x: Tensor) -> Tensor:
        """Its first output."""
        return torch.from_numpy(self._session.run(None, {self._name: x.numpy()})[0])

    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        """The share of images whose class is found."""
        found = torch.cat([self(some) for some in images.split(_BATCH)]).argmax(1)
        return float((found == labels).double().mean())


def quantised(model: nn.Module, batches: Sequence[Labelled], folder: Path) -> Path:
    """The file that static quantisation makes of a network.

    Shapes are inferred first, and activations are unsigned: else sums, and the convolutions next to
    them, run in float32.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain, known, made = (folder / f"{name}.onnx" for name in ("plain", "known", "made"))
    eckart.export(model, plain, batches[0][0][:2])
    quant_pre_process(plain, known, skip_symbolic_shape=True)
    images = _Images(OnnxSession(plain)._name, batches)
    kinds = quantization.QuantType
    options = {"per_channel": True, "weight_type": kinds.QInt8, "activation_type": kinds.QUInt8}
    quantization.quantize_static(known, made, images, **options)
    return made
