"""Metrics of language models and of embeddings: what they average to, and what they count."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from eckart import Embedding, NextToken, Similarity, calibrate
from eckart.errors import InputError
from eckart.metrics import fitting_metric, pooled, predicted_tokens
from random_moments import normal, seeded
from tolerances import tolerance
from transformer_networks import bart, bert, llama, padded, t5, token_ids

N, T, V = 2, 5, 7


def gradients(probe: Any, outputs: Tensor, batch: Any, seed: int = 0, **fields: Any) -> Tensor:
    """One gradient at the outputs for each sample, shape (samples, …)."""
    leaf = outputs.clone().requires_grad_()
    name = "logits" if isinstance(probe, NextToken) else "last_hidden_state"
    values = probe(SimpleNamespace(**{name: leaf}, **fields), batch, seeded(seed)).reshape(-1)
    return torch.stack([torch.autograd.grad(value, leaf, retain_graph=True)[0] for value in values])


def many_gradients(kind: Any, hidden: Tensor, batch: Any, **fields: Any) -> Tensor:
    """20,000 gradients at the outputs, of shape (20,000, …), taken 500 at a time."""
    probe = kind(samples=500, **fields)
    parts = [
        torch.autograd.functional.jacobian(
            lambda h, i=i: probe(h, batch, seeded(i)), hidden, vectorize=True
        )
        for i in range(40)
    ]
    return torch.cat(parts)


def test_true_tokens_give_the_gradient_of_the_summed_loss():
    logits, ids = normal(N, T, V, seed=0), torch.randint(V, (N, T), generator=seeded(1))
    (found,) = gradients(NextToken(), logits, {"input_ids": ids})
    error = logits.softmax(-1) - F.one_hot(ids.roll(-1, 1), V)
    error[:, -1] = 0
    torch.testing.assert_close(found, error, **tolerance(torch.float32))
    assert NextToken().count({"input_ids": ids}, logits) == N * (T - 1)


def test_sampled_tokens_average_to_the_softmax_fisher():
    logits, ids = normal(1, 2, V, seed=2), torch.zeros(4000, 2, dtype=torch.long)
    grads = gradients(NextToken("sampled", 2), logits.repeat(4000, 1, 1), {"input_ids": ids})
    assert grads.shape == (2, 4000, 2, V)
    assert torch.equal(grads[:, :, 1], torch.zeros(2, 4000, V, dtype=torch.float64))
    rows, chances = grads[:, :, 0].flatten(0, 1), logits[0, 0].softmax(-1)
    fisher = chances.diag() - chances.outer(chances)
    torch.testing.assert_close(rows.T @ rows / 8000, fisher, rtol=0, atol=5 / 8000**0.5)


def test_sampled_tokens_depend_on_the_seed_and_never_on_a_class_without_chance():
    logits, ids = normal(40, 30, V, seed=3), torch.zeros(40, 30, dtype=torch.long)
    logits[..., 3:] = -torch.inf
    probe, batch = NextToken("sampled"), {"input_ids": ids}
    first, again, other = (
        gradients(probe, logits.nan_to_num(neginf=-1e4), batch, s) for s in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(first[..., 3:], torch.zeros_like(first[..., 3:]))


@pytest.mark.parametrize(
    "batch",
    [
        {"input_ids": torch.arange(10).reshape(2, 5)},
        torch.arange(10).reshape(2, 5),
        (torch.arange(10).reshape(2, 5),),
        (torch.zeros(2, 5), torch.arange(10).reshape(2, 5)),
        {
            "input_ids": torch.zeros(2, 5, dtype=torch.long),
            "labels": torch.arange(10).reshape(2, 5),
        },
    ],
    ids=["ids", "tensor", "tuple", "pair", "labels"],
)
def test_targets_are_shifted_by_one(batch: Any):
    targets = predicted_tokens(torch.zeros(2, 5, 11), batch)
    assert targets.tolist() == [[1, 2, 3, 4, -100], [6, 7, 8, 9, -100]]


def test_nothing_is_predicted_from_or_at_padding():
    ids, mask = torch.arange(15).reshape(3, 5), torch.ones(3, 5)
    mask[0, 3:], mask[1, :2], mask[2, 2] = 0, 0, 0
    targets = predicted_tokens(torch.zeros(3, 5, 11), {"input_ids": ids, "attention_mask": mask})
    assert targets[0].tolist() == [1, 2, -100, -100, -100]
    assert targets[1].tolist() == [-100, -100, 8, 9, -100]
    assert targets[2].tolist() == [11, -100, -100, 14, -100]


def test_labels_of_an_encoder_with_a_decoder_are_not_shifted():
    outputs = SimpleNamespace(logits=torch.zeros(1, 3, 9), encoder_last_hidden_state=torch.zeros(1))
    labels = torch.tensor([[4, 5, -100]])
    batch = {"input_ids": torch.zeros(1, 8, dtype=torch.long), "labels": labels}
    assert torch.equal(predicted_tokens(outputs, batch), labels)
    with pytest.raises(InputError, match="pass labels="):
        predicted_tokens(outputs, {"input_ids": batch["input_ids"]})


@pytest.mark.parametrize(
    ("shape", "batch", "message"),
    [
        ((2, 5, 7), {"x": torch.zeros(2, 5)}, r"labels none"),
        ((2, 7), {"input_ids": torch.zeros(2, 5, dtype=torch.long)}, r"got logits \(2, 7\)"),
        ((2, 1, 7), {"input_ids": torch.zeros(2, 1, dtype=torch.long)}, "no token .* is predicted"),
        ((2, 5, 7), {"labels": torch.full((2, 5), -100)}, "no token .* is predicted"),
    ],
)
def test_what_predicts_no_token_is_refused(shape: tuple[int, ...], batch: Any, message: str):
    with pytest.raises(InputError, match=message):
        NextToken()(torch.zeros(shape), batch, seeded(0))


@pytest.mark.parametrize("arguments", [("true", 2), ("sampled", 0)])
def test_impossible_next_tokens_are_refused(arguments: tuple[Any, int]):
    with pytest.raises(InputError, match="NextToken"):
        NextToken(*arguments)


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_embedding_metric_is_gauss_newton(pooling: Any, normalised: bool):
    hidden = normal(1, 3, 4, seed=5)
    batch = {"attention_mask": torch.tensor([[1, 1, 0]])}
    many = {"attention_mask": batch["attention_mask"].repeat(10_000, 1)}
    probe = Embedding(pooling, normalised, samples=2)
    grads = gradients(probe, hidden.repeat(10_000, 1, 1), many).reshape(20_000, 12)
    jacobian = torch.autograd.functional.jacobian(
        lambda h: pooled(h, batch, pooling, normalised), hidden
    ).reshape(4, 12)
    wanted = jacobian.T @ jacobian
    atol = 0.05 * float(wanted.diagonal().max())
    torch.testing.assert_close(grads.T @ grads / 20_000, wanted, rtol=0, atol=atol)
    vector = hidden[0, :2].mean(0) if pooling == "mean" else hidden[0, 0]
    expected = F.normalize(vector, dim=0) if normalised else vector
    torch.testing.assert_close(pooled(hidden, batch, pooling, normalised)[0], expected)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_similarity_metric_is_gauss_newton(pooling: Any):
    """Of every example's similarities to the others, as they were; mean over those."""
    hidden, batch = normal(3, 2, 4, seed=6), {"attention_mask": torch.tensor([[1, 1], [1, 0]] * 2)}
    batch = {"attention_mask": batch["attention_mask"][:3]}
    others = pooled(hidden, batch, pooling)
    grads = many_gradients(Similarity, hidden, batch, pooling=pooling)
    jacobian = torch.autograd.functional.jacobian(
        lambda h: pooled(h, batch, pooling) @ others.mT, hidden
    )
    for i in range(3):
        rows = torch.stack([jacobian[i, j, i].flatten() for j in range(3) if j != i])
        mine = grads[:, i].flatten(1)
        atol = 0.05 * float((rows.T @ rows / 2).diagonal().max())
        torch.testing.assert_close(mine.T @ mine / len(mine), rows.T @ rows / 2, rtol=0, atol=atol)


