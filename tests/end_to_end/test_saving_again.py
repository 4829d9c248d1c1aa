"""Saving over a folder: the old network or the new one is there, whatever happens on the way."""

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from eckart import factorize, load, load_pretrained, save
from eckart.errors import CheckpointError, WriteError
from eckart.storage import writing
from resealed import weights_in
from transformer_networks import llama, token_ids


def plain(seed: int, width: int = 200) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))


def of_whom(folder: Path, networks: dict[str, nn.Module], fresh: Callable[[], nn.Module]) -> str:
    """The one of these networks that a folder holds, by every number."""
    state = load(fresh(), folder).state_dict()
    (name,) = (
        name
        for name, network in networks.items()
        if state.keys() == network.state_dict().keys()
        and all(torch.equal(state[key], t) for key, t in network.state_dict().items())
    )
    return name


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_after_a_kill_at_any_moment_it_loads_as_one_of_the_two(tmp_path: Path):
    """A child saves a dense and a factored network in turn, again and again, until it dies."""
    networks = {"dense": plain(0), "factored": factorize(plain(1), rank=40)}
    save(networks["dense"], tmp_path)
    found, left = set(), set()
    for round_ in range(100):  # on a busy machine the first kills come before the first save
        child = os.fork()
        if child == 0:
            for _ in range(1000):
                save(networks["factored"], tmp_path)
                save(networks["dense"], tmp_path)
            os._exit(0)
        signal.sigtimedwait([], 0.02 + 0.0061 * round_)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found.add(of_whom(tmp_path, networks, lambda: plain(2)))
        left |= files(tmp_path)
        if round_ >= 9 and len(found) == 2 and len(left) > 3:
            break
    assert found == {"dense", "factored"}
    assert len(left) > 3  # some kills came in the middle
    save(networks["dense"], tmp_path)
    assert files(tmp_path) == {"eckart.json", weights_in(tmp_path).name}


STEPS = ["replace", "fsync"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", range(4))
def test_an_error_at_any_step_leaves_one_of_the_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException, at: int
):
    networks: dict[str, nn.Module] = {"old": plain(0), "new": plain(1)}
    save(networks["old"], tmp_path)
    before, real, calls = files(tmp_path), getattr(os, step), []

    def fails(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == at + 1:
            raise error
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(writing.os, step, fails)
        expected: Any = WriteError if isinstance(error, OSError) else KeyboardInterrupt
        try:
            save(networks["new"], tmp_path)
        except expected:
            assert of_whom(tmp_path, networks, lambda: plain(2)) == "old" or at
        else:
            assert of_whom(tmp_path, networks, lambda: plain(2)) == "new"
    if of_whom(tmp_path, networks, lambda: plain(2)) == "old":
        assert files(tmp_path) == before
    save(networks["new"], tmp_path)
    assert of_whom(tmp_path, networks, lambda: plain(2)) == "new"
    assert len(files(tmp_path)) == 2


def test_a_full_disk_leaves_the_old_network(tmp_path: Path):
    save(plain(0), tmp_path)
    before = files(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(WriteError, match="free some space"):
            save(plain(1), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(tmp_path) == before
    assert of_whom(tmp_path, {"old": plain(0)}, lambda: plain(2)) == "old"


@pytest.mark.parametrize("name", ["eckart.json", "eckart.json/", "."])
def test_what_is_no_place_for_a_network_is_refused(tmp_path: Path, name: str):
    """A folder or a pipe has the name of the structure, or a file that of the folder."""
    folder = tmp_path / "folder"
    if name == ".":
        folder.write_bytes(b"a file")
    else:
        folder.mkdir()
        (folder / "eckart.json").mkdir() if name.endswith("/") else os.mkfifo(folder / name)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(WriteError, match="cannot write"):
        save(plain(0), folder)
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(CheckpointError, match="cannot read"):
        load(plain(0), folder)


def test_links_and_modes_stay(tmp_path: Path):
    real, folder = tmp_path / "real", tmp_path / "folder"
    for path in (real, folder):
        path.mkdir()
    (folder / "eckart.json").symlink_to("../real/structure")
    (real / "elsewhere").mkdir()
    (folder / "model.safetensors").symlink_to("../real/elsewhere")
    save(plain(0), folder)
    (real / "structure").chmod(0o600)
    save(plain(1), folder)
    assert (folder / "eckart.json").is_symlink()
    assert (real / "structure").stat().st_mode & 0o777 == 0o600
    assert list((real / "elsewhere").iterdir()) == []
    assert of_whom(folder, {"new": plain(1)}, lambda: plain(2)) == "new"


def test_two_processes_that_save_at_once_leave_one_of_the_networks(tmp_path: Path):
    networks: dict[str, nn.Module] = {str(seed): plain(seed, width=50) for seed in range(3)}
    children = []
    for network in networks.values():
        child = os.fork()
        if child == 0:
            for _ in range(10):
                save(network, tmp_path)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert of_whom(tmp_path, networks, lambda: plain(5, width=50)) in networks
    assert len(files(tmp_path)) == 2


def test_a_model_of_transformers_is_never_mixed(tmp_path: Path):
    """Dense and factored in turn: plain transformers reads the dense one, or finds no weights."""
    transformers = pytest.importorskip("transformers")
    networks = {"dense": llama(), "factored": factorize(llama(), rank=6)}
    ids = token_ids(1, 5)
    for name in ("dense", "factored", "dense"):
        save(networks[name], tmp_path)
        expected = networks[name](ids).logits
        assert torch.equal(load_pretrained(tmp_path)(ids).logits, expected)
        if name == "dense":
            read = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
            assert torch.equal(read(ids).logits, expected)
        else:
            with pytest.raises(OSError, match="no file named"):
                transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
