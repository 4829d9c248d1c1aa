"""The page in a real browser: drawn, clicked, typed at."""

import shutil
from dataclasses import replace
from itertools import pairwise

import pytest

import eckart
from eckart.records import Score
from eckart.report import write_report
from eckart.report.recommended import Taken

pytest.importorskip("selenium", reason="needs selenium to steer the browser")
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
)
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (Debian: chromium-driver)"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a frontier's report and, at the end, insists on a silent console."""

    def open_report(frontier, curves, width=1200, whole=True, **rest):
        path = tmp_path / "report.html"
        write_report(frontier, curves, path, command="eckart frontier", **rest)
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 700}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get(path.as_uri())
        if whole:
            for every in browser.find_elements(
                By.CSS_SELECTOR, 'input[name="height"][value="all"]'
            ):
                every.click()
        return browser

    yield open_report
    assert browser.get_log("browser") == []
    assert browser.execute_script("return window.hacked") is None


def all_of(page, selector):
    return page.find_elements(By.CSS_SELECTOR, selector)


def one(page, selector):
    return page.find_element(By.CSS_SELECTOR, selector)


def point(page, index):
    return one(page, f'#frontier [data-point="{index}"]')


def rows(page):
    return [row.text for row in all_of(page, "#layers tbody tr")]


def marks(page):
    return [mark.get_attribute("cx") for mark in all_of(page, "#spectra .halo")]


def test_a_click_changes_everything_below(opened, frontier, curves):
    page = opened(frontier, curves)
    assert len(all_of(page, "#frontier .point")) == len(frontier.points)
    before, marked = rows(page), marks(page)
    assert len(before) == len(curves.specs)
    assert one(page, "#totals-title").text == "eckart, keep 0.8"

    point(page, 7).click()

    assert one(page, "#totals-title").text == "eckart, keep 0.2"
    assert "22.00 ± 1.31 points worse" in one(page, "#totals-list").text
    assert rows(page) != before
    assert marks(page) != marked
    pressed = [p.get_attribute("data-point") for p in all_of(page, '.point[aria-pressed="true"]')]
    assert pressed == ["7"]
    assert one(page, '.points tr[aria-current="true"]').get_attribute("data-point") == "7"


def test_the_table_says_what_the_plan_says(opened, frontier, curves):
    page = opened(frontier, curves)
    point(page, 6).click()
    plan = frontier.points[6].plan
    for name, row in zip(curves.specs, all_of(page, "#layers tbody tr"), strict=True):
        assert one(row, "th").text == name
        done = one(row, ".done").text
        if name in plan.choices:
            choice = plan.choices[name]
            assert done.split("\n") == [choice.method, str(choice.form)]
            assert one(row, ".rank").text == str(choice.form.rank)
        else:
            assert done.split("\n")[0] == f"dense: {plan.dense[name]}"


def test_points_are_reached_by_keyboard(opened, frontier, curves):
    page = opened(frontier, curves)
    page.execute_script("arguments[0].focus()", point(page, 4))
    assert one(page, "#tip").is_displayed()
    assert one(page, "#tip strong").text == "eckart, keep 0.8"
    page.switch_to.active_element.send_keys(Keys.TAB)
    focused = page.switch_to.active_element
    assert focused.get_attribute("data-point") == "5"
    assert focused.get_attribute("aria-label").startswith("eckart, keep 0.6: score 91.50")
    focused.send_keys(Keys.ENTER)
    assert one(page, "#totals-title").text == "eckart, keep 0.6"


def test_cost_is_switched(opened, frontier, curves):
    page = opened(frontier, curves)
    where = point(page, 7).get_attribute("transform")
    one(page, 'input[value="latency"]').click()
    assert point(page, 7).get_attribute("transform") != where
    assert "milliseconds; dense has" in one(page, "#frontier").text
    one(page, 'input[value="near"]').click()
    assert 1 < len(all_of(page, "#frontier .point")) < len(frontier.points)


def test_latency_is_offered_only_where_measured(opened, untimed, curves):
    page = opened(untimed, curves)
    assert not all_of(page, 'input[value="latency"]')
    assert "Latency" not in one(page, "main").text


def test_layers_are_sorted(opened, frontier, curves):
    page = opened(frontier, curves)
    one(page, '[data-key="macs"] button').click()
    assert one(page, '[data-key="macs"]').get_attribute("aria-sort") == "descending"
    macs = {name: spec.dense.macs(spec.sizes[0]) for name, spec in curves.specs.items()}
    macs |= {
        name: choice.form.macs(curves.specs[name].sizes[0])
        for name, choice in frontier.points[4].plan.choices.items()
    }
    assert [cell.text for cell in all_of(page, "#layers tbody th")] == sorted(
        macs, key=lambda name: -macs[name]
    )


