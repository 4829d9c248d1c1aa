"""Moments of rows that are taken jointly: those of the gradient that each example gives."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eckart import Embedding, Moments, calibrate
from eckart.errors import CheckpointError, MismatchError, NoGradientError
from eckart.linalg import quadratic_loss
from resealed import content_of, with_tensors
from tolerances import tolerance
from transformer_networks import bert, padded, token_ids

pytest.importorskip("transformers")
CLOSE = tolerance(torch.float32)
BATCHES = [
    padded([token_ids(1, n, seed=n)[0] for n in lengths])
    for lengths in ((5, 9, 3), (7, 7), (2, 11, 6, 4))
]


class Summed:
    """The sum of all outputs of an example, a scalar each: its gradient needs no random numbers."""

    joint = True

    def __call__(self, outputs: Any, batch: Any, generator: torch.Generator) -> Tensor:
        hidden = outputs if isinstance(outputs, Tensor) else outputs.last_hidden_state
        if isinstance(batch, dict):
            hidden = hidden * batch["attention_mask"][..., None]
        return hidden.pow(2).sum()


def gradients(model: nn.Module, name: str, batches: list[Any]) -> Iterator[Tensor]:
    """The gradient of a layer's weight by each example, alone and without padding."""
    weight = model.get_submodule(name).weight
    for batch in batches:
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
            alone = {"input_ids": ids[mask == 1][None]}
            value = Summed()(model(**alone), None, torch.Generator())
            yield torch.autograd.grad(value, weight)[0].double()


@pytest.mark.parametrize("name", ["attention.self.key", "intermediate.dense", "output.dense"])
def test_they_are_those_of_the_gradients_of_single_examples(name: str):
    model, layer = bert(), f"encoder.layer.0.{name}"
    moments = calibrate(model, BATCHES, metric=Summed())
    found = torch.stack(list(gradients(model, layer, BATCHES)))
    inner, outer = (found.mT @ found).sum(0), (found @ found.mT).sum(0)
    torch.testing.assert_close(moments.joint_grams[layer][0], inner, **CLOSE)
    torch.testing.assert_close(moments.output_grams[layer][0], outer, **CLOSE)
    assert moments.examples == len(found)


def test_the_loss_has_the_mean_of_what_it_predicts():
    """For changes without direction the prediction is exact: the trace is that of the gradients."""
    model, layer = bert(), "encoder.layer.1.output.dense"
    moments = calibrate(model, BATCHES, metric=Summed())
    a, g = moments.loss_a(layer), moments.g(layer)
    found = torch.stack(list(gradients(model, layer, BATCHES)))
    changes = torch.randn(4000, *found.shape[1:], dtype=torch.float64)
    exact = 0.5 * torch.einsum("coi,noi->cn", changes, found).square().mean()
    predicted = sum(quadratic_loss(change[None], a, g) for change in changes) / len(changes)
    assert predicted == pytest.approx(float(exact), rel=0.1)
    apart = calibrate(model, BATCHES, metric=lambda *given: Summed()(*given))
    missed = sum(quadratic_loss(c[None], apart.a(layer), apart.g(layer)) for c in changes)
    assert missed / len(changes) < 0.6 * exact


def test_only_the_metric_of_the_loss_changes():
    """Healing reads the moment of the inputs as they are."""
    model = bert()
    joint, apart = (calibrate(model, BATCHES, metric=Embedding(joint=j)) for j in (True, False))
    assert joint.joint_grams.keys() == joint.specs.keys()
    assert not apart.joint_grams
    for name in joint.specs:
        assert torch.equal(joint.a(name), apart.a(name))
        assert torch.equal(apart.loss_a(name), apart.a(name))
        torch.testing.assert_close(
            *(a.diagonal(dim1=1, dim2=2).sum() for a in (joint.loss_a(name), joint.a(name)))
        )
        one_row = name.endswith("token_type_embeddings")  # which is all that is looked up
        assert torch.allclose(joint.loss_a(name), joint.a(name), rtol=0.01) == one_row


