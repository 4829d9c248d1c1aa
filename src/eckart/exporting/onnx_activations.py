"""Activations rounded to 8 bits in an ONNX graph: pairs of QuantizeLinear and DequantizeLinear.

A runtime fuses a layer between two pairs into a kernel for whole numbers. A tensor has one pair,
which everything that reads the tensor shares, so nothing is rounded to another scale in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from eckart.exporting.codes import Codes, Rounding
from eckart.exporting.onnx_codes import stored
from eckart.layers import Levels

_LAYERS = ("Conv", "Gemm", "MatMul")
_CUT = ("Relu", "Clip")  # what a range that ends at the same numbers does as well
_KEEPING = (
    *("Slice", "Pad", "Reshape", "Transpose", "MaxPool"),
    *("Flatten", "Squeeze", "Unsqueeze", "Identity"),
)
"""Operators that only pass numbers on, and work on codes as well."""


def put_activations(model: ir.Model, codes: Mapping[str, Codes]) -> None:
    """Round the activations of layers whose weights are codes already, in place.

    Args:
        model: optimised; names of codes are those that ``put_codes`` gave.
        codes: by layer.
    """
    sites = [
        (node, each.rounding, each)
        for layer, each in codes.items()
        if each.rounding is not None
        for node in _reading(model, layer)
    ]
    pairs = _Pairs(model)
    inputs = [(node.inputs[0], rounding.input) for node, rounding, _ in sites]
    for node, rounding, each in sites:
        pairs.put_in(node, rounding, each)
    for node, rounding, _ in sites:
        if rounding.output is not None and not _read_as(node, rounding.output, inputs):
            pairs.pair(node.outputs[0], rounding.output)
    pairs.share()


def _reading(model: ir.Model, layer: str) -> list[ir.Node]:
    """The nodes that multiply with a layer's weight."""
    found = model.graph.initializers.get(f"{layer}.codes")
    made = [] if found is None else [value for node in found.consumers() for value in node.outputs]
    return [
        node for value in made for node, at in value.uses() if (node.op_type in _LAYERS and at == 1)
    ]


class _Pairs:
    """The pairs of a graph, one for each tensor and levels."""

    def __init__(self, model: ir.Model) -> None:
        self.graph, self.model = model.graph, model
        self.of: dict[tuple[ir.Value, Levels], ir.Node] = {}

    def put_in(self, node: ir.Node, rounding: Rounding, codes: Codes) -> None:
        """Let a layer read rounded inputs and a bias in the units of its sums."""
        x = node.inputs[0]
        if x is None:  # never: these operators have a first input
            return
        node.replace_input_with(0, self.pair(x, rounding.input).outputs[0])
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        if bias is not None and bias.const_value is not None:
            unit = codes.scales[:, 0].double().numpy() * rounding.input.scale
            sums = np.rint(bias.const_value.numpy() / np.where(unit == 0, 1.0, unit))
            node.replace_input_with(2, self._counted(f"{bias.name}.sums", sums, unit, node))

    def share(self) -> None:
        """Let everything that reads a tensor with a pair read what it is rounded to."""
        tensors = [x for x, _ in self.of]
        for (x, levels), pair in list(self.of.items()):
            if tensors.count(x) > 1:
                continue
            for user, at in list(x.uses()):
                if user is not pair.inputs[0].producer():  # type: ignore[union-attr]
                    user.replace_input_with(at, pair.outputs[0])
            self._sink(pair, levels)

    def pair(self, x: ir.Value, levels: Levels) -> ir.Node:
        """The second node of the pair of a tensor."""
        if (x, levels) in self.of:
            return self.of[x, levels]
        scales = self._levels(f"{x.name}.levels{len(self.of)}", levels)
        codes = ir.node("QuantizeLinear", [x, *scales])
        values = self._decoded(codes.outputs[0], scales)
        self._insert(x.producer(), [codes, values])
        self.of[x, levels] = values
        return values

    def _sink(self, pair: ir.Node, levels: Levels) -> None:
        """Let operators that only pass numbers on work on codes."""
        codes, scales = pair.inputs[0], list(pair.inputs[1:])
        for user, at in list(pair.outputs[0].uses()):
            if user.op_type not in _KEEPING or at != 0 or not _keeps_zero(user):
                continue
            if user.outputs[0].is_graph_output():
                continue
            user.replace_input_with(0, codes)
            if user.op_type == "Pad":
                self._pad_with(user, levels)
            out = user.outputs[0]
            readers = list(out.uses())
            values = self._decoded(out, scales)
            self._insert(user, [values])
            out.type = ir.TensorType(ir.DataType.UINT8)
            for reader, place in readers:
                reader.replace_input_with(place, values.outputs[0])
            self._sink(values, levels)
            if not values.outputs[0].uses():
                self.graph.remove(values, safe=True)

    def _pad_with(self, pad: ir.Node, levels: Levels) -> None:
        code = stored(self.model, f"{pad.outputs[0].name}.zero", np.array(levels.zero, np.uint8))
        if len(pad.inputs) < 3:
            pad.resize_inputs(3)
        pad.replace_input_with(2, code)

    def _levels(self, name: str, levels: Levels) -> list[ir.Value]:
        numbers = {"scale": np.array(levels.scale, np.float32), "zero": np.uint8(levels.zero)}
        return [stored(self.model, f"{name}.{k}", np.array(v)) for k, v in numbers.items()]

    def _decoded(self, codes: ir.Value, scales: list[Any]) -> ir.Node:
        return ir.node("DequantizeLinear", [codes, *scales])

    def _counted(self, name: str, sums: Any, unit: Any, node: ir.Node) -> ir.Value:
        """A bias as whole numbers, of which each channel has its own unit."""
        given = [
            stored(self.model, name, sums.astype(np.int32)),
            stored(self.model, f"{name}.unit", unit.astype(np.float32)),
        ]
        values = ir.node("DequantizeLinear", given, {"axis": 0})
        self.graph.insert_before(node, [values])
        return values.outputs[0]

    def _insert(self, after: ir.Node | None, nodes: list[ir.Node]) -> None:
        if after is None:
            self.graph.insert_before(self.graph[0], nodes)
        else:
            self.graph.insert_after(after, nodes)


def _read_as(
    node: ir.Node, levels: Levels, inputs: Sequence[tuple[ir.Value | None, Levels]]
) -> bool:
    """Whether a layer reads the output of a node, or of its activation, rounded to these levels."""
    y = node.outputs[0]
    users, values = y.consumers(), [y]
    if len(users) == 1 and users[0].op_type in _CUT and not y.is_graph_output():
        values.append(users[0].outputs[0])
    return any(x in values and given.is_near(levels) for x, given in inputs)


def _keeps_zero(node: ir.Node) -> bool:
    """Whether a node adds nothing but zeros."""
    if node.op_type != "Pad":
        return True
    mode = node.attributes.get("mode")
    value = node.inputs[2] if len(node.inputs) > 2 else None
    constant = mode is None or mode.value == "constant"
    if not constant or value is None:
        return constant
    return value.const_value is not None and not value.const_value.numpy().any()
