import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from eckart.errors import InputError, MismatchError
from eckart.methods import METHODS, SELECTIONS
from eckart.records import Choice, Curve, Option, Site
from eckart.report import write_report
from eckart.report.explanations import EXPLANATIONS, explained
from eckart.report.payload import page_data
from eckart.report.spectra import drawn_spectra

VOID = {"meta", "link", "input", "br", "wbr", "img", "hr"}
MOST_BYTES = 200_000


class Page(HTMLParser):
    """Tags in order, text by the tag it stands in; complains of elements that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append((self.open[-1] if self.open else "", text))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, tag):
        return "".join(text for name, text in self.texts if name == tag)


@pytest.fixture(scope="module")
def text(frontier, curves, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "new" / "report.html"
    command = "eckart frontier net.py --keep 0.8 && echo '<done>'"
    written = write_report(frontier, curves, path, title="A <b>net</b> & more", command=command)
    assert written == path
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


@pytest.fixture(scope="module")
def data(text):
    return json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.S)[1])


def test_nothing_is_fetched(text, page):
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"// .*", "", text))
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    assert not any("src" in attributes for _, attributes in page.tags)
    policy = page.all("meta")[1]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert policy["content"].startswith("default-src 'none'")
    assert len(text.encode()) < MOST_BYTES


def test_what_users_name_is_escaped(text, page):
    assert len(re.findall(r"<script\b", text)) == 2
    assert len(page.all("script")) == 2
    assert "<b>" not in text
    assert page.text("h1") == "A <b>net</b> & more"
    assert page.text("title") == "A <b>net</b> & more"
    assert "eckart frontier net.py --keep 0.8 && echo '<done>'" in page.text("code")


def test_data_arrive_as_they_were(data, curves):
    assert [layer["name"] for layer in data["layers"]] == list(curves.specs)
    mix = data["layers"][3]
    assert data["reasons"][mix["why"]] == curves.dense["mix"]


def test_no_command_no_section(frontier, curves, tmp_path):
    bare = write_report(frontier, curves, str(tmp_path / "report.html")).read_text()
    assert "This whole page" not in bare
    assert "<h1>eckart</h1>" in bare


def test_the_page_is_the_same_every_time(frontier, curves, tmp_path):
    first, second = (write_report(frontier, curves, tmp_path / name) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_points_of_the_data(data, frontier, curves):
    point = frontier.points[6]
    shown = data["points"][6]
    assert (shown["label"], shown["keep"]) == ("eckart", 0.4)
    assert shown["params"] == point.measurement.params
    assert shown["drop"] == pytest.approx(0.04)
    for layer, index in zip(data["layers"], shown["chosen"], strict=True):
        choice, spec = point.plan.choices.get(layer["name"]), curves.specs[layer["name"]]
        assert layer["costs"] == [spec.dense.params, spec.dense.macs(spec.sizes[0])]
        if choice is None:
            assert index is None
            continue
        method, form, rank, params, macs, loss, ends, _, parts = layer["forms"][index]
        assert (method, form, rank) == (choice.method, str(choice.form), choice.form.rank)
        assert ends == [choice.form.pieces[0].inputs, choice.form.pieces[-1].outputs]
        assert parts == [[piece.weights, 32] for piece in choice.form.pieces]
        assert (params, macs) == (choice.form.params, choice.form.macs(spec.sizes[0]))
        assert loss == pytest.approx(choice.loss, rel=1e-3)


def test_weights_in_codes_show_their_bits_and_bytes(coded, curves):
    data = page_data(coded, curves)
    assert (data["coded"], data["cost"]) == (True, "bytes")
    for layer, index in zip(data["layers"], data["points"][6]["chosen"], strict=True):
        choice, spec = coded.points[6].plan.choices.get(layer["name"]), curves.specs[layer["name"]]
        assert layer["bytes"] == 4 * spec.dense.params
        assert layer["weights"] == [spec.piece.weights, 32]
        if choice is not None:
            *_, size, parts = layer["forms"][index]
            assert size == choice.form.stored_bytes(4)
            assert [bits for _, bits in parts] == [3, 4]
    dots = [dot for site in data["sites"] for dot in site["methods"][0]["line"]]
    expected = curves.curves[0].options[0].form.stored_bytes(4)
    assert dots[0][0] == pytest.approx(expected / data["layers"][0]["bytes"], rel=1e-3)


def test_layers_less_params_is_what_the_points_cost(data):
    rest = data["dense"]["params"] - sum(layer["costs"][0] for layer in data["layers"])
    for point in data["points"]:
        kept = [
            layer["costs"][0] if index is None else layer["forms"][index][3]
            for layer, index in zip(data["layers"], point["chosen"], strict=True)
        ]
        assert point["params"] == sum(kept) + rest


def test_a_layer_called_twice_costs_twice(frontier, curves):
    spec = curves.specs["head"]
    twice = {**curves.specs, "head": replace(spec, sizes=((1,), (3,)))}
    layers = page_data(frontier, replace(curves, specs=twice))["layers"]
    assert layers[-1]["costs"][1] == 4 * spec.dense.macs((1,))


def test_what_is_no_number_becomes_null(frontier, curves):
    point = frontier.points[0]
    name, choice = next(iter(point.plan.choices.items()))
    lost = replace(choice, loss=float("inf"))
    plan = replace(point.plan, loss=float("nan"), choices={**point.plan.choices, name: lost})
    data = page_data(replace(frontier, points=(replace(point, plan=plan),)), curves)
    json.dumps(data, allow_nan=False)
    assert data["points"][0]["loss"] is None


def test_layers_that_no_spec_knows_are_listed(frontier, curves):
    point = frontier.points[0]
    form = next(iter(point.plan.choices.values())).form
    dense, choices = {**point.plan.dense, "norm": "no such type"}, {"odd": Choice("svd", form, 1.0)}
    plan = replace(point.plan, dense=dense, choices=choices)
    data = page_data(replace(frontier, points=(replace(point, plan=plan),)), curves)
    assert [layer["name"] for layer in data["layers"][-2:]] == ["odd", "norm"]
    assert data["layers"][-2]["costs"] == [None, None]
    assert data["layers"][-2]["forms"][0][4] is None
    assert data["reasons"][data["points"][0]["why"][-1]] == "no such type"


def test_spectra_keep_the_ends_and_the_lower_edge(curves):
    spec = curves.specs["block.conv2"]
    forms = [option.form for option in curves.curves[1].options if option.method == "svd"]
    losses = [5.0, 4.0, 4.5, 2.0, 1.0]
    options = [Option("svd", form, loss) for form, loss in zip(forms, losses, strict=True)]
    one = replace(curves, curves=(Curve(Site(spec.name, (spec.name,)), tuple(options)),))
    drawn = drawn_spectra(one)[0]["methods"][0]
    assert [loss for _, loss in drawn["line"]] == [5.0, 4.0, 2.0, 1.0]
    assert [loss for _, loss in drawn["rest"]] == [4.5]
    assert drawn["line"][0][0] == pytest.approx(forms[0].params / spec.dense.params, rel=1e-3)


def test_many_options_are_thinned(curves):
    form = curves.curves[1].options[0].form
    pieces = form.pieces

    def widened(n):
        return replace(form, pieces=(replace(pieces[0], outputs=n), replace(pieces[1], inputs=n)))

    options = tuple(Option("svd", widened(n), 1 / n) for n in range(1, 3000))
    site = curves.curves[1].site
    line = drawn_spectra(replace(curves, curves=(Curve(site, options),)))[0]["methods"][0]["line"]
    assert len(line) == 64
    assert line[0][1] == 1.0
    assert line[-1][1] == pytest.approx(1 / 2999, rel=1e-3)


def test_an_empty_frontier_is_refused(frontier, curves, tmp_path):
    with pytest.raises(InputError, match="no points"):
        write_report(replace(frontier, points=()), curves, tmp_path / "report.html")


def test_another_networks_curves_are_refused(frontier, curves, tmp_path):
    with pytest.raises(MismatchError, match="same moments"):
        write_report(frontier, replace(curves, fingerprint="b"), tmp_path / "report.html")
    assert not list(Path(tmp_path).iterdir())


def test_a_thousand_layers_stay_small(thousand, tmp_path):
    size = write_report(*thousand, tmp_path / "report.html").stat().st_size
    assert size < 6_000_000


def test_logs_and_commands_belong_to_their_points(frontier, curves, log):
    healed = {(0.4, "eckart"): log}
    data = page_data(frontier, curves, healed=healed, point_command=lambda p: f"keep {p.keep}")
    assert [point["healing"] is not None for point in data["points"]] == [False] * 6 + [True, False]
    assert data["points"][6]["command"] == "keep 0.4"
    shown = data["points"][6]["healing"]
    assert [step[4] for step in shown["steps"]] == [0.0, 1.0, 3.0, 3.0, 5.0]
    assert shown["steps"][3][2:4] == [None, None]
    assert (shown["percent"], shown["higher"], shown["n"]) == (False, False, 50)


def test_a_log_of_no_point_is_refused(frontier, curves, log, tmp_path):
    with pytest.raises(InputError, match=r"no point has; the points are 'uniform svd' at keep=0.8"):
        write_report(frontier, curves, tmp_path / "r.html", healed={(0.33, "eckart"): log})


def test_a_log_without_scores_is_no_healing(frontier, curves, log, tmp_path):
    healed = {(0.4, "eckart"): log[3:4]}
    text = write_report(frontier, curves, tmp_path / "r.html", healed=healed).read_text()
    assert 'id="healing-section"' not in text


def test_every_registered_method_is_explained():
    assert {*METHODS, *SELECTIONS} <= set(EXPLANATIONS)


def test_methods_of_the_page_are_explained(narrowed, coupled):
    found = explained(narrowed, coupled)
    assert set(found) == {"weighted_svd", "svd", "narrowed", "backward_elimination"}
    assert "unknown" not in found


def test_notes_about_opened_modules_are_listed(frontier, curves, tmp_path, text):
    said = "its weight is computed (WeightNorm)"
    noted = replace(curves, notes={"conv1": said, "conv2": said})
    page = write_report(frontier, noted, tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"<dt>conv1, conv2</dt><dd>{said}</dd>" in page
    Page(page)
    assert 'id="notes"' in page
    assert 'id="notes"' not in text
