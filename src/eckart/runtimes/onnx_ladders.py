"""Ladders as ONNX graphs. They are written directly, since exporting one takes seconds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from eckart.records import Piece
from eckart.runtimes.ladders import Ladder

_OPSET, _IR = 17, 9
_STEP, _ZERO = "step", "zero"  # what all activations are rounded to
_STEM = 4  # channels of the graph's input


def onnx_ladder(ladder: Ladder) -> bytes:
    """The ladder as a serialised ONNX model with one input.

    Convolutions are added up, each followed by a ReLU, as in a residual network: runtimes fuse both
    into the convolution. A pointwise convolution comes before them, so that their input has the
    layout that convolutions hand on. Linear layers are outputs of the graph, one by one.

    Where activations are rounded, what a layer reads and what a convolution writes is. Convolutions
    are not added up then, because no kernel does both; the mean of each is an output.
    """
    graph = _Graph(ladder)
    if ladder.piece.activations:
        graph.add_rounded()
    elif ladder.piece.kernel:
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

    def add_rounded(self) -> None:
        """All copies of a layer whose weights and activations have 8 bits."""
        piece = self.ladder.piece
        self._constant(_STEP, np.float32(0.05))
        self._constant(_ZERO, np.uint8(0))
        if piece.kernel:
            self.shape = (self.ladder.batch, _STEM, *self.ladder.size)
        shared = self._pair("input")
        if piece.kernel:
            self._convolve(shared, "stem", replace(_stem(piece), bits=8, activations=8))
            shared = self._pair("stem")
        for copy in range(self.ladder.copies):
            out = f"copy{copy}"
            if piece.kernel:
                self._convolve(shared, out, piece)
                self._add("GlobalAveragePool", [self._pair(out)], f"mean{copy}")
                self.outputs.append(self._pair(f"mean{copy}"))
            else:
                self._multiply(shared, out, piece)
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
        weight, bias = self._numbers(out, piece)
        how: dict[str, Any] = {"strides": piece.stride, "dilations": piece.dilation}
        ends = piece.padding
        if piece.extra and piece.transposed:
            how["output_padding"] = piece.extra
        elif piece.extra:
            ends = tuple(a + b for a, b in zip(ends, piece.extra, strict=True))
        how |= {"pads": (*piece.padding, *ends), "group": piece.groups}
        kind = "ConvTranspose" if piece.transposed else "Conv"
        self._add(kind, [source, weight, bias], out, **how)

    def _multiply(self, source: str, out: str, piece: Piece) -> None:
        """A linear layer as it is exported: rows alone are a Gemm, several a product and a sum."""
        rows = len(self.shape) == 2
        turned = (piece.outputs, piece.inputs) if rows else (piece.inputs, piece.outputs)
        weight = self._codes(f"{out}.weight", turned, axis=0 if rows else 1)
        if rows:
            bias = self._codes(f"{out}.bias", (piece.outputs,), axis=0)
            self._add("Gemm", [source, weight, bias], out, transB=1)
            return
        self._add("MatMul", [source, weight], f"{out}.product")
        self._add("Add", [f"{out}.product", self._weight(f"{out}.bias", (piece.outputs,))], out)

    def _numbers(self, out: str, piece: Piece) -> tuple[str, str]:
        """Weight and bias of a convolution."""
        if piece.activations:
            weight = self._codes(f"{out}.weight", piece.weight_shape, axis=0)
            return weight, self._codes(f"{out}.bias", (piece.outputs,), axis=0)
        weight = self._weight(f"{out}.weight", piece.weight_shape)
        return weight, self._weight(f"{out}.bias", (piece.outputs,))

    def _pair(self, x: str) -> str:
        """What a tensor is after it was rounded."""
        self._add("QuantizeLinear", [x, _STEP, _ZERO], f"{x}.codes")
        self._add("DequantizeLinear", [f"{x}.codes", _STEP, _ZERO], f"{x}.rounded")
        return f"{x}.rounded"

    def _codes(self, name: str, shape: tuple[int, ...], axis: int) -> str:
        """Codes of a weight, or of a bias, which has 32 bits, with a scale for each output."""
        dtype = np.int8 if len(shape) > 1 else np.int32
        scale = 2e-3 if len(shape) > 1 else 1e-4  # a bias is in the units of sums
        self._constant(f"{name}.codes", self._random.integers(-127, 128, shape).astype(dtype))
        self._constant(f"{name}.scale", np.full(shape[axis], scale, np.float32))
        self._constant(f"{name}.zero", np.zeros(shape[axis], dtype))
        given = [f"{name}.codes", f"{name}.scale", f"{name}.zero"]
        self._add("DequantizeLinear", given, name, axis=axis)
        return name

    def _constant(self, name: str, numbers: Any) -> None:
        from onnx import numpy_helper

        self.weights.append(numpy_helper.from_array(np.asarray(numbers), name))

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
