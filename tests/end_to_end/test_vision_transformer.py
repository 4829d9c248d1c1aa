"""Torchvision's ViT, whose attention is torch's own, from calibration to ONNX."""

from pathlib import Path

import pytest
import torch
from torch import nn

from eckart import calibrate, compress, load, measure, merge, save
from eckart.layers import Factored
from tolerances import tolerance

CLOSE = tolerance(torch.float32)


def network() -> nn.Module:
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    made = models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=10)
    nn.init.normal_(made.heads.head.weight, std=0.1)  # it begins at zero
    return made.eval()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_it_goes_the_whole_way(tmp_path: Path):
    model, x = network(), torch.randn(12, 3, 32, 32)
    moments = calibrate(model, [x])
    inside = ("query", "key", "value", "out")
    names = {f"encoder.layers.encoder_layer_1.self_attention.{name}" for name in inside}
    assert names <= moments.specs.keys()
    share = (
        sum(spec.piece.params for spec in moments.specs.values()) / moments.model_costs["params"]
    )
    assert share > 0.95
    smaller = compress(model, moments, keep=0.6, methods=["weighted_svd"])
    assert any(type(smaller.model.get_submodule(name)) is Factored for name in names)
    found = measure(smaller.model, x, latency=False)
    assert (found.params, found.macs) == (smaller.plan.costs["params"], smaller.plan.costs["macs"])
    save(smaller.model, tmp_path)
    loaded = load(network(), tmp_path)
    assert torch.equal(loaded(x), smaller.model(x))
    torch.testing.assert_close(merge(loaded)(x), loaded(x), **CLOSE)
    torch.testing.assert_close(_in_onnx(loaded, x, tmp_path / "vit.onnx"), loaded(x), **CLOSE)


@torch.no_grad()
def _in_onnx(model: nn.Module, x: torch.Tensor, path: Path) -> torch.Tensor:
    """The outputs of the exported network, by ONNX Runtime."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.onnx.export(model, (x,), path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    return torch.from_numpy(output)
