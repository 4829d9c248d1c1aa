"""Weights in codes in an ONNX graph: products with a kernel of their own, or dequantised weights.

A linear layer becomes ``MatMulNBits`` of ONNX Runtime, whose kernels read 4 and 8 bits. Any other
weight becomes ``DequantizeLinear`` of int4 or int8 numbers, which every runtime knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from torch.nn.functional import pad

from eckart.exporting.codes import Codes

OPSET = 21  # the first whose DequantizeLinear knows int4 and blocks
_DOMAIN = "com.microsoft"
_BLOCKS = (256, 128, 64, 32, 16)  # inputs that share a scale in the kernels of MatMulNBits


def put_codes(model: ir.Model, codes: Mapping[str, Codes]) -> None:
    """Replace the weights of layers by their codes, in place.

    Args:
        model: not optimised yet, because then weights have names of their own.
        codes: by layer; those of layers whose weight has another name stay as they are.
    """
    for layer, each in codes.items():
        weight = model.graph.initializers.get(f"{layer}.weight")
        if weight is None:
            continue
        products, block = _products(weight, each), _block(each)
        if products and each.rounding is not None:
            _put_whole_products(model, layer, products, each)
        elif products and block:
            _put_products(model, layer, products, each, block)
        else:
            _put_weight(model, layer, weight, each)
    model.opset_imports[_DOMAIN] = 1


def _block(codes: Codes) -> int | None:
    """The block with which a kernel reads the codes in the fewest bytes; None where none can."""
    columns, spans = codes.numbers.shape[1], codes.scales.shape[1]
    fitting = [size for size in _BLOCKS if spans == 1 or codes.span % size == 0]
    taken = {size: -(-columns // size) * (size * codes.bits // 8 + 4) for size in fitting}
    return min(taken, key=lambda size: taken[size]) if taken else None


def _products(weight: ir.Value, codes: Codes) -> list[tuple[ir.Node, ir.Node | None]]:
    """The products with a linear layer's weight, each with what transposes it; none if others."""
    if codes.piece.kernel or codes.piece.groups > 1:
        return []
    found = list(_read_by(weight, codes.turned))
    return [] if None in found else [pair for pair in found if pair is not None]


def _read_by(weight: ir.Value, turned: bool) -> Iterator[tuple[ir.Node, ir.Node | None] | None]:
    """Each reader of a weight if it is a product; None for any other."""
    for node, place in weight.uses():
        if node.op_type == "Transpose" and not turned and not _is_output(node):
            for product, at in node.outputs[0].uses():
                yield (product, node) if (product.op_type, at) == ("MatMul", 1) else None
        elif place == 1 and ((node.op_type == "MatMul" and turned) or _is_plain(node, turned)):
            yield node, None
        else:
            yield None


def _is_output(node: ir.Node) -> bool:
    return any(value.is_graph_output() for value in node.outputs)


def _is_plain(gemm: ir.Node, turned: bool) -> bool:
    """Whether a node is a product ``x Wᵀ + b``, or ``x W + b`` where the weight is transposed."""
    if gemm.op_type != "Gemm":
        return False
    found = {name: attribute.value for name, attribute in gemm.attributes.items()}
    scaled = found.get("alpha", 1.0) != 1.0 or found.get("beta", 1.0) != 1.0
    return not scaled and not found.get("transA", 0) and found.get("transB", 0) == (not turned)


def _put_whole_products(
    model: ir.Model,
    layer: str,
    products: Sequence[tuple[ir.Node, ir.Node | None]],
    codes: Codes,
) -> None:
    """Let products read their codes as kernels for whole numbers do: one column per output.

    ``Gemm`` transposes its second input, where codes have one row per output.
    """
    rows = products[0][0].op_type == "Gemm" and not codes.turned
    numbers = codes.numbers if rows else codes.numbers.T.contiguous()
    values = _dequantised(model, layer, numbers.numpy(), codes, 0 if rows else 1)
    model.graph.insert_before(model.graph[0], [values])
    for product, before in products:
        product.replace_input_with(1, values.outputs[0])
        if before is not None and not before.outputs[0].uses():
            model.graph.remove(before, safe=True)


def _dequantised(model: ir.Model, layer: str, numbers: Any, codes: Codes, axis: int) -> ir.Node:
    """Codes with a scale and a zero for each output; ``QGemm`` insists on the zeros."""
    scales = codes.scales[:, 0].numpy()
    given = [
        stored(model, f"{layer}.codes", numbers),
        stored(model, f"{layer}.scale", scales),
        stored(model, f"{layer}.zero", np.zeros(len(scales), np.int8)),
    ]
    return ir.node("DequantizeLinear", given, {"axis": axis})