def test_an_example_alone_is_compared_with_a_random_direction():
    """So that a loader of single sentences, or a last batch of one, is good for something."""
    hidden = normal(1, 3, 4, seed=7)
    grads, likes = (many_gradients(kind, hidden, {}).flatten(1) for kind in (Similarity, Embedding))
    one, other = (g.T @ g / len(g) for g in (grads, likes))
    torch.testing.assert_close(4 * one, other, rtol=0, atol=0.05 * float(other.diagonal().max()))


@pytest.mark.parametrize("count", [1, 5])
def test_the_change_of_similarities_is_what_the_metric_predicts(count: int):
    hidden = normal(count, 3, 4, seed=8)
    small = 1e-4 * normal(count, 3, 4, seed=9)
    probe, grads = Similarity(), many_gradients(Similarity, hidden, {})
    predicted = 0.5 * (grads * small).flatten(2).sum(2).square().mean(0).sum()
    found = probe.change(probe.observed(hidden + small, {}), hidden, {})
    assert found == pytest.approx(float(predicted), rel=0.1)


def test_what_holds_no_embedding_is_refused():
    for outputs in (torch.zeros(2, 3), SimpleNamespace(logits=torch.zeros(2, 3, 4))):
        with pytest.raises(InputError, match="last_hidden_state"):
            pooled(outputs, {})
    with pytest.raises(InputError, match="Embedding"):
        Embedding(samples=0)
    with pytest.raises(InputError, match=r"Similarity.*at least one sample"):
        Similarity(samples=0)


