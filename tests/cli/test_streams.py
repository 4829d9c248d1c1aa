"""Streams that are narrow, closed, broken or of another encoding: nothing is lost."""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from eckart.cli.shown.output import Result
from eckart.cli.shown.tables import make_table

WORK = """
import sys
from eckart.cli.entry import run
from eckart.cli.shown.output import Result
sys.exit(run(lambda: Result({'params': 754}, ['754 parameters']), sys.argv[1:]))
"""
CLOSED = "import os, sys; os.close({}); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"


def eckart(*words: str, closed: int | None = None, **settings: object):
    """A command in a process of its own: a real one, or without a name one that needs no torch."""
    start = ["-c", WORK] if not words or words[0].startswith("-") else ["-m", "eckart.cli"]
    command = [sys.executable, *start, *words]
    if closed is not None:
        command[1:1] = ["-c", CLOSED.format(closed)]
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 120, **settings}
    return subprocess.run(command, **given)


@pytest.mark.parametrize("encoding", ["ascii", "latin1"])
def test_what_an_encoding_lacks_is_replaced(encoding):
    done = eckart("compress", "--help", env={**os.environ, "PYTHONIOENCODING": encoding})
    assert done.returncode == 0, done.stderr
    assert b"hf:?" in done.stdout


def test_a_reader_that_stops_and_a_closed_stdout():
    reader, writer = os.pipe()
    os.close(reader)
    done = eckart(stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")
    done = eckart("--json", closed=1, stdout=None)
    assert (done.returncode, done.stderr) == (0, b"")
    done = eckart("--json", closed=2, stderr=None)
    assert (done.returncode, json.loads(done.stdout)["params"]) == (0, 754)


def test_a_full_disk_behind_stdout_is_an_error():
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    with open("/dev/full", "w") as full:
        done = eckart(stdout=full)
    assert done.returncode == 1
    assert b"No space left" in done.stderr


def test_narrow_tables_lose_no_sign(monkeypatch, tmp_path):
    columns = {"layer": False, "method": False, "rank": True, "params": True, "MACs": True}
    rows = [("model.layers.0.self_attn.q_proj", "weighted_svd", "128", "1,234,567", "12,345,678")]
    line = "a line → of more than forty signs" * 2

    def shown(width: int) -> Counter[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        with open(tmp_path / "shown", "w", encoding="utf-8") as stream:
            Result({}, [make_table("Layers", columns, rows), line]).print_to(stream, as_json=False)
        text = (tmp_path / "shown").read_text(encoding="utf-8")
        assert max(map(len, text.splitlines()[:-1])) <= width
        return Counter(sign for sign in text if sign not in " \n─")

    assert shown(40) == shown(160)
