"""Files with other content than was written are refused, whatever was changed in them."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eckart import Moments, calibrate, compress, load, save
from eckart.errors import CheckpointError
from eckart.storage import tensors as storage_tensors
from eckart.storage.header import Header, encoded, header_for
from eckart.storage.tensors import opened_tensors, read_tensors, write_tensors
from resealed import weights_in, with_structure

ROWS = [torch.randn(40, 10, generator=torch.Generator().manual_seed(0))]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, 12), nn.ReLU(), nn.Linear(12, 12), nn.Linear(12, 4))


def place_of(path: Path, name: str) -> tuple[int, int]:
    """Where in a file the bytes of a tensor are."""
    with opened_tensors(path) as file:
        entry = file.header.entries[name]
        return file.header.start + entry.begin, file.header.start + entry.end


def flipped(path: Path, name: str) -> None:
    """Change the last bit of the mantissa of a tensor's first entry."""
    content, (begin, _) = bytearray(path.read_bytes()), place_of(path, name)
    content[begin] ^= 1
    path.write_bytes(content)


def swapped(path: Path, one: str, other: str) -> None:
    content = path.read_bytes()
    (a, b), (c, d) = sorted([place_of(path, one), place_of(path, other)])
    path.write_bytes(content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:])


def test_networks(tmp_path: Path):
    for damage, name in (
        (lambda path: flipped(path, "2.weight"), "2.weight"),
        (lambda path: swapped(path, "0.bias", "2.bias"), "0.bias|2.bias"),
    ):
        save(network(), tmp_path)
        damage(weights_in(tmp_path))
        with pytest.raises(CheckpointError, match=rf"the numbers of '({name})' are not those"):
            load(network(), tmp_path)


def test_moments_and_parts_of_them(tmp_path: Path):
    calibrate(network(), ROWS).save(tmp_path / "moments")
    flipped(tmp_path / "moments", "output/2")
    with pytest.raises(CheckpointError, match="the numbers of 'output/2' are not those"):
        Moments.load(tmp_path / "moments")
    calibrate(network(), ROWS, workspace=tmp_path / "work", memory_bytes=5000)
    parts = sorted((tmp_path / "work").glob("moments-*"))
    assert len(parts) > 1
    moments = Moments.load(tmp_path / "work")
    flipped(parts[-1], "gram/3")  # what stays on disk is checked whenever it is read
    moments.a("0")
    with pytest.raises(CheckpointError, match="'gram/3' are not those that were written; delete"):
        moments.a("3")


def test_decompositions(tmp_path: Path):
    given: Any = {"keep": 0.6, "methods": ["weighted_svd"], "workspace": tmp_path}
    compress(network(), ROWS, **given)
    path = sorted((tmp_path / "decompositions").iterdir())[0]
    with opened_tensors(path) as file:
        names = list(file.header.entries)
    for name in names:
        flipped(path, name)
    with pytest.raises(CheckpointError, match=r"are not those that were written; delete it"):
        compress(network(), ROWS, **given)


TENSORS = {"one": torch.arange(6.0).reshape(2, 3), "two": -torch.arange(6.0).reshape(2, 3)}