def test_colours_are_switched(opened, frontier, curves):
    page = opened(frontier, curves)
    colour = one(page, "body").value_of_css_property("background-color")
    one(page, "#theme").click()
    assert one(page, "body").value_of_css_property("background-color") != colour


@pytest.mark.parametrize("width", [320, 390, 768, 1200])
def test_nothing_sticks_out(opened, frontier, curves, width):
    page = opened(frontier, curves, width)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("values", [(12.0, 12.5, 20.0, 4000.0, 1e6), (5.0,) * 5, (0.0,) * 5])
def test_scores_of_any_size(opened, frontier, curves, values):
    scores = [Score(value, higher_is_better=False) for value in values]
    points = tuple(
        replace(point, measurement=replace(point.measurement, score=score), drop_error=None)
        for point, score in zip(frontier.points, scores[1:], strict=False)
    )
    dense = replace(frontier.dense, score=scores[0])
    page = opened(replace(frontier, dense=dense, points=points), curves)
    said = [each.get_attribute("aria-label") for each in all_of(page, "#frontier .point")]
    assert len(said) == 4
    assert all(", rise " in text and "drop" not in text for text in said), "lower is better"
    assert "NaN" not in page.page_source.split("<body>")[1].split('id="data"')[0]


def test_curves_without_sites(opened, frontier, curves):
    page = opened(frontier, replace(curves, curves=()))
    assert not one(page, "#spectra-section").is_displayed()
    assert len(rows(page)) == len(curves.specs)


def test_channels_are_drawn(opened, narrowed, coupled):
    page = opened(narrowed, coupled)
    assert len(all_of(page, "#groups figure")) == 2
    notes = [note.text for note in all_of(page, "#groups .units .of")]
    assert notes == ["all 8 stay", "all 16 stay"]
    assert not all_of(page, "#layers .strip")

    point(page, len(narrowed.points) - 1).click()

    first = all_of(page, "#layers tbody tr")[0]
    assert one(first, ".done").text.split("\n") == ["narrowed", "3→3 (3×3)"]
    assert one(first, ".widths").text.split("\n") == ["out", "3/8"]
    solid = one(first, ".strip .part").get_attribute("d")
    assert solid == "M0 0H2V1H0ZM5 0H6V1H5Z"
    second = all_of(page, "#layers tbody tr")[1]
    assert one(second, ".widths").text.split("\n") == ["in", "3/8"]
    assert one(second, ".rank").text == "2"
    group = one(page, '#groups [data-group="conv1"]')
    assert "3 of 8 stay, loss 12.5" in group.text
    assert len(all_of(group, ".halo")) == 1
    assert "5 channels removed" in one(page, "#layers tfoot").text
    assert "for these options" in one(page, "#totals-list").text
    assert "nothing reads it" in one(page, "#whole").text


def test_without_groups_nothing_is_said_of_channels(opened, frontier, curves):
    page = opened(frontier, curves)
    assert not one(page, "#groups-section").is_displayed()
    assert "channels" not in one(page, "#layers").text


@pytest.mark.parametrize("width", [320, 390, 768, 1200])
def test_no_strip_sticks_out(opened, narrowed, coupled, width):
    page = opened(narrowed, coupled, width)
    page.execute_script("arguments[0].focus()", point(page, 7))
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


def pick(page, which, name):
    Select(one(page, f"#pick-{which}")).select_by_visible_text(name)


def tags(page, selector):
    return [mark.text for mark in all_of(page, f"{selector} .tag")]


def test_two_points_are_compared(opened, narrowed, coupled):
    page = opened(narrowed, coupled)
    assert not tags(page, "main section")
    pick(page, "a", "eckart, keep 0.4")
    pick(page, "b", "eckart, keep 0.2")
    titles = [title.text.replace("\n", " ") for title in all_of(page, "#totals-title .title")]
    assert titles == ["A eckart, keep 0.4", "B eckart, keep 0.2"]
    chosen = [p.get_attribute("data-point") for p in all_of(page, '.point[aria-pressed="true"]')]
    assert sorted(chosen) == ["6", "7"]
    first = all_of(page, "#layers tbody tr")[0]
    form = narrowed.points[6].plan.choices["conv1"].form
    assert one(first, ".done").text.split("\n") == [
        "A",
        "weighted_svd",
        str(form),
        "B",
        "narrowed",
        "3→3 (3×3)",
    ]
    same = all_of(page, "#layers tr.same")
    assert [one(row, "th").text for row in same] == ["mix"]
    assert tags(page, "#layers tr.same .done") == ["A", "B"]
    one(page, "#only-differing").click()
    assert len(rows(page)) == len(coupled.specs) - 1
    assert len(all_of(page, "#spectra .cut.side-1")) > 0
    one(page, "#swap").click()
    assert one(page, "#totals-title").text.split("\n")[:2] == ["A", "eckart, keep 0.2"]
    pick(page, "b", "nothing")
    assert one(page, "#totals-title").text == "eckart, keep 0.2"
    assert not tags(page, "main section")


