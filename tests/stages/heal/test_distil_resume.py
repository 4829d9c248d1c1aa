"""A run that was stopped goes on from its file and ends as if it had not been stopped."""

import json
from itertools import count
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from eckart import heal
from eckart.errors import CheckpointError, InputError
from eckart.stages.heal import TREATMENTS
from eckart.stages.heal.distil import Distil
from eckart.stages.heal.distil.training import Recipe
from stages.heal.distilling import distance, labelled, shuffled, student_of, teacher_network

STEPS = 40


class Setting:
    """One student, one teacher and a shuffling loader; ``stop`` is the evaluation to stop in."""

    def __init__(self, folder: Path, treatment: str = "distil") -> None:
        torch.manual_seed(0)
        self.teacher = teacher_network()
        self.student = student_of(self.teacher)
        self.batches = labelled(self.teacher)
        self.folder, self.treatment = folder, treatment

    def run(self, stop: int | None = None, **changed):
        evaluate, calls = distance(self.teacher, self.batches), count(1)

        def stopping(model):
            if next(calls) == stop:
                raise KeyboardInterrupt
            return evaluate(model)

        settings = {"steps": STEPS, "checkpoint": self.folder, "evaluate": stopping, **changed}
        student, batches = settings.pop("student", self.student), shuffled(self.batches)
        return heal(student, self.teacher, batches, treatments=[self.treatment], **settings)

    @property
    def file(self) -> Path:
        return self.folder / f"{self.treatment}.safetensors"


@pytest.fixture
def setting(tmp_path):
    return Setting(tmp_path / "run")


def assert_same(left, right):
    for name, tensor in left.state_dict().items():
        assert torch.equal(right.state_dict()[name], tensor), name


@pytest.mark.parametrize("stops", [(3,), (2, 3, 4), (7,), (11,)])
def test_a_resumed_run_ends_the_same_to_the_bit(setting, tmp_path, stops):
    whole = Setting(tmp_path / "whole").run()
    for stop in stops:
        assert setting.run(stop).log[-1].note == "interrupted"
    resumed = setting.run()
    assert_same(whole.model, resumed.model)
    assert resumed.log[-1].note == whole.log[-1].note == f"step {STEPS} of {STEPS}"
    assert any(step.note.startswith("goes on from step") for step in resumed.log) == (stops[-1] > 2)


def test_a_run_that_is_over_is_only_looked_up(setting):
    first, again = setting.run(), setting.run()
    assert_same(first.model, again.model)
    assert [step.note for step in again.log][1:] == [
        f"goes on from step {STEPS}, read from {setting.file}",
        f"the best up to step {STEPS}",
    ]


def test_a_run_that_had_diverged_goes_on_at_its_smaller_rate(tmp_path, monkeypatch):
    bold = Distil("bold", recipe=Recipe(rate=10.0, warm_up=0.0))
    monkeypatch.setitem(TREATMENTS, "bold", bold)
    whole = Setting(tmp_path / "whole", "bold").run()
    assert any("diverged" in step.note for step in whole.log)
    parts = Setting(tmp_path / "parts", "bold")
    for stop in (4, 7):
        parts.run(stop)
    assert_same(whole.model, parts.run().model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": STEPS + 1}, f"a run with steps {STEPS}, and this one has {STEPS + 1}"),
        ({"seed": 1}, "a run with seed 0, and this one has 1"),
    ],
)
def test_another_run_is_refused(setting, change, message):
    setting.run(5)
    with pytest.raises(CheckpointError, match=message):
        setting.run(**change)


def test_another_network_is_refused(setting):
    setting.run(5)
    with pytest.raises(CheckpointError, match="started from another network"):
        setting.run(student=student_of(setting.teacher))


def rewritten(path: Path, change):
    """Write the file anew, its tensors and metadata changed."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = dict(file.metadata())
    change(tensors, metadata)
    save_file(tensors, path, metadata=metadata)


def position_with(**values):
    def change(tensors, metadata):
        metadata["position"] = json.dumps({**json.loads(metadata["position"]), **values})

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda t, m: t.pop("student/0.weight"),
        lambda t, m: t.update({"student/0.weight": torch.zeros(3)}),
        lambda t, m: t.update({"surplus": torch.zeros(3)}),
        lambda t, m: t.update({"average/0.bias": t["average/0.bias"] * float("nan")}),
        lambda t, m: t.update({"adam/0/step": torch.zeros(2)}),
        lambda t, m: t.update({"best/0.bias": torch.zeros(12, dtype=torch.int32)}),
        lambda t, m: m.pop("run"),
        lambda t, m: m.update(format="eckart.training/0"),
        lambda t, m: m.update(run="[1, 2]"),
        lambda t, m: m.update(position="{"),
        lambda t, m: m.update(position="[" * 10**5),
        position_with(step=STEPS + 1),
        position_with(step=-1),
        position_with(begun=1.5),
        position_with(begun=10**9),
        position_with(losses=["a", "b"]),
        position_with(last={"value": 1}),
        position_with(surplus=1),
    ],
)
def test_a_damaged_file_is_refused(setting, change):
    setting.run(5)
    rewritten(setting.file, change)
    with pytest.raises(CheckpointError, match=r"distil\.safetensors"):
        setting.run()


@pytest.mark.parametrize("content", [b"", b"no safetensors", b"\xff" * 100])
def test_what_is_no_file_of_ours_is_refused(setting, content):
    setting.folder.mkdir()
    setting.file.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot read"):
        setting.run()


def test_a_truncated_file_is_refused(setting):
    setting.run(5)
    setting.file.write_bytes(setting.file.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match="cannot read"):
        setting.run()


def test_the_folder_must_not_be_a_file(setting):
    setting.folder.write_text("")
    with pytest.raises(InputError, match="is a file; name a folder"):
        setting.run()


def test_nothing_but_the_file_stays_in_the_folder(setting):
    setting.run(6)
    assert [path.name for path in setting.folder.iterdir()] == ["distil.safetensors"]
