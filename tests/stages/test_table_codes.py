"""Tables kept in codes, of which only the rows that are looked up are made."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from eckart import Budget, Moments, calibrate, compress, export, load, merge, save
from eckart.layers import Factored, FewBits
from eckart.linalg import quadratic_loss
from eckart.methods import Problem, problem_of
from eckart.methods.rounding import Rounding, whole_in_codes
from tolerances import tolerance

ROWS, WIDTH = 300, 72


class Words(nn.Module):
    """The mean of some words."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(ROWS, width, padding_idx=0), nn.Linear(width, 5)

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(torch.tanh(self.words(ids)).sum(1))


IDS = [
    (torch.rand(32, 9, generator=torch.Generator().manual_seed(s)) ** 3 * ROWS).long()
    for s in range(3)
]


@pytest.fixture(scope="module")
def calibrated() -> tuple[Words, Moments]:
    torch.manual_seed(0)
    network = Words()
    with torch.no_grad():
        network.words.weight *= torch.linspace(0.2, 2, ROWS)[:, None]
    return network, calibrate(network, IDS)


@pytest.fixture
def problem(calibrated: tuple[Words, Moments]) -> Problem:
    network, moments = calibrated
    return problem_of(network.words, "words", moments)


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("span", [0, 64])
def test_losses_are_those_of_what_is_built(problem: Problem, bits: int, span: int):
    state = Rounding().prepare(problem)
    (form,) = [
        f
        for f, _ in Rounding().losses(state)
        if (f.pieces[0].bits, f.pieces[0].span) == (bits, span)
    ]
    predicted, found = dict(Rounding().losses(state))[form], whole_in_codes(problem, form)
    assert found.expected == pytest.approx(predicted)
    lost = problem.table.rows.double() - found.weights[0].weight[0].double()
    frequencies = problem.table.frequencies
    exact = quadratic_loss(lost.T[None], frequencies.diag()[None], problem.g)
    assert found.loss == pytest.approx(exact, rel=1e-6)
    assert found.loss == pytest.approx(predicted, rel=0.25 if bits > 3 else 0.5)
    to_nearest = lost.square().sum()
    assert found.weights[0].codes.shape == (1, ROWS, WIDTH)
    assert to_nearest < problem.table.rows.double().square().sum()


def test_frequencies_are_those_of_the_data_and_none_is_zero(problem: Problem):
    counts = torch.cat(IDS).flatten().bincount(minlength=ROWS).double()
    expected = counts / counts.sum() + 0.01 / ROWS
    torch.testing.assert_close(problem.table.frequencies, expected)


def test_only_the_rows_looked_up_are_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    network = Words()
    found = compress(network, IDS, budget=Budget(bytes=0.2), latency=False)
    table = found.model.words[0]
    assert type(found.model.words) is Factored
    assert type(table) is FewBits
    expected = table.weight[IDS[0]]
    monkeypatch.setattr(FewBits, "weight", property(lambda self: 1 / 0))
    assert torch.equal(found.model.words(IDS[0]), expected)
    monkeypatch.undo()
    save(found.model, tmp_path)
    again = load(Words(), tmp_path)
    assert torch.equal(again(IDS[1]), found.model(IDS[1]))
    once = load(Words(), tmp_path, dequantize=True)
    assert type(once.words) is nn.Embedding
    assert once.words.padding_idx == 0
    assert torch.equal(once(IDS[1]), found.model(IDS[1]))
    assert torch.equal(merge(again).words.weight, once.words.weight)


def test_rows_that_do_not_begin_at_whole_bytes_keep_their_numbers():
    network = Words(10)
    moments = calibrate(network, IDS)
    state = Rounding().prepare(problem_of(network.words, "words", moments))
    assert Rounding().losses(state) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_they_go_to_other_runtimes(tmp_path: Path):
    onnxruntime = pytest.importorskip("onnxruntime")
    found = compress(Words(), IDS, budget=Budget(bytes=0.2), latency=False).model.eval()
    assert type(found.words[0]) is FewBits
    export(found, tmp_path / "network.onnx", IDS[0])
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    (output,) = session.run(None, {session.get_inputs()[0].name: IDS[1].numpy()})
    torch.testing.assert_close(torch.from_numpy(output), found(IDS[1]), **tolerance(torch.float32))
