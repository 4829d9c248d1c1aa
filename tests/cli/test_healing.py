"""``eckart compress --heal``."""

import json

import pytest

from eckart import load
from eckart.cli.sources.models import load_model


@pytest.fixture
def words(factory, weights, folder):
    data = ["--data", folder, "--batch-size", 6, "--examples", 18]
    return ["compress", factory, "--weights", weights, *data, "--keep", 0.6]


def document(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_network_is_healed_and_saved(run, words, factory, tmp_path):
    out = tmp_path / "out"
    found = document(run(*words, "--heal", "correct,distil", "--steps", 10, "--out", out, "--json"))
    assert found["healing"][0]["treatment"] == "start"
    assert {step["treatment"] for step in found["healing"]} == {"start", "correct", "distil"}
    assert found["healing"][-1]["treatment"] == "distil"
    loaded = load(load_model(factory), out)
    assert sum(p.numel() for p in loaded.parameters()) == found["after"]["params"]


def test_what_healing_did_is_shown(run, words):
    result = run(*words, "--heal", "distil", "--steps", 10)
    assert result.exit_code == 0, result.output
    assert "step 1 of 10" in result.stdout
    assert "as it was handed in" in result.stdout


def test_without_heal_nothing_is_healed(run, words):
    assert document(run(*words, "--json"))["healing"] is None


def test_labels_may_be_learned(run, words):
    found = document(run(*words, "--heal", "finetune", "--steps", 5, "--json"))
    assert found["healing"][1]["treatment"] == "finetune"


def test_the_same_command_goes_on_from_its_checkpoint(run, words, tmp_path):
    healing = ["--heal", "distil", "--steps", 10, "--heal-checkpoint", tmp_path / "run", "--json"]
    first, again = (document(run(*words, *healing)) for _ in range(2))
    assert (tmp_path / "run" / "distil.safetensors").exists()
    assert "goes on from step" in again["healing"][1]["note"]
    assert again["after"]["score"] == first["after"]["score"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--heal", "prayer"], "unknown treatment 'prayer'; known: correct"),
        (["--steps", 3], "they go with --heal"),
        (["--heal-checkpoint", "somewhere"], "they go with --heal"),
        (["--heal", "distil", "--steps", 0], "--steps"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(run, words, extra, message):
    result = run(*words, *extra)
    assert result.exit_code == 2
    assert message in result.stderr


def test_healing_needs_data(run, words, tmp_path):
    moments = tmp_path / "moments.safetensors"
    run("calibrate", *words[1:-2], "--out", moments)
    rest = [*words[1:4], "--moments", moments, "--keep", 0.6]
    result = run("compress", *rest, "--heal", "correct")
    assert result.exit_code == 2
    assert "--data" in result.stderr


@pytest.mark.filterwarnings(
    "ignore::eckart.errors.NotMonotoneWarning"
)  # few images, random weights
def test_images_that_choose_are_not_healed_on(run, words):
    """The folder has 32 images to train on: 18 calibrate, 24 heal, and 8 are left to choose."""
    goal = ["--tolerance", 0.5, "--select-examples", 8, "--heal", "correct"]
    assert run(*words[:-2], *goal, "--heal-examples", 24).exit_code == 0
    result = run(*words[:-2], *goal, "--heal-examples", 32)
    assert result.exit_code == 1
    assert "all are in use already" in result.stderr
