"""The code in the documentation runs, and what it names exists."""

import re
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
import typer
from torch import nn

import eckart
from eckart import linalg
from eckart.cli import app
from sources import ROOT

DOCS = ROOT / "docs"
PAGES = [*ROOT.glob("*.md"), *sorted(DOCS.rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    fenced = rf"^ *```{language}\n(.*?)^ *```$"
    return re.findall(fenced, page.read_text(), re.MULTILINE | re.DOTALL)


def narrower(code: str) -> str:
    """The quick start with a network that takes half of the time."""
    return code.replace("32", "20").replace("128", "80")


@pytest.mark.filterwarnings("ignore::eckart.errors.NotMonotoneWarning")  # few images decide
def test_the_quick_start_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(DOCS / "quick-start.md", "python"):
        exec(compile(narrower(block), "quick-start.md", "exec"), names)
    found = names["found"]
    scores = {(p.label, p.keep): p.measurement.score.value for p in found.points}
    assert found.dense.score.value > 0.95
    assert scores["eckart", 0.5] > found.dense.score.value - 0.02
    assert scores["eckart", 0.3] > scores["uniform svd", 0.3] + 0.3
    assert {path.name for path in tmp_path.iterdir()} == {
        "moments.safetensors", "report.html", "tiny",
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft's
def test_the_guide_to_language_models_runs(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("transformers")
    pytest.importorskip("peft")
    stories = (data_root / "text" / "tinystories-excerpt.txt").read_text()
    (tmp_path / "train.txt").write_text(stories[:100_000])
    (tmp_path / "test.txt").write_text(stories[100_000:200_000])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    names: dict[str, Any] = {}
    for block in blocks(DOCS / "transformers.md", "python"):
        small = block.replace("HuggingFaceTB/SmolLM2-135M", str(data_root / "stories260k"))
        small = small.replace("sequences=32, length=512", "sequences=8, length=256")
        exec(compile(small, "transformers.md", "exec"), names)
    with torch.no_grad():
        models = names["healed"], names["again"], names["plain"], names["ranks"].model
        healed, again, plain, ranks = (m(**names["held_out"][0]).logits for m in models)
    torch.testing.assert_close(healed, again, rtol=1e-3, atol=1e-3)  # LoRA begins at zero
    torch.testing.assert_close(plain, ranks, rtol=1e-3, atol=1e-3)


def test_the_layer_by_hand_has_the_numbers_of_its_page(capsys: pytest.CaptureFixture[str]):
    page, names = DOCS / "by-hand.md", dict[str, object]()
    code = "".join(blocks(page, "python"))
    exec(compile(code, page.name, "exec"), names)
    told = re.findall(r"^print.*  # (?:.*: )?(.*)$", code, re.MULTILINE)
    printed = re.findall(r"\d+\.\d+", capsys.readouterr().out)
    assert len(told) == 3
    assert [float(x) for x in ", ".join(told).split(", ")] == [float(x) for x in printed]


@pytest.mark.filterwarnings("ignore::eckart.errors.NoGainWarning")  # the network is tiny
def test_the_guides_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for package in ("sklearn", "transformers", "onnxruntime"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.upload_folder", lambda folder_path, repo_id: None)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repo: Path(repo).name)
    start: dict[str, object] = {}
    first = blocks(DOCS / "quick-start.md", "python")[0].replace("range(20)", "range(5)")
    exec(compile(narrower(first), "quick-start.md", "exec"), start)
    for page in sorted((DOCS / "guides").glob("*.md")):
        names = dict(start)
        for block in filter(packages_are_installed, blocks(page, "python")):
            exec(compile(dedent(block), page.name, "exec"), names)


def packages_are_installed(code: str) -> bool:
    """Whether what a block imports is there: timm and Lightning come with no extra for tests."""
    names = re.findall(r"^ *(?:import|from) (\w+)", code, re.MULTILINE)
    return all(find_spec(name) is not None for name in names)


def test_the_ten_lines_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def make_model() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)).eval()

    monkeypatch.chdir(tmp_path)
    model, x = make_model(), torch.randn(32, 3, 8, 8)
    names = {"model": model, "batches": [x], "make_model": make_model}
    (block,) = blocks(ROOT / "README.md", "python")
    exec(compile(block, "README.md", "exec"), names)
    assert names["plan"].costs["params"] <= 0.5 * names["plan"].totals["params"]
    assert torch.equal(names["again"](x), names["smaller"](x))


@pytest.mark.parametrize("package", [eckart, linalg], ids=lambda package: package.__name__)
def test_every_public_name_is_on_one_page_of_the_reference(package):
    text = "\n".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    found = Counter(re.findall(rf"^::: {package.__name__}\.(\w+)$", text, re.MULTILINE))
    expected = Counter(package.__all__)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere_in_the_repository(page: Path):
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)|^\[[^]]+\]: (\S+)$", prose, re.MULTILINE)
    targets = [inline or below for inline, below in targets]
    paths = [target for target in targets if not re.match(r"https?:", target)]
    missing = [path for path in paths if not (page.parent / path).exists()]
    assert not missing, f"{page}: {missing}"


COMMANDS = typer.main.get_command(app).commands
LINES = [
    line
    for page in PAGES
    for block in blocks(page, "(?:sh)?")
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("eckart ")
]


@pytest.mark.parametrize("line", LINES)
def test_commands_and_their_options_exist(line: str):
    _, command, *words = line.partition("#")[0].split()
    known = {option for parameter in COMMANDS[command].params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
