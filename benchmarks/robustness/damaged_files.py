"""The files that are damaged: how each is written, loaded, compared and used."""

import copy
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import nn

import eckart
from benchmarks.robustness.damaged_tensors import (
    content_of,
    forged,
    with_header_changed,
    with_numbers_traded,
)
from benchmarks.robustness.killed_work import (
    Subject,
    same_moments,
    same_network,
    same_tensors,
)
from benchmarks.robustness.mutations import as_text, rewritten
from eckart import Frontier, Moments, Plan
from eckart.errors import EckartError
from eckart.network.plan_attribute import plan_of
from eckart.stages.heal.distil import resume
from eckart.stages.heal.distil.training import Recipe, Training, sizes_of, weights
from eckart.storage.documents import parsed, sealed

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class FileKind:
    """One kind of file, in the folder that it belongs to.

    Attributes:
        name: in the results.
        files: the folder as eckart wrote it, by path.
        target: the one that is damaged.
        load: reads the folder, all of it.
        same: whether what was read is what was written.
        use: what people do next with what was read.
        restructured: changes the structure, not the digests.
        forge: changes to the folder by somebody who knows the digests.
    """

    name: str
    files: Files
    target: str
    load: Callable[[Path], Any]
    same: Callable[[Any], bool]
    use: Callable[[Any], object]
    restructured: Callable[[bytes, Random], bytes]
    forge: Callable[[Random], Files]


def all_kinds(subject: Subject) -> list[FileKind]:
    """Everything that eckart reads back."""
    return [
        *network(subject),
        moments(subject),
        *workspace(subject),
        plan(subject),
        frontier(subject),
        healing(subject),
    ]


def written_by(write: Callable[[Path], object]) -> Files:
    """The folder that a function writes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        paths = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def restructured_json(data: bytes, chance: Random) -> bytes:
    """JSON with one thing changed, its digest as it was."""
    return as_text(rewritten(json.loads(data), chance), chance)


def restructured_tensors(data: bytes, chance: Random) -> bytes:
    """A file of tensors with its header changed, or two tensors traded."""
    change = with_header_changed if chance.random() < 0.7 else with_numbers_traded
    return change(data, chance)


def forged_json(data: bytes, chance: Random) -> bytes:
    """JSON with one thing changed and the digest of that."""
    content = json.loads(data)
    content.pop("digest", None)
    text = as_text(rewritten(content, chance), chance)
    try:
        return json.dumps(sealed(parsed(text))).encode()
    except (EckartError, TypeError, ValueError, RecursionError):
        return text


def of_json(kind: FileKind) -> FileKind:
    """A kind whose target is JSON."""

    def forge(chance: Random) -> Files:
        return {kind.target: forged_json(kind.files[kind.target], chance)}

    return replace(kind, restructured=restructured_json, forge=forge)


def of_tensors(kind: FileKind) -> FileKind:
    """A kind whose target is a file of tensors."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "file"
        path.write_bytes(kind.files[kind.target])
        tensors, metadata = content_of(path)

    def forge(chance: Random) -> Files:
        return {kind.target: forged(tensors, metadata, chance)[0]}

    return replace(kind, restructured=restructured_tensors, forge=forge)


def network(subject: Subject) -> list[FileKind]:
    """A saved network: its structure, and its weights."""
    files = written_by(lambda folder: eckart.save(subject.smaller, folder))
    (weights_name,) = (name for name in files if name.endswith(".safetensors"))

    def load(folder: Path) -> nn.Module:
        return eckart.load(copy.deepcopy(subject.model), folder)

    def use(model: nn.Module) -> None:
        str(plan_of(model))
        with torch.no_grad():
            model(subject.batches[0])

    kind = FileKind(
        "network, structure", files, "eckart.json", load,
        lambda model: same_network(model, subject.smaller), use,
        restructured_json, lambda chance: files,
    )  # fmt: skip
    weighty = of_tensors(replace(kind, name="network, weights", target=weights_name))

    def forge(chance: Random) -> Files:
        """Weights of another content have another name, which the structure says."""
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "file"
            path.write_bytes(files[weights_name])
            data, header = forged(*content_of(path), chance)
        structure = json.loads(files["eckart.json"])
        del structure["digest"]
        renamed = f"weights-{header.digest[:16]}.safetensors"
        structure["weights"] = {"file": renamed, "digest": header.digest}
        return {renamed: data, "eckart.json": json.dumps(sealed(structure)).encode()}

    return [of_json(kind), replace(weighty, forge=forge)]