def test_a_second_point_is_chosen_by_keyboard(opened, frontier, curves):
    page = opened(frontier, curves)
    page.execute_script("arguments[0].focus()", point(page, 5))
    page.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    focused = page.switch_to.active_element
    assert focused.get_attribute("data-point") == "6"
    focused.send_keys(Keys.SHIFT, Keys.ENTER)
    assert one(page, "#pick-b").get_attribute("value") == "6"
    assert "compared with" in one(page, "#announcement").get_attribute("textContent")


def test_where_the_costs_are(opened, frontier, curves):
    page = opened(frontier, curves)
    point(page, 7).click()
    name = max(curves.specs, key=lambda name: curves.specs[name].dense.params)
    assert f"parameters by layer; most in {name}" in one(page, "#where").get_attribute("aria-label")
    assert len(all_of(page, "#where .whole")) == len(curves.specs) + 1  # with everything else
    one(page, '#where-switches input[value="loss"]').click()
    assert not all_of(page, "#where .whole")
    assert len(all_of(page, "#where .part")) == len(frontier.points[7].plan.choices)
    ActionChains(page).move_to_element(one(page, "#where")).perform()
    assert "after" in one(page, "#where-tip").text


def test_healing_is_drawn(opened, frontier, curves, log):
    page = opened(frontier, curves, healed={(0.2, "eckart"): log})
    assert "was not healed" in one(page, "#healing").text
    one(page, "#healing button").click()
    assert one(page, "#totals-title").text == "eckart, keep 0.2"
    assert len(all_of(page, "#healing figure > svg .step")) == 4
    assert len(all_of(page, "#healing figure > svg .step.accepted")) == 3
    assert "0.4000 → 0.1000 (lower is better, 50 examples)" in one(page, "#healing").text
    cells = [row.text for row in all_of(page, "#healing tbody tr")]
    assert len(cells) == 5
    assert "<img src=x onerror=window.hacked=3>" in cells[3]


def test_without_healing_nothing_is_said_of_it(opened, frontier, curves):
    assert not all_of(opened(frontier, curves), "#healing-section")


def test_a_point_is_made_again(opened, frontier, curves):
    page = opened(frontier, curves, point_command=lambda p: f"make {p.label} {p.keep}")
    point(page, 5).click()
    texts = [code.text for code in all_of(page, "#recipes code")]
    assert texts[0] == "make eckart 0.6"
    assert texts[1].split("\n")[1] == (
        'plan = eckart.Plan.loads(pathlib.Path("plan-eckart-keep-0.6.json").read_text())'
    )
    page.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"]})
    copy = '[aria-label="Copy: eckart, keep 0.6, on the command line"]'
    one(page, copy).click()
    WebDriverWait(page, 3).until(lambda _: one(page, copy).text == "Copied")


def test_the_python_of_the_page_runs_on_the_plan_that_it_hands_out(
    opened, frontier, curves, tmp_path, monkeypatch
):
    page = opened(frontier, curves)
    settings = {"behavior": "allow", "downloadPath": str(tmp_path)}
    page.execute_cdp_cmd("Browser.setDownloadBehavior", settings)
    point(page, 5).click()
    next(b for b in all_of(page, "#recipes button") if b.text == "Download the plan").click()
    file = tmp_path / "plan-eckart-keep-0.6.json"
    WebDriverWait(page, 5).until(lambda _: file.exists())
    (code,) = [code.text for code in all_of(page, "#recipes code")]
    calls = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(eckart, "calibrate", lambda *given: given)
    monkeypatch.setattr(eckart, "apply", lambda *given: calls.append(given))
    exec(compile(code, "report.html", "exec"), {"model": "model", "batches": "batches"})
    assert calls == [("model", frontier.points[5].plan, ("model", "batches"))]


