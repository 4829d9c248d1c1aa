"""Torch's own transformers: every layer of theirs takes part, and all paths agree."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eckart import calibrate, compress, load, merge, save
from eckart.layers import Factored
from tolerances import tolerance

WIDTH, SEQUENCES, TOKENS = 16, 6, 7
LENGTHS = torch.tensor([7, 4, 2, 5, 3, 6])
PADDING = torch.arange(TOKENS)[None] >= LENGTHS[:, None]


class Encoder(nn.Module):
    """Torch's encoder between two layers of ours."""

    def __init__(self, batch_first: bool, nested: bool = False, activation: Any = "relu") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.batch_first = batch_first
        self.first, self.last = nn.Linear(5, WIDTH), nn.Linear(WIDTH, 3)
        layer = nn.TransformerEncoderLayer(
            WIDTH, 2, 24, batch_first=batch_first, activation=activation
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that nested tensors need batch_first
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested)

    def forward(self, x: Tensor, src_key_padding_mask: Tensor | None = None) -> Tensor:
        x = x if self.batch_first else x.transpose(0, 1)
        x = self.last(self.encoder(self.first(x), src_key_padding_mask=src_key_padding_mask))
        return x if self.batch_first else x.transpose(0, 1)


def batch(masked: bool) -> dict[str, Tensor]:
    x = torch.randn(SEQUENCES, TOKENS, 5, generator=torch.Generator().manual_seed(1))
    return {"x": x, "src_key_padding_mask": PADDING} if masked else {"x": x}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("masked", [True, False], ids=["masked", "whole"])
@pytest.mark.parametrize(
    ("batch_first", "nested"), [(True, True), (True, False), (False, False)], ids=str
)
def test_all_paths_compute_the_same(batch_first: bool, nested: bool, masked: bool, tmp_path):
    """Fused or not, nested or not, the smaller network computes what its dense twin does."""
    model, given = Encoder(batch_first, nested).eval(), batch(masked)
    smaller = compress(model, [given], keep=0.7, of="sites", methods=["weighted_svd"])
    loaded = load(Encoder(batch_first, nested).eval(), _saved(smaller.model, tmp_path))
    dense = merge(smaller.model)
    for other, real in ((batch(True), ~PADDING), (batch(False), PADDING | ~PADDING)):
        plain = smaller.model(**other)  # gradients are wanted: no fused path
        for network in (smaller.model, loaded, dense):
            with torch.no_grad():
                found = network(**other)
            torch.testing.assert_close(found[real], plain[real], **tolerance(torch.float32))
    inside = ("self_attn.query", "self_attn.key", "self_attn.value", "self_attn.out")
    for name in (*inside, "linear1", "linear2"):
        assert f"encoder.layers.1.{name}" in smaller.moments.specs
    assert smaller.moments.skipped == {}
    assert isinstance(dense.encoder.layers[1].self_attn, nn.MultiheadAttention)


def _saved(model: nn.Module, folder: Any) -> Any:
    save(model, folder)
    return folder


def test_an_encoder_that_cannot_be_fused_is_compressed():
    model, given = Encoder(True, activation=torch.tanh).eval(), batch(True)
    smaller = compress(model, [given], keep=0.5, of="sites", methods=["weighted_svd"])
    assert any(type(m) is Factored for m in smaller.model.encoder.modules())
    with torch.no_grad():
        found = smaller.model(**given)
    torch.testing.assert_close(found, merge(smaller.model)(**given), rtol=1e-4, atol=1e-4)


def test_one_layer_of_an_encoder_changes_and_no_nested_tensor_meets_the_others():
    """The first block is not changed, and would hand nested tensors to the second."""
    model, given = Encoder(True, nested=True).eval(), batch(True)
    only = ["encoder.layers.1.linear1"]
    dense = [n for n in calibrate(model, [given]).specs if n not in only]
    smaller = compress(model, [given], keep=0.95, dense=dense, methods=["weighted_svd"])
    assert list(smaller.plan.choices) == only
    with torch.no_grad():
        found = smaller.model(**given)
    assert bool(found[~PADDING].isfinite().all())


def test_attention_with_hooks_of_its_own_is_left_alone():
    model, given = Encoder(True).eval(), batch(True)
    model.encoder.layers[0].self_attn.register_forward_hook(lambda *_: None)
    skipped = calibrate(model, [given]).skipped
    assert "multiplies with its weights itself" in skipped["encoder.layers.0.self_attn"]
    assert "reads its weight itself" in skipped["encoder.layers.0.linear1"]
    assert "encoder.layers.1.linear1" not in skipped


def test_cross_attention_of_other_widths():
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(WIDTH, 2, kdim=4, vdim=4, batch_first=True)
            self.last = nn.Linear(WIDTH, 3)

        def forward(self, x: Tensor, memory: Tensor) -> Tensor:
            return self.last(self.attention(x, memory, memory, need_weights=False)[0])

    inputs = {"x": torch.randn(3, 5, WIDTH), "memory": torch.randn(3, 5, 4)}
    moments = calibrate(Attending(), [inputs])
    layers = ("query", "key", "value", "out")
    assert set(moments.specs) == {"last", *(f"attention.{name}" for name in layers)}
    assert moments.specs["attention.value"].input == "attention.key"
    assert moments.a("attention.key").shape == (1, 4, 4)


def test_the_path_that_torch_takes_is_as_it_was():
    before = torch.backends.mha.get_fastpath_enabled()
    calibrate(Encoder(True).eval(), [batch(True)])
    assert torch.backends.mha.get_fastpath_enabled() is before
