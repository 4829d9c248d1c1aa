"""Every study runs on real data, small, and reads like what a user could write."""

import ast
import importlib.util
import sys
from functools import partial
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
KIT = sorted((EXAMPLES / "study_kit").glob("*.py"))
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
ALLOWED = {
    "datasets", "eckart", "jax", "matplotlib", "numpy", "safetensors", "sklearn", "study_kit",
    "torch", "torchvision",
}  # fmt: skip
DATA = {
    "iris_rank": None,
    "lenet_reconstruction": "mnist",
    "mlp_mnist": "mnist",
    "residual_mlp_cifar10": "cifar10",
    "resnet18_imagenette": "imagenette96",
    "theory_and_game": None,
}
TABLES = {
    "iris_rank": {"opening", "figures", "matrices", "search", "networks", "run"},
    "lenet_reconstruction": {
        "opening",
        "figures",
        "solvers",
        "smoothing",
        "rounds",
        "sweep",
        "sites",
        "frontier",
        "run",
    },
    "mlp_mnist": {"opening", "starts", "history", "sizes", "run"},
    "residual_mlp_cifar10": {"opening", "training", "ranks", "tuned", "run"},
    "resnet18_imagenette": {"opening", "training", "cut", "budgets", "run"},
    "theory_and_game": {"opening", "identities", "uses", "game"},
}
FIGURES = {
    "iris_rank": {"scores"},
    "lenet_reconstruction": {"solvers", "sweep", "sites", "mass", "frontier"},
    "mlp_mnist": {"sizes"},
    "residual_mlp_cifar10": {"ranks", "tuned"},
    "resnet18_imagenette": {"budgets"},
    "theory_and_game": set(),
}


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch):
    """`study_kit` can be imported, as it can where a script is run."""
    monkeypatch.syspath_prepend(str(EXAMPLES))


@pytest.mark.parametrize("name", DATA)
def test_runs(name: str, kit: None, data_root: Path, tmp_path: Path):
    output, cache = tmp_path / "results", tmp_path / "cache"
    given = ["--quick", "--output", str(output), "--cache", str(cache)]
    if DATA[name] is not None:
        given += ["--data", str(data_root / DATA[name])]
    study = loaded(name)
    study.main(given)
    title = name.replace("_", "-")
    page = output / f"study-{title}.md"
    text = page.read_text()
    assert {m for m in TABLES[name] if f"<!-- {m} -->\n" in text} == TABLES[name]
    assert {p.stem.removeprefix(f"study-{title}-") for p in output.glob("*.png")} == FIGURES[name]
    page.write_text("Prose stays.\n" + text)
    study.main(given)  # from the cache: nothing is measured anew
    assert page.read_text() == "Prose stays.\n" + text


def loaded(name: str):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_is_short(script: Path):
    assert len(script.read_text().splitlines()) < 200


@pytest.mark.parametrize("path", [*SCRIPTS, *KIT], ids=lambda path: path.stem)
def test_uses_the_public_names_only(path: Path):
    read = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            read |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            read.add(node.module)
    inside = {name for name in read if name.startswith("eckart.")} - {"eckart.linalg"}
    assert not inside, f"{path.name} reads {inside}"
    others = {name.split(".")[0] for name in read} - sys.stdlib_module_names - ALLOWED
    assert not others, f"{path.name} reads {others}"


def test_moved_images_are_windows_of_the_images(kit: None):
    import torch

    from study_kit.images import Images

    pixels = torch.arange(1, 65, dtype=torch.uint8).reshape(1, 1, 8, 8).repeat(50, 1, 1, 1)
    images = Images(pixels, torch.zeros(50, dtype=torch.long), batch=50)
    ((moved, _),) = images.shuffled(torch.Generator().manual_seed(0), margin=2)
    windows = torch.nn.functional.pad(pixels[0, 0], (2, 2, 2, 2)).unfold(0, 8, 1).unfold(1, 8, 1)
    windows = windows.reshape(-1, 8, 8)
    flipped = torch.nn.functional.pad(pixels[0, 0].flip(1), (2, 2, 2, 2))
    windows = torch.cat([windows, flipped.unfold(0, 8, 1).unfold(1, 8, 1).reshape(-1, 8, 8)])
    found = (moved[:, 0] * 255).round().byte()
    assert all((windows == image).flatten(1).all(1).any() for image in found)
    assert len(found.unique(dim=0)) > 10


def test_the_opening_shows_each_seed_and_the_costs(kit: None):
    from study_kit.opening import Line, averaged, opening

    rows = [{"accuracy": score, "params": size} for score, size in ((0.99, 1000), (0.98, 3000))]
    page = opening([Line("cut", 0.9907, averaged(rows), rows[0]), Line("dense", None, rows[1])])
    assert page.splitlines()[2:] == [
        "| cut | 99.07 | 98.50 (99.00, 98.00) | 99.00 | 2,000 / 1,000 |",
        "| dense |  | 98.00 |  | 3,000 |",
    ]


def test_a_comparison_has_a_column_for_eckart_only_if_it_has_figures(kit: None):
    from study_kit.comparison import Figure, comparison

    figures = [Figure("columns", "11.2", "9.6"), Figure("seconds", "4.4", "3", "0.1")]
    assert comparison(figures[:1]).splitlines()[-1] == "| columns | 11.2 | 9.6 |"
    assert comparison(figures).splitlines()[2:] == [
        "| columns | 11.2 | 9.6 |  |",
        "| seconds | 4.4 | 3 | 0.1 |",
    ]


def test_a_cached_network_is_keyed_by_its_code_and_its_training(kit: None):
    from torch import nn

    from study_kit.lenet import LeNet5
    from study_kit.made_by import made_by
    from study_kit.training import Recipe

    class Other(LeNet5):
        def forward(self, x):
            return x

    recipe = Recipe(epochs=1, rate=0.1)
    key = made_by(LeNet5(), recipe, 0)
    assert key == made_by(LeNet5(), Recipe(epochs=1, rate=0.1), 0)
    others = [made_by(Other(), recipe, 0), made_by(LeNet5(), Recipe(epochs=2, rate=0.1), 0)]
    others += [made_by(LeNet5(fc1=400), recipe, 0), made_by(LeNet5(), recipe, 1)]
    assert len({key, *others, made_by(nn.Linear(2, 2))}) == 6


def test_rows_are_measured_again_when_what_they_depend_on_changes(kit: None, tmp_path: Path):
    from study_kit.study import begin

    calls = []

    def measure(value: int = 0):
        calls.append(value)
        return [{"value": value}]

    study = begin("any", None, ["--quick", "--cache", str(tmp_path), "--output", str(tmp_path)])
    given = [(measure, "images"), (partial(measure, 1), "images"), (measure, "others")]
    rows = [study.rows("part", each, how)[0]["value"] for each, how in given]
    rows.append(study.rows("part", lambda: [{"value": 2}], "images")[0]["value"])
    assert rows == [0, 0, 0, 2]
    assert calls == [0, 0]
    assert list(study.seconds) == ["part"]