def _put_products(
    model: ir.Model,
    layer: str,
    products: Sequence[tuple[ir.Node, ir.Node | None]],
    codes: Codes,
    block: int,
) -> None:
    rows, columns = codes.numbers.shape
    packed, scales = _blocked(codes, block)
    inner = (stored(model, f"{layer}.codes", packed), stored(model, f"{layer}.scale", scales))
    attributes = {"K": columns, "N": rows, "bits": codes.bits, "block_size": block}
    for product, before in products:
        bias = product.inputs[2:3] if product.op_type == "Gemm" else ()
        inputs = [product.inputs[0], *inner, *([None, None, *bias] if any(bias) else [])]
        new = ir.node("MatMulNBits", inputs, attributes, domain=_DOMAIN)
        _replace(model, product, new)
        if before is not None and not before.outputs[0].uses():
            model.graph.remove(before, safe=True)


def _replace(model: ir.Model, old: ir.Node, new: ir.Node) -> None:
    new.outputs[0].shape, new.outputs[0].type = old.outputs[0].shape, old.outputs[0].type
    new.outputs[0].name = old.outputs[0].name
    ir.convenience.replace_nodes_and_values(
        model.graph, old, [old], [new], list(old.outputs), list(new.outputs)
    )


def _blocked(codes: Codes, block: int) -> tuple[Any, Any]:
    """Numbers and scales in the layout of ``MatMulNBits``; the code of zero is the middle one."""
    rows, columns = codes.numbers.shape
    count = -(-columns // block)
    shifted = codes.numbers.int() + (1 << (codes.bits - 1))
    whole = pad(shifted, (0, count * block - columns), value=1 << (codes.bits - 1))
    numbers = whole.reshape(rows, count, block)
    if codes.bits == 4:
        numbers = numbers[..., 0::2] | (numbers[..., 1::2] << 4)
    per_block = codes.scales.repeat_interleave(max(1, codes.span // block), 1)
    scales = per_block if codes.scales.shape[1] > 1 else codes.scales.expand(rows, count)
    return numbers.numpy().astype(np.uint8), scales[:, :count].contiguous().numpy()


def _put_weight(model: ir.Model, layer: str, weight: ir.Value, codes: Codes) -> None:
    """Let what reads a weight read its codes, dequantised."""
    piece = codes.piece
    shape = piece.weight_shape[::-1] if codes.turned else piece.weight_shape
    numbers, scales = codes.numbers, codes.scales
    whole_rows, turned = scales.shape[1] == 1, codes.turned or piece.transposed
    direct = whole_rows and not turned
    whole = _numbers(numbers.reshape(shape if direct else numbers.shape), codes.bits)
    given = [
        stored(model, f"{layer}.codes", whole),
        stored(model, f"{layer}.scale", (scales[:, 0] if whole_rows else scales).numpy()),
    ]
    attributes = {"axis": 0} if whole_rows else {"axis": 1, "block_size": codes.span}
    nodes = [ir.node("DequantizeLinear", given, attributes)]
    if turned:
        groups, rows, columns = piece.matrix_shape
        nodes += _reshaped(model, f"{layer}.groups", nodes[-1], (groups, rows, columns))
        nodes.append(ir.node("Transpose", nodes[-1].outputs, {"perm": [0, 2, 1]}))
    if not direct:
        nodes += _reshaped(model, f"{layer}.shape", nodes[-1], shape)
    model.graph.insert_before(model.graph[0], nodes)
    weight.replace_all_uses_with(nodes[-1].outputs[0])
    del model.graph.initializers[f"{layer}.weight"]


def _reshaped(model: ir.Model, name: str, node: ir.Node, shape: Sequence[int]) -> list[ir.Node]:
    sizes = stored(model, name, np.array(shape, dtype=np.int64))
    return [ir.node("Reshape", [node.outputs[0], sizes])]


def _numbers(numbers: Any, bits: int) -> Any:
    """Numbers in the dtype that takes the fewest bytes."""
    if bits == 8:
        return numbers.numpy()
    import ml_dtypes  # comes with onnx_ir

    return numbers.numpy().astype(ml_dtypes.int4)


def stored(model: ir.Model, name: str, array: Any) -> ir.Value:
    """An array as a new initialiser of the graph."""
    tensor = ir.Tensor(array, name=name)
    value = ir.Value(
        name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    model.graph.register_initializer(value)
    return value
