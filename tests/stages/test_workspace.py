"""A workspace: moments gathered part by part, what was decomposed, and how a run goes on in it."""

import json
import logging
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eckart import (
    Budget,
    CalibrationInterrupted,
    Moments,
    allocate,
    apply,
    calibrate,
    compress,
    curves,
)
from eckart.errors import CheckpointError, InputError, MismatchError
from eckart.stages.calibrate.in_parts import groups_within
from eckart.storage.workspace import StoredSums
from stages.networks import Attention, SmallCnn, mlp
from tolerances import tolerance

FEW = 4000  # bytes: some layers of the networks here at a time
ROWS = [torch.randn(n, 12, generator=torch.Generator().manual_seed(n)) for n in (4, 6, 3)]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "eckart")
    return caplog


def begun(log: pytest.LogCaptureFixture, what: str) -> list[str]:
    """What a run says it begins, and forgets it."""
    found = [r.getMessage() for r in log.records if r.getMessage().startswith(what)]
    log.clear()
    return found


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return mlp(12, 10, 14, 8, 4)


class Partial(nn.Module):
    """Its second layer is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(12, 9), nn.Linear(9, 9), nn.Linear(9, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.three(self.one(x).relu())


def images() -> list[Tensor]:
    return [torch.randn(n, 3, 9, 8) for n in (3, 2)]


CASES: dict[str, Any] = {
    "mlp": (network, lambda: ROWS),
    "cnn": (SmallCnn, images),
    "attention": (Attention, lambda: [torch.randn(2, 5, 6) for _ in range(3)]),
    "partial": (Partial, lambda: ROWS),
    "bfloat16": (lambda: network().bfloat16(), lambda: [x.bfloat16() for x in ROWS]),
}


@pytest.mark.parametrize("metric", [None, "logits", "fisher"])
@pytest.mark.parametrize("case", CASES)
def test_parts_give_what_one_pass_gives_to_the_bit(case: str, metric: Any, tmp_path: Path):
    make, data = CASES[case]
    model, batches = make(), data()
    largest = {"cnn": 40_000, "partial": 2800}.get(case, FEW)
    whole = calibrate(model, batches, metric=metric)
    parts = calibrate(model, batches, metric=metric, workspace=tmp_path, memory_bytes=largest)
    if case not in ("attention", "partial"):
        assert len(list(tmp_path.glob("moments-*"))) > 1
    assert parts.specs == whole.specs
    assert list(parts.specs) == list(whole.specs)
    assert (parts.skipped, parts.rows, parts.metric) == (whole.skipped, whole.rows, metric)
    assert (parts.digest, parts.nbytes) == (whole.digest, whole.nbytes)
    assert parts.model_costs == whole.model_costs
    for name in whole.specs:
        for of in (Moments.a, Moments.g, Moments.mean):
            assert torch.equal(of(parts, name), of(whole, name)), name
    again = Moments.load(tmp_path)
    assert again.digest == whole.digest
    assert torch.equal(again.example, whole.example)


def test_a_sum_is_read_when_asked_for_and_not_kept(tmp_path: Path):
    moments = calibrate(network(), ROWS, workspace=tmp_path)
    assert isinstance(moments.grams, StoredSums)
    (path,) = tmp_path.glob("moments-*")
    path.unlink()
    with pytest.raises(CheckpointError, match="moments-000"):
        moments.a("0")


def test_sums_in_memory_are_not_said_to_be_in_the_workspace(tmp_path: Path):
    moments = calibrate(network(), ROWS, workspace=tmp_path)
    assert moments.decompositions == tmp_path / "decompositions"
    assert (moments + moments).decompositions is None


def test_layers_that_read_one_tensor_stay_together():
    model = Attention(width=20)
    layers = {k: m for k, m in model.named_modules() if isinstance(m, nn.Linear)}
    batch = torch.randn(2, 5, 20)
    one = 12 * 20 * 20
    assert groups_within(model, layers, batch, one, None) == [["q", "k", "v"], ["out"]] or (
        groups_within(model, layers, batch, one, None) == [["k", "q", "v"], ["out"]]
    )
    assert len(groups_within(model, layers, batch, 2 * one, None)) == 1
    model.apart = True
    assert len(groups_within(model, layers, batch, one, None)) == 3


def test_no_part_takes_more_than_the_memory():
    model, shapes = network(), {"0": (12, 10), "2": (10, 14), "4": (14, 8), "6": (8, 4)}
    layers = {name: model.get_submodule(name) for name in shapes}
    for memory in (4100, 5000, 9000, 10**6):
        groups = groups_within(model, layers, ROWS[0], memory, "logits")
        assert [name for group in groups for name in group] == list(shapes)
        for group in groups:
            assert sum(12 * (i * i + o * o) for i, o in map(shapes.get, group)) <= memory


def test_a_memory_that_one_layer_exceeds_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"moments of 0 take 2928 bytes: give memory_bytes"):
        calibrate(network(), ROWS, workspace=tmp_path, memory_bytes=2000)
    finished = calibrate(network(), ROWS, workspace=tmp_path)
    assert len(finished.specs) == 4


def test_what_was_half_written_is_removed(tmp_path: Path):
    given: Any = {"keep": 0.6, "methods": ["weighted_svd"], "workspace": tmp_path}
    compress(network(), ROWS, **given)
    finished = {path for path in tmp_path.rglob("*") if path.is_file()}
    for folder in (tmp_path, tmp_path / "decompositions"):
        for name in (".workspace.json.eckart-0123abcd", ".a.safetensors.eckart-ffffffff"):
            (folder / name).write_bytes(b"half")
    compress(network(), ROWS, **given)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == finished


def test_more_memory_may_be_given_on_the_way(tmp_path: Path, log: pytest.LogCaptureFixture):
    calibrate(network(), ROWS, workspace=tmp_path, memory_bytes=4000, metric=None)
    last = sorted(tmp_path.glob("moments-*"))[-1]
    last.unlink()
    begun(log, "gathering")
    found = calibrate(network(), ROWS, workspace=tmp_path, metric=None)
    assert len(begun(log, "gathering")) == 1
    assert found.digest == calibrate(network(), ROWS, metric=None).digest


def test_what_is_finished_is_not_done_again(tmp_path: Path, log: pytest.LogCaptureFixture):
    given: Any = {"keep": 0.6, "methods": ["weighted_svd"], "workspace": tmp_path}
    first = compress(network(), ROWS, **given)
    assert begun(log, "decomposing")
    second = compress(network(), ROWS, **given)
    assert not [*begun(log, "gathering"), *begun(log, "decomposing")]
    assert first.plan == second.plan
    for one, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)
    compress(network(), ROWS, **{**given, "keep": 0.5})
    assert not begun(log, "decomposing"), "another budget needs no other decomposition"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", ["svd", "activation_svd", "weighted_svd"])
def test_remembered_factors_are_those_made_anew(dtype: torch.dtype, method: str, tmp_path: Path):
    model, batches = network().to(dtype), [x.to(dtype) for x in ROWS]
    moments = calibrate(model, batches)
    stored = calibrate(model, batches, workspace=tmp_path)
    options, remembered = (curves(model, m, methods=[method]) for m in (moments, stored))
    assert [c.options for c in remembered.curves] == [c.options for c in options.curves]
    plan = allocate(options, Budget(params=0.6))
    anew, smaller = apply(model, plan, moments), apply(model, plan, stored)
    for name, expected in anew.state_dict().items():
        torch.testing.assert_close(smaller.state_dict()[name], expected, **tolerance(dtype))


def test_other_damping_is_decomposed_anew(tmp_path: Path, log: pytest.LogCaptureFixture):
    model = network()
    moments = calibrate(model, ROWS, workspace=tmp_path)
    given: Any = {"methods": ["weighted_svd"]}
    with_less, with_more = (curves(model, moments, damping=d, **given) for d in (1e-6, 1e-2))
    assert len(begun(log, "decomposing")) == 8
    assert with_less.curves != with_more.curves


def test_networks_with_channels_to_remove_are_compressed_the_same(tmp_path: Path):
    model, batches = SmallCnn(), images()
    plain = compress(model, batches, keep=0.6)
    smaller = compress(model, batches, keep=0.6, workspace=tmp_path)
    assert {k: c.form for k, c in smaller.plan.choices.items()} == {
        k: c.form for k, c in plain.plan.choices.items()
    }
    for name, expected in plain.model.state_dict().items():
        found = smaller.model.state_dict()[name]
        torch.testing.assert_close(found, expected, **tolerance(torch.float32))


def shifted(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    return model


@pytest.mark.parametrize(
    ("word", "change"),
    [
        ("fingerprint", {"model": shifted(network())}),
        ("data", {"batches": ROWS[:2]}),
        ("data", {"batches": [ROWS[0], ROWS[1], ROWS[2] + 1e-3]}),
        ("data", {"batches": ROWS[::-1]}),
        ("metric", {"metric": None}),
        ("metric", {"metric": "fisher"}),
        ("seed", {"seed": 1}),
        ("first_batch", {"first_batch": 2}),
        ("layers", {"layers": ["0", "2"]}),
    ],
)
def test_a_workspace_of_something_else_is_refused(
    word: str, change: dict[str, Any], tmp_path: Path
):
    given = {"model": network(), "batches": ROWS, "workspace": tmp_path}
    calibrate(**given)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(MismatchError, match=rf"was begun with .*{word}"):
        calibrate(**{**given, **change})
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}


def test_batches_that_can_be_read_only_once_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="a generator can be read only once"):
        calibrate(network(), (x for x in ROWS), workspace=tmp_path)
    with pytest.raises(InputError, match="gave no batch"):
        calibrate(network(), [], workspace=tmp_path)


class Shuffled:
    """Gives the batches in another order each time, as a shuffling loader does."""

    def __init__(self) -> None:
        self.passes = 0

    def __iter__(self) -> Iterator[Tensor]:
        self.passes += 1
        return iter(ROWS[self.passes % 3 :] + ROWS[: self.passes % 3])


def test_a_shuffling_loader_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="other batches than the first time: turn shuffling"):
        calibrate(network(), Shuffled(), workspace=tmp_path)
    assert not list(tmp_path.glob("moments-*"))


def test_moments_are_not_given_with_a_workspace(tmp_path: Path):
    moments = calibrate(network(), ROWS)
    with pytest.raises(InputError, match="leave out metric, outputs, seed and workspace"):
        compress(network(), moments, keep=0.6, workspace=tmp_path)


TORN = [
    "",
    "[]",
    "{}",
    "\0",
    '{"format": "eckart.workspace/0"}',
    '{"format": "eckart.workspace/3"}',
]


@pytest.mark.parametrize("content", TORN)
def test_torn_settings_are_refused(content: str, tmp_path: Path):
    calibrate(network(), ROWS, workspace=tmp_path)
    (tmp_path / "workspace.json").write_text(content)
    for read in (Moments.load, lambda path: calibrate(network(), ROWS, workspace=path)):
        with pytest.raises(CheckpointError, match=r"workspace\.json"):
            read(tmp_path)
    (tmp_path / "workspace.json").unlink()
    with pytest.raises(CheckpointError, match=r"holds moments but no workspace\.json"):
        calibrate(network(), ROWS, workspace=tmp_path)


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.5, 0.99])
def test_a_torn_part_is_refused_and_can_be_made_again(fraction: float, tmp_path: Path):
    whole = calibrate(network(), ROWS, workspace=tmp_path, memory_bytes=4000).digest
    path = tmp_path / "moments-001.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(CheckpointError, match=r"moments-001\.safetensors"):
        calibrate(network(), ROWS, workspace=tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError, match="calibrate with it as workspace to go on"):
        Moments.load(tmp_path)
    assert calibrate(network(), ROWS, workspace=tmp_path).digest == whole


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.5, 0.99])
def test_a_torn_decomposition_is_refused(fraction: float, tmp_path: Path):
    given: Any = {"keep": 0.6, "methods": ["weighted_svd"], "workspace": tmp_path}
    plan = compress(network(), ROWS, **given).plan
    path = next((tmp_path / "decompositions").glob("2 *"))
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(CheckpointError, match=r"decompositions/2 .*delete it"):
        compress(network(), ROWS, **given)
    path.unlink()
    assert compress(network(), ROWS, **given).plan == plan


def test_a_decomposition_of_something_else_is_refused(tmp_path: Path):
    given: Any = {"keep": 0.6, "methods": ["weighted_svd"], "workspace": tmp_path}
    compress(network(), ROWS, **given)
    one, other = sorted((tmp_path / "decompositions").iterdir())[:2]
    one.write_bytes(other.read_bytes())
    with pytest.raises(CheckpointError, match=r"is not the state .*; delete it"):
        compress(network(), ROWS, **given)


@pytest.fixture
def small_disk() -> Iterator[Any]:
    """Files may not grow beyond so many bytes, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_loses_nothing(tmp_path: Path, small_disk: Any, log: pytest.LogCaptureFixture):
    torch.manual_seed(0)
    model, batches = mlp(12, 10, 60, 4), ROWS  # the part of the last layer is the largest
    given: Any = {"workspace": tmp_path, "metric": None, "memory_bytes": 12 * 60 * 60}
    small_disk(15_000)
    with pytest.raises(CheckpointError, match=r"cannot write .*moments-001.*free some space"):
        calibrate(model, batches, **given)
    assert [path.name for path in tmp_path.glob("moments-*")] == ["moments-000.safetensors"]
    small_disk(resource.RLIM_INFINITY)
    begun(log, "gathering")
    found = calibrate(model, batches, **given)
    assert begun(log, "gathering") == ["gathering moments-001.safetensors: 4"]
    assert found.digest == calibrate(model, batches, metric=None).digest