def test_samples_of_one_pass_are_those_of_many_passes():
    """The gram of several samples is the mean of their grams."""
    model, batch = llama(), {"input_ids": token_ids(3, 6)}

    def sampled(keep: slice) -> Any:
        def probe(outputs: Any, batch: Any, generator: torch.Generator) -> Tensor:
            v = torch.randn(3, *outputs.logits.shape, generator=generator)[keep]
            return (v * outputs.logits).flatten(1).sum(1)

        return probe

    together = calibrate(model, [batch], metric=sampled(slice(None)))
    apart = [calibrate(model, [batch], metric=sampled(slice(i, i + 1))) for i in range(3)]
    for name in together.specs:
        mean = sum(moments.g(name) for moments in apart) / 3
        torch.testing.assert_close(together.g(name), mean, **tolerance(torch.float32))


@pytest.mark.parametrize("shape", [(2, 2), (0,)])
def test_a_probe_gives_a_number_or_a_vector(shape: tuple[int, ...]):
    def probe(outputs: Any, batch: Any, generator: torch.Generator) -> Tensor:
        return outputs.logits.sum() * torch.ones(shape)

    with pytest.raises(InputError, match="one number or a vector"):
        calibrate(llama(), [{"input_ids": token_ids(3, 6)}], metric=probe)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("metric", [NextToken(), NextToken("sampled", 2)], ids=str)
def test_moments_of_a_half_precision_network_are_positive(dtype: torch.dtype, metric: NextToken):
    model = llama().to(dtype)
    moments = calibrate(model, [{"input_ids": token_ids(8, 30)}], metric=metric)
    for name in moments.specs:
        for moment in (moments.a(name), moments.g(name)):
            least, most = torch.linalg.eigvalsh(moment)[0][[0, -1]]
            assert least >= -1e-6 * most


def test_the_metric_that_fits_is_found_and_recorded():
    ids = padded([token_ids(6), token_ids(3)])
    labels = {"labels": token_ids(2, 4)}
    assert calibrate(llama(), [ids]).metric == "next_token"
    assert calibrate(bert(), [ids]).metric == "similarity"
    assert calibrate(t5(), [{**ids, **labels}]).metric == "logits"
    assert fitting_metric(torch.nn.Linear(2, 2), torch.zeros(2, 2), torch.zeros(2, 2)) == "outputs"
    with_patches = SimpleNamespace(logits=torch.zeros(2, 9, 40))
    assert fitting_metric(llama(), with_patches, {"input_ids": token_ids(2, 6)}) == "logits"
    assert fitting_metric(llama(), with_patches, {"input_ids": token_ids(2, 9)}) == "next_token"


@pytest.mark.parametrize("make", [t5, bart])
def test_encoders_with_a_decoder_take_next_tokens_when_asked(make: Any):
    batch = {**padded([token_ids(6), token_ids(3)]), "labels": token_ids(2, 4)}
    moments = calibrate(make(), [batch], metric="next_token")
    assert moments.outputs == 8
    assert all(float(moments.g(name).diagonal(dim1=1, dim2=2).sum()) > 0 for name in moments.specs)


def test_auto_of_a_single_output_is_the_logit_metric_to_the_bit():
    model, x = torch.nn.Sequential(torch.nn.Linear(4, 3)), normal(5, 4, seed=6).float()
    auto, logits = (calibrate(model, [x], metric=metric) for metric in ("auto", "logits"))
    assert (auto.metric, logits.metric) == ("outputs", "logits")
    assert torch.equal(auto.g("0"), logits.g("0"))
    assert auto.outputs == auto.examples == 5
