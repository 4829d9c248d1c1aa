"""Bad input: an exit code, one line on stderr, nothing on stdout."""

import subprocess
import sys

import pytest

from eckart.cli.entry import run as run_command


def refused(result, code, says):
    assert result.exit_code == code, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("eckart: ")]
    assert len(lines) == 1, result.stderr
    assert says in lines[0]
    assert "Traceback" not in result.output
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["inspect"], "Missing argument 'MODEL'"),
        (["inspect", "{net}", "--input-size", "big"], "'big' is not a shape"),
        (["inspect", "{net}", "--bogus"], "No such option"),
        (["calibrate", "{net}", "--data", "{data}"], "Missing option '--out'"),
        (["calibrate", "{net}", "--out", "m"], "--data: needed here"),
        (["calibrate", "{net}", "--data", "{data}", "--out", "m", "--metric", "x"], "unknown"),
        (["compress", "{net}", "--data", "{data}"], "give exactly one of them"),
        (["compress", "{net}", "--data", "{data}", "--keep", "0.5", "--tolerance", "0"], "one of"),
        (["compress", "{net}", "--data", "{data}", "--keep", "1.5"], "a fraction in (0, 1]"),
        (["compress", "{net}", "--data", "{data}", "--budget", "speed=2"], "unknown cost 'speed'"),
        (["compress", "{net}", "--data", "{data}", "--keep", "0.5", "--methods", "x"], "--methods"),
        (["compress", "{net}", "--data", "{data}", "--bytes", "2.5"], "a fraction in (0, 1]"),
        (["compress", "{net}", "--bytes", "0.1", "--bits", "1,4"], "a code has one of 2, 3"),
        (["compress", "{net}", "--bytes", "0.1", "--bits", "int4"], "a code has one of 2, 3"),
        (["compress", "{net}", "--keep", "0.5"], "--data: needed here"),
        (["compress", "{net}", "--tolerance", "-1", "--data", "{data}"], "--tolerance"),
        (["compress", "{net}", "--keep", "1", "--confidence", "0.9"], "goes with --tolerance"),
        (["compress", "{net}", "--tolerance", "0", "--confidence", "2"], "not between 0 and 1"),
        (["frontier", "{net}", "--data", "{data}", "--keeps", "a"], "not a list of numbers"),
        (["frontier", "{net}", "--data", "{data}", "--cost", "joy"], "unknown cost 'joy'"),
        (["evaluate", "{net}", "--data", "{data}", "--mean", "x"], "not a list of numbers"),
        (["evaluate", "{net}", "--data", "{data}", "--batch-size", "0"], "--batch-size"),
        (["demo", "--threads", "0"], "--threads"),
    ],
)
def test_usage(run, factory, folder, words, says):
    refused(run(*(word.format(net=factory, data=folder) for word in words)), 2, says)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["inspect", "torchvision:resnet19"], "no classifier 'resnet19'"),
        (["inspect", "{dir}/networks.py:nett"], "has no 'nett'"),
        (["inspect", "{net}", "--weights", "{dir}/none.safetensors"], "no such file"),
        (["inspect", "{net}", "--weights", "{dir}/other.safetensors"], "size mismatch"),
        (["inspect", "{net}", "--input-size", "5,8,8"], "does not run on an input of 5 × 8 × 8"),
        (["evaluate", "{net}", "--data", "{dir}/none"], "no such folder"),
        (["evaluate", "{net}", "--data", "{dir}/empty"], "holds no images"),
        (["evaluate", "{net}", "--data", "{data}", "--eval-split", "dev"], "no split 'dev'"),
        (["evaluate", "{net}", "--data", "{data}/test/dark"], "without a label"),
        (["evaluate", "{net}", "--data", "{data}", "--std", "0"], "must be positive"),
        (["evaluate", "{net}", "--data", "{data}", "--channels", "1"], "RuntimeError"),
        (["evaluate", "{net}", "--data", "{data}", "--compressed", "{dir}/empty"], "eckart.json"),
        (["compress", "{net}", "--data", "{data}", "--keep", "0.001"], "reach"),
        (["compress", "{net}", "--keep", "0.5", "--moments", "{dir}/none"], "no such file"),
        (["compress", "{net}", "--data", "{data}", "--keep", "0.5", "--dense", "x"], "no layer"),
    ],
)
def test_errors(run, factory, folder, tmp_path, words, says):
    from safetensors.torch import save_file
    from torch import zeros

    (tmp_path / "empty").mkdir()
    save_file({"0.weight": zeros(4, 3, 3, 3)}, tmp_path / "other.safetensors")
    names = {"net": factory, "data": folder, "dir": tmp_path}
    refused(run(*(word.format(**names) for word in words)), 1, says)


def test_debug_shows_the_traceback(run):
    result = run("inspect", "torchvision:resnet19", "--debug")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("eckart: error: torchvision has no")


def test_interrupted(run, factory, monkeypatch):
    def press(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("eckart.network.survey.survey", press)
    result = run("inspect", factory)
    assert (result.exit_code, result.stderr) == (130, "eckart: interrupted\n")


def test_warnings_are_lines_on_stderr(capsys):
    import warnings

    def work() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("one\nthing", UserWarning, stacklevel=1)
        return 0

    assert run_command(work, []) == 0
    assert capsys.readouterr().err == "eckart: warning: one thing\n"


@pytest.mark.parametrize(
    ("words", "code"), [(["-h"], 0), (["inspect", "none"], 1), (["inspect", "--what"], 2)]
)
def test_exit_codes_of_the_process(words, code):
    done = subprocess.run(
        [sys.executable, "-m", "eckart.cli", *words], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    if code:
        assert done.stdout == ""
        assert done.stderr.splitlines()[-1].startswith("eckart: ")


@pytest.mark.parametrize(
    ("missing", "words", "extra"),
    [
        ("torchvision", ["inspect", "torchvision:resnet18"], "vision"),
        ("PIL.Image", ["evaluate", "{net}", "--data", "{data}"], "vision"),
        ("datasets", ["evaluate", "{net}", "--data", "hub/set"], "vision"),
        ("sklearn", ["demo", "--output", "{data}/out"], "demo"),
    ],
)
def test_a_missing_extra_is_named(run, factory, folder, monkeypatch, missing, words, extra):
    monkeypatch.setitem(sys.modules, missing, None)
    words = [word.format(net=factory, data=folder) for word in words]
    refused(run(*words), 1, f"pip install 'eckart[{extra}]'")


def test_extras_are_imported_when_they_are_needed():
    extras = "{'PIL', 'datasets', 'torchvision', 'transformers', 'sklearn', 'plotly'}"
    code = f"import sys, eckart.cli; sys.exit(bool({extras} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
