"""The study of Iris runs whole, quickly, and writes what it says."""

import re
import sys

from examples import iris_rank


def test_the_quick_study_writes_its_page_and_figure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["iris_rank.py", "--quick", "--output", str(tmp_path)])
    iris_rank.main()
    page = (tmp_path / "iris-rank.md").read_text(encoding="utf-8")
    assert (tmp_path / "iris-rank.png").stat().st_size > 10_000
    assert page in capsys.readouterr().out
    params = {
        name: float(value) for name, value in re.findall(r"^\| ([^|]+) \| (\d+) \|", page, re.M)
    }
    assert params["dense"] == 83
    assert params["first layer at rank 2"] == 71
    assert params["U·core·V, rank 1, learned"] == 58
    assert params["… with biases between, as the course has it"] == 60
    assert len(re.findall(r"\| (?:accuracy|AUC) \| (?:1|2|dense) \| ", page)) == 4


def test_the_split_is_that_of_the_course():
    data = iris_rank.iris()
    assert [len(part[1]) for part in (data.train, data.test)] == [120, 30]
    assert data.train[0].mean(0).abs().max() < 1e-5
    assert data.test[1].bincount().tolist() == [10, 9, 11]