def test_the_page_opens_near_the_recommended_point_in_megabytes(opened, frontier, curves):
    page = opened(frontier, curves, whole=False)
    checked = [box.get_attribute("value") for box in all_of(page, "#switches input:checked")]
    assert checked == ["bytes", "near"]
    assert "megabytes; dense has" in one(page, "#frontier").text
    assert one(page, ".verdict strong").text == "Recommended: eckart, keep 0.8."
    assert one(page, "#totals-title").text == "eckart, keep 0.8"


def test_files_are_offered_with_the_point_they_hold(opened, frontier, curves, tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "weights").write_bytes(b"x" * 2_000_000)
    (tmp_path / "my net.onnx").write_bytes(b"x" * 1_230_000)
    files = {tmp_path / "net": "for eckart.load", tmp_path / "my net.onnx": "for others"}
    page = opened(frontier, curves, taken=Taken(files, "one\ntwo"))
    cells = [row.text for row in all_of(page, "#take tbody tr")]
    assert cells == ["net/ 2.00 MB for eckart.load", "my net.onnx 1.23 MB for others"]
    assert one(page, "#take a").get_attribute("href").endswith("/my%20net.onnx")
    point(page, 7).click()
    assert not one(page, "#take").is_displayed()


def test_what_stayed_dense_is_listed_largest_first(opened, frontier, curves):
    page = opened(frontier, curves)
    point(page, 7).click()
    sizes = [int(line.text.split()[0].replace(",", "")) for line in all_of(page, "#stayed dd")]
    stayed = set(curves.specs) - set(frontier.points[7].plan.choices)
    assert sizes == sorted((curves.specs[name].dense.params for name in stayed), reverse=True)
    name = one(page, "#stayed dt").text
    assert one(page, "#stayed dd").text.endswith(frontier.points[7].plan.dense[name])


# What a screen reader says, from the browser's own tree of the page.
NAMED = {"button", "combobox", "radio", "checkbox", "image", "img", "heading", "link", "table"}
NAMED |= {"region", "radiogroup", "columnheader", "rowheader"}


@pytest.mark.parametrize("width", [390, 1200])
def test_a_screen_reader_finds_its_way(opened, narrowed, coupled, width):
    page = opened(narrowed, coupled, width)
    tree = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    said = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if not node["ignored"]
    ]
    assert [role for role, name in said if role in NAMED and not name.strip()] == []
    assert {"banner", "main", "contentinfo"} <= {role for role, _ in said}
    levels = [int(h.tag_name[1]) for h in all_of(page, "h1, h2, h3, h4") if h.is_displayed()]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    order = [h.text for h in all_of(page, ".verdict strong, h2")]
    wanted = ["Recommended: eckart, keep 0.8.", "What is lost for what is saved", "Layer by layer"]
    assert [name for name in order if name in wanted] == wanted
    assert order[-1] == "Make it again"
    assert page.execute_script("return document.documentElement.lang") == "en"


def test_without_scores_losses_are_drawn(opened, unscored, curves):
    page = opened(unscored, curves)
    assert len(all_of(page, "#frontier .point")) == len(unscored.points)
    assert "predicted loss" in one(page, "#frontier").text
    assert "Score" not in one(page, "#totals-list").text


def test_one_point_alone(opened, frontier, curves):
    page = opened(replace(frontier, points=frontier.points[-1:]), curves)
    assert len(all_of(page, "#frontier .point")) == 1
    assert not one(page, "#compare").is_displayed()


def test_a_thousand_layers(opened, thousand):
    page = opened(*thousand, width=390)
    assert len(rows(page)) == 60
    assert page.execute_script("return document.documentElement.scrollWidth") <= 390
    Select(one(page, "#pick-b")).select_by_index(2)
    assert len(tags(page, "#layers tbody tr:first-child .done")) == 2


@pytest.mark.parametrize("width", [320, 390, 1200])
def test_a_comparison_does_not_stick_out(opened, narrowed, coupled, log, width):
    healed = {(0.4, "eckart"): log, (0.2, "eckart"): log}
    page = opened(narrowed, coupled, width, healed=healed)
    pick(page, "a", "eckart, keep 0.4")
    pick(page, "b", "eckart, keep 0.2")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


def test_codes_are_drawn_as_areas(opened, coded, curves):
    browser = opened(coded, curves)
    areas = browser.find_elements(By.CSS_SELECTOR, "#layers .area")
    assert len(areas) == len(curves.specs)
    texts = [area.get_attribute("aria-label") for area in areas]
    assert any("weights of 3 bits, then" in text for text in texts)
    assert "megabytes" in browser.find_element(By.ID, "frontier").text
