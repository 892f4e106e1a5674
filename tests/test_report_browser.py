"""The audit page in a real browser: sorting, filtering, marking, downloading."""

import csv
import shutil
import time
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression

from epic_sklearn import EPICFilter, LastLayerGradients, PrecomputedGradients
from epic_sklearn.report import fit_id
from epic_sklearn.rules import IsolatedMedoids, NeighborVotes, RandomDrop

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is missing")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1360,1000",
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="chromium or chromedriver is not installed",
)
MANY_MEDOIDS = IsolatedMedoids(subset_size=0.3)
EVIL = "</script><img src=x onerror='window.evil=1'><script>window.evil=1</script>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def visit(browser, tmp_path):
    """Open a page with nothing marked, downloads going to `tmp_path`."""

    def visit(path):
        behaviour = {"behavior": "allow", "downloadPath": str(tmp_path / "got")}
        browser.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
        browser.get(path.as_uri())
        browser.execute_script("localStorage.clear()")
        browser.refresh()
        browser.get_log("browser")
        return browser

    yield visit
    assert browser.get_log("browser") == []  # no error, nothing blocked


@pytest.fixture(scope="module")
def iris_page(tmp_path_factory):
    X, y = load_iris(return_X_y=True, as_frame=True)
    names = load_iris().target_names[y]
    detector = EPICFilter(LastLayerGradients(), rule=MANY_MEDOIDS).fit(X, names)
    path = tmp_path_factory.mktemp("page") / "audit.html"
    return detector.report(X, names, path), detector, names


def column(browser, name):
    """Texts of a column, in the order shown."""
    return browser.execute_script(
        """const heads = [...document.querySelectorAll('#table thead th')];
        const k = heads.findIndex((th) => th.textContent === arguments[0]);
        return [...document.querySelectorAll('#table tbody tr[data-place]')]
          .map((line) => line.cells[k].textContent);""",
        name,
    )


def click_head(browser, name):
    for button in browser.find_elements("css selector", "#table thead button"):
        if button.text.strip() == name:
            button.click()


def one(browser, selector):
    return browser.find_element("css selector", selector)


