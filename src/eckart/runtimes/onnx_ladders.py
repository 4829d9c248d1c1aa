"""Ladders as ONNX graphs. They are written directly, since exporting one takes seconds."""

from __future__ import annotations

from typing import Any

import numpy as np

from eckart.records import Piece
from eckart.runtimes.ladders import Ladder

_OPSET, _IR = 17, 9
_STEM = 4  # channels of the graph's input


def onnx_ladder(ladder: Ladder) -> bytes:
    """The ladder as a serialised ONNX model with one input.

    Convolutions are added up, each followed by a ReLU, as in a residual network: runtimes fuse both
    into the convolution. A pointwise convolution comes before them, so that their input has the
    layout that convolutions hand on. Linear layers are outputs of the graph, one by one.
    """
    graph = _Graph(ladder)
    if ladder.piece.kernel:
        graph.add_convolutions()
    else:
        graph.add_products()
    return graph.serialised()


def onnx_numbers(ladder: Ladder) -> np.ndarray[Any, Any]:
    """Numbers for the input of ``onnx_ladder``, the same at every call."""
    shape = (ladder.batch, _STEM, *ladder.size) if ladder.piece.kernel else ladder.shape
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


class _Graph:
    def __init__(self, ladder: Ladder) -> None:
        from onnx import helper

        self.helper: Any = helper
        self.ladder = ladder
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.shape = ladder.shape
        self.outputs: list[str] = []
        self._random = np.random.default_rng(0)

    def add_convolutions(self) -> None:
        """All copies of a convolution, and the mean of their sum."""
        piece = self.ladder.piece
        self.shape = (self.ladder.batch, _STEM, *self.ladder.size)
        self._convolve("input", "stem", _stem(piece))
        self._add("Relu", ["stem"], "shared")
        total = ""
        for copy in range(self.ladder.copies):
            out = f"copy{copy}"
            self._convolve("shared", out, piece)
            if total:
                self._add("Add", [out, total], out := f"sum{copy}")
            self._add("Relu", [out], total := f"active{copy}")
        self._add("GlobalAveragePool", [total], "output")
        self.outputs.append("output")

    def add_products(self) -> None:
        """All copies of a linear layer."""
        piece = self.ladder.piece
        for copy in range(self.ladder.copies):
            weight = self._weight(f"weight{copy}", (piece.inputs, piece.outputs))
            bias = self._weight(f"bias{copy}", (piece.outputs,))
            out = f"copy{copy}"
            if len(self.shape) == 2:
                self._add("Gemm", ["input", weight, bias], out)
            else:
                self._add("MatMul", ["input", weight], f"product{copy}")
                self._add("Add", [f"product{copy}", bias], out)
            self.outputs.append(out)

    def serialised(self) -> bytes:
        """The model."""
        from onnx import TensorProto

        info = self.helper.make_tensor_value_info
        given = [info("input", TensorProto.FLOAT, self.shape)]
        found = [info(name, TensorProto.FLOAT, None) for name in self.outputs]
        graph = self.helper.make_graph(self.nodes, "ladder", given, found, self.weights)
        opset = [self.helper.make_opsetid("", _OPSET)]
        model = self.helper.make_model(graph, opset_imports=opset, ir_version=_IR)
        content: bytes = model.SerializeToString()
        return content

    def _convolve(self, source: str, out: str, piece: Piece) -> None:
        weight = self._weight(f"{out}.weight", piece.weight_shape)
        bias = self._weight(f"{out}.bias", (piece.outputs,))
        how: dict[str, Any] = {"strides": piece.stride, "dilations": piece.dilation}
        ends = piece.padding
        if piece.extra and piece.transposed:
            how["output_padding"] = piece.extra
        elif piece.extra:
            ends = tuple(a + b for a, b in zip(ends, piece.extra, strict=True))
        how |= {"pads": (*piece.padding, *ends), "group": piece.groups}
        kind = "ConvTranspose" if piece.transposed else "Conv"
        self._add(kind, [source, weight, bias], out, **how)

    def _weight(self, name: str, shape: tuple[int, ...]) -> str:
        from onnx import numpy_helper

        numbers = self._random.standard_normal(shape).astype(np.float32) * 0.05
        self.weights.append(numpy_helper.from_array(numbers, name))
        return name

    def _add(self, kind: str, inputs: list[str], out: str, **how: Any) -> None:
        self.nodes.append(self.helper.make_node(kind, inputs, [out], **how))


def _stem(piece: Piece) -> Piece:
    """A pointwise convolution that writes what a piece reads."""
    ones, zeros = (1,) * len(piece.kernel), (0,) * len(piece.kernel)
    return Piece(
        _STEM, piece.inputs, ones, stride=ones, padding=zeros, dilation=ones, padding_mode="zeros"
    )
