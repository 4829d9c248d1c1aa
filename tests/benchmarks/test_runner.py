"""One command line for all measurements, one rule for the names of their results."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import runner
from benchmarks.main_path.frontier import METHODS, asked
from benchmarks.main_path.output_metrics import METRICS
from benchmarks.measuring.measurement import catalogue
from benchmarks.subjects.reference import NETWORKS

ROOT = Path(__file__).parents[2]
MEASUREMENTS = catalogue()


@pytest.fixture(autouse=True)
def threads_as_they_were():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_every_results_file_is_that_of_a_measurement():
    files = {path.stem for path in (ROOT / "benchmarks/results").glob("*.json")}
    assert files == set(MEASUREMENTS)


def test_the_list_says_what_each_measures_and_where_its_results_are(
    capsys: pytest.CaptureFixture[str],
):
    runner.main([])
    lines = capsys.readouterr().out.splitlines()
    for name, entry in MEASUREMENTS.items():
        at = next(i for i, line in enumerate(lines) if line.startswith(f"{name} "))
        assert lines[at].endswith(entry.what)
        assert lines[at + 1].endswith(f"benchmarks/results/{name}.json")
    assert all(entry.what.endswith(".") for entry in MEASUREMENTS.values())


@pytest.mark.parametrize("name", sorted(MEASUREMENTS))
def test_every_measurement_has_the_shared_arguments(name: str):
    entry = MEASUREMENTS[name]
    read = vars(runner.options(entry, entry.load()).parse_args([]))
    assert read["output"] == Path("benchmarks/results") / f"{name}.json"
    assert {"data", "seed", "threads"} <= read.keys()


def test_own_options_are_typed_as_they_are_annotated():
    entry = MEASUREMENTS["lenet-budgets"]
    parser = runner.options(entry, entry.load())
    read = parser.parse_args(["--seeds", "3", "4", "--keep", "0.5", "--no-retrain"])
    assert (read.seeds, read.keep, read.retrain) == ([3, 4], [0.5], False)


def test_an_unknown_choice_names_the_known_ones(capsys: pytest.CaptureFixture[str]):
    for words in (["nothing"], ["frontier", "--networks", "alexnet"]):
        with pytest.raises(SystemExit):
            runner.main(words)
    said = capsys.readouterr().err
    assert "black-box" in said
    assert "resnet32" in said


def test_a_measurement_runs_and_writes_where_it_is_told(tmp_path: Path):
    output = tmp_path / "new" / "found.json"
    small = ["--layers", "0", "--sizes", "32", "--moments", "48"]
    runner.main(["decompositions", *small, "--output", str(output), "--threads", "1"])
    found = json.loads(output.read_text())
    assert [row["out"] for row in found["ranks"]] == [16]
    assert [row["n"] for row in found["components"] + found["eigenvalues"]] == [32, 48]


def test_two_files_of_one_name_are_refused(tmp_path: Path):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.py").write_text('"""What."""\nMEASUREMENT = None\n')
    with pytest.raises(ValueError, match=r"one\.same: two measurements 'same'"):
        catalogue(tmp_path)


def test_committed_rows_are_what_the_code_would_measure():
    rows = json.loads((ROOT / "benchmarks/results/frontier.json").read_text())
    for network in NETWORKS:
        found = {(r["method"], r["keep"]) for r in rows if r["network"] == network}
        assert found <= set(asked(network))
        assert {method for method, _ in found} <= set(METHODS)
    rows = json.loads((ROOT / "benchmarks/results/output-metrics.json").read_text())
    assert {row["metric"] for row in rows} == set(METRICS)