def test_layers_whose_rows_are_of_no_example_are_taken_apart():
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.first = nn.Conv1d(3, 3, 1), nn.Linear(3, 4)
            self.second = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            rows = self.first(x.transpose(0, 1)).transpose(0, 1)
            return self.second(rows)

    moments = calibrate(Turned(), [torch.randn(5, 7, 3)], metric=Summed())
    assert moments.joint_grams.keys() == {"second"}
    assert moments.output_grams.keys() == {"first", "second"}


def test_a_layer_that_is_called_twice_goes_with_its_own_inputs():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = x.clone()
            first = self.layer(x)
            x += 1  # in place, after it was read
            return 3 * first + self.layer(x)

    class Total(Summed):
        def __call__(self, outputs: Any, batch: Any, generator: torch.Generator) -> Tensor:
            return outputs.sum()

    x = torch.randn(6, 5, 4)
    moments = calibrate(Twice(), [x], metric=Total())
    sums = torch.cat([3 * x.sum(1), (x + 1).sum(1)]).double()  # a row of the gradient, all equal
    ones = torch.ones(4, 4, dtype=torch.float64)
    torch.testing.assert_close(
        moments.output_grams["layer"][0], sums.square().sum() * ones, **CLOSE
    )
    torch.testing.assert_close(moments.joint_grams["layer"][0], 4 * sums.mT @ sums, **CLOSE)


def test_they_are_saved_and_added(tmp_path: Path):
    model = bert()
    whole = calibrate(model, BATCHES)
    start = calibrate(model, BATCHES[:1])
    both = start + calibrate(model, BATCHES[1:], first_batch=1)
    start.save(tmp_path / "file")
    loaded = Moments.load(tmp_path / "file")
    for name in whole.specs:
        torch.testing.assert_close(both.loss_a(name), whole.loss_a(name), **CLOSE)
        torch.testing.assert_close(both.g(name), whole.g(name), **CLOSE)
        assert torch.equal(loaded.loss_a(name), start.loss_a(name))
    assert (
        loaded.nbytes
        == start.nbytes
        > calibrate(model, BATCHES, metric=Embedding(joint=False)).nbytes
    )


def test_joint_and_apart_do_not_add_up():
    joint, apart = (calibrate(bert(), BATCHES, metric=m) for m in (Embedding(), Apart()))
    with pytest.raises(MismatchError, match="jointly and apart"):
        joint + apart


class Apart(Embedding):
    """Goes by the same name as the metric it differs from."""

    def __init__(self) -> None:
        super().__init__(joint=False)

    def __repr__(self) -> str:
        return repr(Embedding())


def test_sums_of_another_shape_are_refused(tmp_path: Path):
    path = tmp_path / "file"
    calibrate(bert(), BATCHES[:1]).save(path)
    name = next(key for key in content_of(path)[0] if key.startswith("joint/"))
    eye = torch.eye(3, dtype=torch.float64)[None]
    with_tensors(path, lambda tensors: {**tensors, name: eye})
    with pytest.raises(CheckpointError, match="do not fit its shapes"):
        Moments.load(path)


def test_a_workspace_gives_the_same_and_keeps_to_its_memory(tmp_path: Path):
    model = bert()
    whole = calibrate(model, BATCHES)
    widths = {spec.piece.moment_shape for spec in whole.specs.values()}
    most = 12 * max(4 * n * n + 3 * m * m for _, m, n in widths)
    parts = calibrate(model, BATCHES, workspace=tmp_path, memory_bytes=most)
    assert len(list(tmp_path.glob("moments-*"))) > 1
    for name in whole.specs:
        torch.testing.assert_close(parts.loss_a(name), whole.loss_a(name), **CLOSE)
        torch.testing.assert_close(parts.g(name), whole.g(name), **CLOSE)
    again = calibrate(model, BATCHES, workspace=tmp_path, memory_bytes=most)
    for moments in (parts, again):
        assert moments.specs.keys() == whole.specs.keys()
        assert moments.skipped == whole.skipped


def test_a_workspace_without_any_gradient_is_an_error(tmp_path: Path):
    pooler = {"layers": ["pooler.dense"], "workspace": tmp_path}
    for _ in range(2):
        with pytest.raises(NoGradientError, match="no gradient flows"):
            calibrate(bert(), BATCHES, **pooler)