def moments(subject: Subject) -> FileKind:
    """A file of moments."""
    files = written_by(lambda folder: subject.moments.save(folder / "moments"))
    same = partial(same_moments, subject.moments)
    kind = FileKind(
        "moments", files, "moments", lambda folder: Moments.load(folder / "moments"),
        same, partial(used_moments, subject), restructured_tensors, lambda chance: files,
    )  # fmt: skip
    return of_tensors(kind)


def used_moments(subject: Subject, found: Moments) -> None:
    """Print, and predict."""
    str(found)
    for name in found.specs:
        found.loss_a(name), found.g(name), found.mean(name)
    refused(lambda: eckart.curves(subject.model, found, methods=["svd"], progress=False))


def workspace(subject: Subject) -> list[FileKind]:
    """A workspace: what it is of, a part of its moments, a decomposition."""
    model = nn.Sequential(nn.Linear(24, 12)).eval()
    batches = subject.batches[:1]

    def write(folder: Path) -> None:
        found = eckart.calibrate(model, batches, workspace=folder, progress=False)
        found_curves = eckart.curves(model, found, methods=["weighted_svd"], progress=False)
        plan = eckart.allocate(found_curves, eckart.Budget(params=0.7))
        eckart.apply(model, plan, found)

    def smaller(found: Moments) -> nn.Module:
        options = eckart.curves(model, found, methods=["weighted_svd"], progress=False)
        return eckart.apply(model, eckart.allocate(options, eckart.Budget(params=0.7)), found)

    files = written_by(write)
    (shard,) = (name for name in files if name.startswith("moments-"))
    made = next(name for name in files if name.startswith("decompositions"))
    whole = eckart.calibrate(model, batches, progress=False)
    with tempfile.TemporaryDirectory() as name:
        for path, data in files.items():
            (Path(name) / path).parent.mkdir(exist_ok=True)
            (Path(name) / path).write_bytes(data)
        expected = smaller(Moments.load(name))
    kind = FileKind(
        "workspace, settings", files, "workspace.json", Moments.load,
        partial(same_moments, whole), lambda found: refused(partial(smaller, found)),
        restructured_json, lambda chance: files,
    )  # fmt: skip
    decomposition = replace(
        kind,
        name="workspace, decomposition",
        target=made,
        load=lambda folder: smaller(Moments.load(folder)),
        same=lambda found: same_tensors(found.state_dict(), expected.state_dict()),
        use=lambda found: found(batches[0]),
    )
    part = replace(kind, name="workspace, moments", target=shard)
    return [of_json(kind), of_tensors(part), of_tensors(decomposition)]


def plan(subject: Subject) -> FileKind:
    """The text of a plan."""
    made = plan_of(subject.smaller)
    if made is None:
        raise RuntimeError("the smaller network carries no plan")
    files = {"plan.json": made.dumps().encode()}

    def use(found: Plan) -> None:
        str(found)
        refused(lambda: eckart.apply(subject.model, found, subject.moments))

    kind = FileKind(
        "plan", files, "plan.json", lambda folder: Plan.loads((folder / "plan.json").read_bytes()),
        lambda found: found == made, use, restructured_json, lambda chance: files,
    )  # fmt: skip
    return of_json(kind)


def frontier(subject: Subject) -> FileKind:
    """The file of a frontier."""
    made = subject.frontier(None, (0.8, 0.5))
    files = written_by(lambda folder: made.save(folder / "frontier.json"))
    kind = FileKind(
        "frontier", files, "frontier.json", lambda folder: Frontier.load(folder / "frontier.json"),
        lambda found: found == made, lambda found: (str(found), found.as_json()),
        restructured_json, lambda chance: files,
    )  # fmt: skip
    return of_json(kind)


def healing(subject: Subject) -> FileKind:
    """The file that healing goes on from."""
    training = Training(subject.worse, Recipe(), 8, sizes_of(subject.worse))
    identity = resume.Identity.of("distil", 8, 0, subject.worse)
    best = {f"best/{name}": tensor.detach() for name, tensor in weights(subject.worse)}
    held = {**best, **{name: tensor.detach() for name, tensor in training.tensors().items()}}
    like = {**best, **training.like()}
    files = written_by(lambda f: resume.write(f / "run", identity, resume.Position(4), held))

    def same(found: tuple[resume.Position, Any]) -> bool:
        return found[0] == resume.Position(4) and same_tensors(found[1], held)

    kind = FileKind(
        "healing", files, "run", lambda folder: resume.read(folder / "run", identity, like),
        same, lambda found: found[0].as_json(), restructured_tensors, lambda chance: files,
    )  # fmt: skip
    return of_tensors(kind)


def refused(work: Callable[[], object]) -> None:
    """Do what may end in an error of the tree, and in no other."""
    try:
        work()
    except EckartError:
        return