def content(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with opened_tensors(path) as file:
        return {n: file.read(n) for n in file.header.entries}, dict(file.header.metadata)


def test_any_byte_that_is_changed_removed_or_added_is_noticed(tmp_path: Path):
    """Every byte of a small file; what reads must be what was written."""
    path, rng = tmp_path / "file", random.Random(0)
    write_tensors(path, TENSORS, {"format": "x", "note": "a"})
    whole = path.read_bytes()
    accepted = 0
    for at in range(0, len(whole), 2):
        other = bytes([whole[at] ^ 1 << rng.randrange(8)])
        for damaged in (
            whole[:at] + other + whole[at + 1 :],
            whole[:at] + whole[at + 1 :],
            whole[:at] + other + whole[at:],
            whole[:at],
        ):
            path.write_bytes(damaged)
            try:
                tensors, metadata = content(path)
            except CheckpointError:
                continue
            accepted += 1
            assert metadata == {"format": "x", "note": "a"}
            assert tensors.keys() == TENSORS.keys()
            assert all(torch.equal(tensors[name], TENSORS[name]) for name in tensors)
    assert accepted < 20  # spaces at the header's end


HOSTILE: dict[str, Callable[[Header], dict[str, Any]]] = {
    "vast": lambda h: {"one": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 24]}},
    "vast and empty": lambda h: {
        "one": {"dtype": "F32", "shape": [2**62, 2**62, 0], "data_offsets": [0, 0]},
        "two": {"dtype": "F32", "shape": [2, 6], "data_offsets": [0, 48]},
    },
    "beyond": lambda h: {"two": {"dtype": "F32", "shape": [6], "data_offsets": [48, 72]}},
    "overlapping": lambda h: {"two": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}},
    "negative": lambda h: {"one": {"dtype": "F32", "shape": [-6], "data_offsets": [24, 0]}},
    "of fractions": lambda h: {"one": {"dtype": "F32", "shape": [6.0], "data_offsets": [0, 24]}},
    "true": lambda h: {"one": {"dtype": "F32", "shape": [True, 6], "data_offsets": [0, 24]}},
    "of text": lambda h: {"one": {"dtype": "F32", "shape": "6", "data_offsets": [0, 24]}},
    "of no dtype": lambda h: {"one": {"dtype": "F33", "shape": [6], "data_offsets": [0, 24]}},
    "of many axes": lambda h: {"one": {"dtype": "F32", "shape": [1] * 99, "data_offsets": [0, 4]}},
    "a list": lambda h: {"one": []},
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_headers_that_do_not_fit_their_file_are_refused(tmp_path: Path, change: Any):
    header = header_for(TENSORS, {})
    described = json.loads(encoded(header)[8:])
    text = json.dumps({**described, **change(header)}).encode()
    path = tmp_path / "file"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(48))
    with pytest.raises(CheckpointError, match=r"cannot read .*file: its header"):
        content(path)


@pytest.mark.parametrize(
    "start", [b"", b"\0" * 8, b"\xff" * 8, (2**40).to_bytes(8, "little"), b"\2" + b"\0" * 7 + b"[]"]
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, start: bytes):
    path = tmp_path / "file"
    path.write_bytes(start)
    with pytest.raises(CheckpointError, match=r"cannot read .*file: "):
        content(path)
    with path.open("ab") as file:
        file.truncate(2**41)  # a hole that takes no room: its size alone proves nothing
    with pytest.raises(CheckpointError, match=r"cannot read .*file: "):
        content(path)


def test_the_structure_has_a_digest_too(tmp_path: Path):
    save(network(), tmp_path)
    path = tmp_path / "eckart.json"
    text = path.read_text()
    for old, new in (('"inputs": 12', '"inputs": 13'), ('"digest"', '"digests"')):
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(CheckpointError, match="its content does not match its digest"):
            load(network(), tmp_path)
    path.write_text(text)
    with_structure(tmp_path, lambda structure: structure)
    load(network(), tmp_path)


def test_the_header_of_each_part_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calibrate(network(), ROWS, workspace=tmp_path, memory_bytes=5000)
    headers, read_header = [], storage_tensors.read_header

    def counted(*arguments: Any) -> Any:
        headers.append(arguments)
        return read_header(*arguments)

    monkeypatch.setattr(storage_tensors, "read_header", counted)
    moments = Moments.load(tmp_path)
    assert moments.nbytes > 0
    assert len(moments.digest) == 16
    for name in moments.specs:
        assert moments.a(name).shape == moments.loss_a(name).shape
    assert len(headers) == len(list(tmp_path.glob("moments-*"))) == 3


def test_one_tensor_is_read_without_the_others(tmp_path: Path):
    write_tensors(tmp_path / "file", TENSORS, {})
    flipped(tmp_path / "file", "one")
    (two,) = read_tensors(tmp_path / "file", ["two"])
    assert torch.equal(two, TENSORS["two"])
    with pytest.raises(CheckpointError, match="'one' are not those that were written; delete it"):
        read_tensors(tmp_path / "file", ["two", "one"])
    with pytest.raises(CheckpointError, match="holds no tensor 'three'"):
        read_tensors(tmp_path / "file", ["three"])