class Interrupting:
    """Ctrl-C is pressed while the second part is gathered."""

    def __init__(self) -> None:
        self.passes = 0

    def __iter__(self) -> Iterator[Tensor]:
        self.passes += 1
        for index, batch in enumerate(ROWS):
            if (self.passes, index) == (3, 1):  # the first pass is for the digest
                os.kill(os.getpid(), signal.SIGINT)
            yield batch


def test_control_c_keeps_the_finished_parts(tmp_path: Path, log: pytest.LogCaptureFixture):
    given: Any = {"workspace": tmp_path, "memory_bytes": 5000}
    with pytest.raises(
        CalibrationInterrupted, match=r"parts finished in .*: 1, and the same call goes on"
    ):
        calibrate(network(), Interrupting(), **given)
    assert len(begun(log, "gathering")) == 2
    found = calibrate(network(), ROWS, **given)
    assert begun(log, "gathering")[0].startswith("gathering moments-001")
    assert found.digest == calibrate(network(), ROWS).digest


def test_the_settings_are_plain_json(tmp_path: Path):
    calibrate(network(), ROWS, workspace=tmp_path / "new" / "folder")
    data = json.loads((tmp_path / "new" / "folder" / "workspace.json").read_text())
    assert data["format"] == "eckart.workspace/2"
    assert data["settings"]["layers"] == ["0", "2", "4", "6"]