def wait_for_file(folder, pattern, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = [f for f in folder.glob(pattern) if f.suffix != ".crdownload"]
        if found:
            return found[0]
        time.sleep(0.1)
    raise AssertionError(f"no {pattern} in {folder}")


def choose(browser, selector, value):
    browser.execute_script(
        """const field = document.querySelector(arguments[0]);
        field.value = arguments[1];
        field.dispatchEvent(new Event('input', {bubbles: true}));
        field.dispatchEvent(new Event('change', {bubbles: true}));""",
        selector,
        value,
    )


def test_columns_sort_both_ways_and_say_so(visit, iris_page):
    browser = visit(iris_page[0])
    rows = [int(text) for text in column(browser, "Row")]
    scores = iris_page[1].isolation_score_[rows]
    assert (np.diff(scores) <= 0).all() and len(rows) == len(set(rows))
    assert sorted(rows) == iris_page[1].isolated_indices_.tolist()
    click_head(browser, "Row")
    assert [int(text) for text in column(browser, "Row")] == sorted(rows)
    head = one(browser, "#table th[aria-sort]")
    assert head.text.strip().startswith("Row")
    assert head.get_attribute("aria-sort") == "ascending"
    click_head(browser, "Row")
    assert [int(text) for text in column(browser, "Row")] == sorted(rows)[::-1]
    click_head(browser, "Label")
    assert column(browser, "Label") == sorted(column(browser, "Label"))


def test_filters_combine_and_clear(visit, iris_page):
    path, detector, names = iris_page
    browser = visit(path)
    flagged = detector.isolated_indices_
    choose(browser, "#filter-label", "2")
    assert set(column(browser, "Label")) == {"virginica"}
    assert len(column(browser, "Row")) == (names[flagged] == "virginica").sum()
    one(browser, "#filter-wrong").click()
    assert "virginica" not in column(browser, "Prediction")
    one(browser, "#filters button[type=reset]").click()
    time.sleep(0.1)
    assert len(column(browser, "Row")) == len(flagged)
    choose(browser, "#filter-text", "SETO")
    assert set(column(browser, "Label")) == {"setosa"}
    choose(browser, "#filter-text", str(flagged[-1]))
    assert column(browser, "Row") == [str(flagged[-1])]
    choose(browser, "#filter-text", "nothing like it")
    assert column(browser, "Row") == []
    assert one(browser, "#nothing").is_displayed()
    assert not one(browser, "#detail").is_displayed()


def test_marks_survive_a_reload_and_come_back_as_decisions(visit, iris_page, tmp_path):
    path, _, names = iris_page
    browser = visit(path)
    assert not one(browser, "#download").is_enabled()
    rows = [int(text) for text in column(browser, "Row")]
    one(browser, "#table tbody [data-mark=keep]").click()
    browser.find_elements("css selector", "#table tbody [data-mark=drop]")[1].click()
    one(browser, "#detail [data-step='1']").click()
    one(browser, "#detail [data-mark=keep]").click()
    assert "3 of" in one(browser, "#progress").text
    assert "2 keep, 1 drop" in one(browser, "#progress").text
    browser.refresh()
    assert "2 keep, 1 drop" in one(browser, "#progress").text
    choose(browser, "#filter-decision", "keep")
    assert [int(text) for text in column(browser, "Row")] == [rows[0], rows[2]]
    one(browser, "#download").click()
    file = wait_for_file(tmp_path / "got", "decisions-fit-*.csv")
    detector = EPICFilter(LastLayerGradients(), rule=MANY_MEDOIDS)
    detector.fit(load_iris(as_frame=True).data, names)
    expected = detector.keep_.copy()
    expected[[rows[0], rows[2]]] = True
    np.testing.assert_array_equal(detector.apply_decisions(file).keep_, expected)
    assert not detector.keep_[rows[1]]


def test_keys_move_mark_and_unmark(visit, iris_page):
    browser = visit(iris_page[0])
    keys = webdriver.ActionChains(browser)
    one(browser, "#table tbody tr[tabindex='0'] td").click()
    keys.send_keys("k", Keys.ARROW_DOWN, "d").perform()
    words = browser.execute_script(
        "return [...document.querySelectorAll('#table tr[data-place]')]"
        ".map((line) => line.dataset.decision)"
    )
    assert words[:4] == ["keep", "", "drop", ""]
    focused = "return document.activeElement.getAttribute('aria-rowindex')"
    assert browser.execute_script(focused) == "5"
    webdriver.ActionChains(browser).send_keys(Keys.ARROW_UP, "u", Keys.HOME).perform()
    assert browser.execute_script(focused) == "2"
    assert "1 of" in one(browser, "#progress").text
    webdriver.ActionChains(browser).send_keys(Keys.END).perform()
    n = len(iris_page[1].isolated_indices_)
    assert browser.execute_script(focused) == str(n + 1)


def test_marking_all_asks_before_it_changes_other_marks(visit, iris_page):
    browser = visit(iris_page[0])
    one(browser, "#table tbody [data-mark=keep]").click()
    one(browser, "[data-bulk=drop]").click()
    browser.switch_to.alert.dismiss()
    assert "1 keep, 0 drop" in one(browser, "#progress").text
    one(browser, "[data-bulk=drop]").click()
    browser.switch_to.alert.accept()
    assert "0 keep" in one(browser, "#progress").text
    n = len(iris_page[1].isolated_indices_)
    assert f"{n} of {n} marked" in one(browser, "#progress").text


def test_the_gradient_space_is_that_of_the_selected_row(visit, iris_page):
    browser = visit(iris_page[0])
    spaces = set()
    for _ in range(len(iris_page[1].isolated_indices_)):
        (label,) = browser.find_elements(
            "css selector", "#table tr.current td:nth-child(2)"
        )
        chosen = one(browser, "#space-class option:checked").text
        assert chosen.startswith(f"{label.text} (")
        spaces.add(chosen)
        one(browser, "#detail [data-step='1']").click()
    assert len(spaces) > 1
    choose(browser, "#filter-label", "2")
    assert one(browser, "#space-class option:checked").text.startswith("virginica")


def test_pointing_shows_the_example_and_a_click_opens_it(visit, iris_page):
    browser = visit(iris_page[0])
    choose(browser, "#space-class", "1")
    canvas = one(browser, "#space")
    canvas.send_keys(Keys.ARROW_RIGHT)
    tooltip = one(browser, "#tooltip")
    # On a busy machine the page is drawn later than the key is sent.
    WebDriverWait(browser, 20).until(lambda _: tooltip.is_displayed())
    assert "versicolor" in tooltip.text
    assert "nearest kept" in tooltip.text  # its differences
    row = tooltip.text.split()[1]
    canvas.send_keys(Keys.ENTER)
    assert one(browser, "#detail h3").text == f"Row {row}"
    place = browser.execute_script(
        "return [...document.querySelectorAll('#space')].map((c) => c.clientWidth)[0]"
    )
    assert place > 300


def test_planted_markup_stays_text(visit, tmp_path):
    X, y = load_iris(return_X_y=True, as_frame=True)
    X.columns = [EVIL, "<b>bold</b>", "=cmd()", "{{ 7 * 7 }}"]
    X.index = [f"{EVIL}{i}" for i in range(150)]
    labels = np.array([EVIL, "=HYPERLINK(\"x\",'y')", "@sum\r\n{{ 6 * 7 }}"])[y]
    detector = EPICFilter(LastLayerGradients(), rule=MANY_MEDOIDS).fit(X, labels)
    path = detector.report(X, labels, tmp_path / "evil.html", title=EVIL)
    browser = visit(path)
    assert browser.title == EVIL and one(browser, "h1").text == EVIL
    for code in "012":
        choose(browser, "#space-class", code)
        one(browser, "#space").send_keys(Keys.ARROW_RIGHT)
    for _ in range(3):
        one(browser, "#detail [data-step='1']").click()
    one(browser, "[data-bulk=keep]").click()
    counts = browser.execute_script(
        "return ['script', 'img', 'b'].map((t) => document.body"
        ".querySelectorAll(t).length).concat([window.evil === undefined])"
    )
    assert counts[0] == 2 and counts[1] == 0 and counts[3]
    assert EVIL in one(browser, "#detail").text
    assert "{{ 7 * 7 }}" in one(browser, "#detail").text
    one(browser, "#download").click()
    file = wait_for_file(tmp_path / "got", "decisions-*.csv")
    lines = list(csv.DictReader(file.open(encoding="utf-8-sig", newline="")))
    assert {line["label"] for line in lines} <= {
        EVIL,
        "'=HYPERLINK(\"x\",'y')",
        "'@sum\r\n{{ 6 * 7 }}",
    }
    assert detector.apply_decisions(file).keep_.all()


def test_ten_thousand_flagged_rows_are_shown_sorted_and_marked_at_once(visit, tmp_path):
    rng = np.random.default_rng(0)
    n, n_classes = 11_000, 22
    X, y = rng.normal(size=(n, 2)), np.arange(n) % n_classes
    rule = IsolatedMedoids(subset_size=1.0)
    detector = EPICFilter(PrecomputedGradients(), rule=rule, min_class_fraction=0.05)
    with pytest.warns(UserWarning, match="So many examples"):
        detector.fit(X, y)
    n_flagged = len(detector.isolated_indices_)
    assert n_flagged > 10_000
    browser = visit(detector.report(X, y, tmp_path / "a.html"))
    lines = "return document.querySelectorAll('#table tbody tr').length"
    assert browser.execute_script(lines) < 60
    one(browser, "#table thead button").click()
    assert browser.execute_script(lines) < 60
    box = one(browser, "#table-box")
    browser.execute_script("arguments[0].scrollTop = 1e9", box)
    time.sleep(0.3)
    last = column(browser, "Row")[-1]
    assert int(last) == detector.isolated_indices_[-1]
    one(browser, "[data-bulk=drop]").click()
    assert f"{n_flagged:,} drop" in one(browser, "#progress").text
    one(browser, "#download").click()
    file = wait_for_file(tmp_path / "got", "decisions-*.csv")
    assert len(pd.read_csv(file)) == n_flagged


def test_rows_named_by_a_column_called_row_keep_their_numbers(visit, tmp_path):
    X, y = load_digits(return_X_y=True)
    frame = pd.DataFrame(X[:300], index=pd.Index(np.arange(300)[::-1], name="row"))
    detector = EPICFilter(LogisticRegression(max_iter=1000)).fit(frame, y[:300])
    browser = visit(detector.report(frame, y[:300], tmp_path / "a.html"))
    one(browser, "[data-bulk=drop]").click()
    one(browser, "#download").click()
    file = pd.read_csv(wait_for_file(tmp_path / "got", "decisions-*.csv"))
    assert set(file["row"]) == set(detector.isolated_indices_.tolist())
    assert (file["data row"] == 299 - file["row"]).all()


def test_images_are_drawn_in_table_and_detail(visit, tmp_path):
    X, y = load_digits(return_X_y=True)
    X, y = X[:300] / 16, y[:300]
    model = LastLayerGradients(LogisticRegression(max_iter=1000))
    detector = EPICFilter(model, n_rounds=3).fit(X, y)
    images = X.reshape(-1, 8, 8)
    browser = visit(detector.report(X, y, tmp_path / "a.html", images=images))
    history = browser.find_elements(
        "css selector", "[aria-labelledby=history-title] tbody tr"
    )
    numbers = [line.text.split()[:3] for line in history]
    assert numbers == [
        [str(r.epoch), str(r.n_dropped), str(r.n_kept)] for r in detector.rounds_
    ]
    time.sleep(0.3)
    row = int(column(browser, "Row")[0])
    for where in ("#table tbody", "#detail figure"):
        drawn = browser.execute_script(
            "const c = document.querySelector(arguments[0] + ' canvas');"
            "return [...c.getContext('2d').getImageData(0, 0, 8, 8).data]",
            where,
        )
        np.testing.assert_array_equal(drawn[::4], np.rint(255 * images[row]).ravel())
    assert len(browser.find_elements("css selector", "#detail figure")) == 2


@pytest.fixture(scope="module")
def digits_page(tmp_path_factory):
    """A page with everything that a table can have beside its differences."""
    X, y = load_digits(return_X_y=True, as_frame=True)
    X, y = X[:300], y[:300]
    X.index = [f"digit {i}" for i in range(300)]
    model = LastLayerGradients(LogisticRegression(max_iter=5000))
    detector = EPICFilter(model, rule=IsolatedMedoids(), n_rounds=2).fit(X, y)
    images = X.to_numpy().reshape(-1, 8, 8) / 16
    path = tmp_path_factory.mktemp("digits") / "audit.html"
    return detector.report(X, y, path, images=images)


@contextmanager
def window(browser, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    time.sleep(0.3)
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


# Heads of the columns that are seen in full when the table is not scrolled sideways,
# and whether something lies on the differences of a row.
SEEN = """
const box = document.getElementById('table-box');
box.scrollIntoView();
const {left, right} = box.getBoundingClientRect();
const heads = [...document.querySelectorAll('#table thead th')];
const seen = heads.filter((th) => {
  const r = th.getBoundingClientRect();
  return r.width > 0 && r.left >= left && r.right <= right;
}).map((th) => th.textContent);
const k = heads.findIndex((th) => th.textContent.startsWith('Largest'));
const cell = document.querySelector('#table tr[data-place]').cells[k];
const r = cell.getBoundingClientRect();
const covered = [r.left + 2, r.right - 2]
  .map((x) => document.elementFromPoint(x, (r.top + r.bottom) / 2))
  .some((top) => top !== null && !cell.contains(top));
return [seen, covered, r.width];
"""


@pytest.mark.parametrize("width", [1000, 1100, 1263, 1280, 1600])
def test_decisions_stand_beside_differences_and_never_on_them(
    visit, digits_page, width
):
    browser = visit(digits_page)
    with window(browser, width):
        seen, covered, wide = browser.execute_script(SEEN)
        assert not covered and wide >= 170
        names = ["Index", "Example, nearest kept", "Label", "Prediction"]
        names += ["Isolation score", "Largest differences (nearest kept)", "Decision"]
        assert set(names) <= set(seen)


def test_columns_come_back_when_there_is_room(visit, digits_page):
    browser = visit(digits_page)
    for width, is_seen in ((1000, False), (1600, True), (1280, False)):
        with window(browser, width):
            seen = browser.execute_script(SEEN)[0]
            assert ("Round" in seen) == is_seen
            lines = browser.execute_script(
                "return [...document.querySelectorAll('#table tr[data-place]')]"
                ".map((line) => [...line.cells].filter((td) => !td.hidden).length)"
            )
            assert set(lines) == {len(seen)}


def test_a_table_too_narrow_is_scrolled_and_nothing_covered(visit, digits_page):
    browser = visit(digits_page)
    with window(browser, 600):
        wide = "const b = document.getElementById('table-box');"
        assert browser.execute_script(f"{wide} return b.scrollWidth > b.clientWidth")
        browser.execute_script(f"{wide} b.scrollLeft = 1e4")
        assert not browser.execute_script(SEEN)[1]


def test_a_page_with_nothing_flagged_says_so(visit, tmp_path):
    X, y = load_iris(return_X_y=True)
    detector = EPICFilter(rule=IsolatedMedoids(subset_size=0.02)).fit(X, y)
    assert detector.keep_.all()
    browser = visit(detector.report(X, y, tmp_path / "a.html"))
    assert "Nothing is flagged" in one(browser, "main").text
    assert not browser.find_elements("css selector", "#table")
    assert one(browser, "#space").is_displayed()


def test_marks_work_where_the_browser_stores_nothing(visit, iris_page):
    browser = visit(iris_page[0])
    block = (
        "Object.defineProperty(window, 'localStorage', "
        "{get() { throw new DOMException('blocked', 'SecurityError'); }})"
    )
    added = browser.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": block}
    )
    try:
        browser.refresh()
        one(browser, "#table tbody [data-mark=drop]").click()
        assert "0 keep, 1 drop" in one(browser, "#progress").text
        assert "does not store" in one(browser, "#storage").text
        one(browser, "#download").click()  # then nothing is lost by leaving
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


@pytest.mark.parametrize("width", [360, 800, 1360])
def test_nothing_overflows_the_page(visit, iris_page, width):
    browser = visit(iris_page[0])
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        overflow = (
            "return document.documentElement.scrollWidth - "
            "document.documentElement.clientWidth"
        )
        assert browser.execute_script(overflow) <= 0
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_printing_brings_rows_out_of_sight_on_paper(visit, iris_page):
    browser = visit(iris_page[0])
    n = len(iris_page[1].isolated_indices_)
    browser.execute_script(
        "document.getElementById('table-box').style.maxHeight='9rem'"
    )
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert len(column(browser, "Row")) == n
    browser.execute_script("dispatchEvent(new Event('afterprint'))")


def test_the_page_belongs_to_the_fit(visit, iris_page):
    browser = visit(iris_page[0])
    assert fit_id(iris_page[1]._schedule) in one(browser, "footer").text


def test_a_rule_that_makes_no_clusters_has_no_column_of_them(visit, tmp_path):
    X, y = load_iris(return_X_y=True)
    model = LastLayerGradients(LogisticRegression(max_iter=1000))
    for rule, n_columns in ((NeighborVotes(), 0), (IsolatedMedoids(), 1)):
        detector = EPICFilter(model, rule=rule).fit(X, y)
        path = detector.report(X, y, tmp_path / "a.html", overwrite=True)
        browser = visit(path)
        heads = [h.text for h in browser.find_elements("css selector", "#table th")]
        assert sum("Cluster" in head for head in heads) == n_columns
        assert type(rule).__name__ in one(browser, "header").text


def test_kept_points_are_seen_among_six_thousand_flagged_ones(visit, tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(11_000, 2)), np.arange(11_000) // 9000
    rule = RandomDrop(drop_fraction=0.67)
    detector = EPICFilter(
        PrecomputedGradients(), rule=rule, min_class_fraction=0.1, random_state=0
    ).fit(X, y)
    browser = visit(detector.report(X, y, tmp_path / "a.html"))
    time.sleep(0.3)
    blue, red = browser.execute_script(
        """const c = document.getElementById('space');
        const {data} = c.getContext('2d').getImageData(0, 0, c.width, c.height);
        let [blue, red] = [0, 0];
        for (let k = 0; k < data.length; k += 4) if (data[k + 3] > 100) {
          if (data[k + 2] > data[k]) blue += 1; else red += 1;
        }
        return [blue, red];"""
    )
    assert blue > red / 4 > 1000


def test_long_names_break_where_their_words_do(visit, tmp_path):
    X, y = load_iris(return_X_y=True, as_frame=True)
    X.columns = [f"the_{name}_of_the_flower_in_centimetres" for name in "abcd"]
    labels = np.array([f"iris_{name}_of_anderson" for name in "xyz"])[y]
    detector = EPICFilter(LastLayerGradients(), rule=MANY_MEDOIDS).fit(X, labels)
    browser = visit(detector.report(X, labels, tmp_path / "a.html"))
    # The text of each line that a name is broken into.
    broken = browser.execute_script(
        """return [...document.querySelectorAll('.plain .text bdi, .detail tbody th')]
          .map((cell) => {
            const lines = new Map(), range = document.createRange();
            const walk = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
            while (walk.nextNode()) for (const k in walk.currentNode.data) {
              range.setStart(walk.currentNode, +k);
              range.setEnd(walk.currentNode, +k + 1);
              const top = Math.round(range.getBoundingClientRect().top);
              lines.set(top, (lines.get(top) ?? '') + range.toString());
            }
            return [...lines.values()];
          });"""
    )
    assert any(len(lines) > 1 for lines in broken)
    for lines in broken:
        assert all(line.endswith("_") for line in lines[:-1]), lines
