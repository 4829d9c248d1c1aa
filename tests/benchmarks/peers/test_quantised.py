"""ONNX Runtime's own static quantisation, beside which 8 bits are measured."""

from pathlib import Path

import pytest
import torch

from rounded_networks import images, settled_residual

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def test_sums_are_quantised_too(tmp_path: Path):
    from benchmarks.peers.quantised import OnnxSession, quantised

    network, x = settled_residual(), images(16)
    path = quantised(network, [(x, torch.zeros(16))], tmp_path)
    made = {out: node for node in onnx.load(path).graph.node for out in node.output}
    sums = [node for node in made.values() if node.op_type == "Add"]
    assert sums
    for node in sums:
        assert {made[name].op_type for name in node.input} == {"DequantizeLinear"}
    found, expected = OnnxSession(path)(x), network(x)
    assert (found - expected).square().mean() < 0.01 * expected.square().mean()
    assert OnnxSession(path).accuracy(x, found.argmax(1)) == 1.0
