"""Twenty ordinary messy tables through ``scan`` and its page in a real browser."""

import contextlib
import io
import json
import shlex

import pandas as pd
import pytest
from cli_runs import mask_of, scan
from messy_tables import write_tables

pytest.importorskip("skrub", reason="skrub is missing")
pytest.importorskip("pyarrow", reason="pyarrow is missing")
from test_report_browser import CHROMIUM, DRIVER, browser, column, one, visit  # noqa: F401


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """Each table scanned: the folder, and what was printed, by name."""
    folder, found = tmp_path_factory.mktemp("messy"), {}
    for name, options in write_tables(folder).items():
        start = f"{folder}/{name}"
        files = ["--report", f"{start}.html", "--mask", f"{start}.mask.csv", "--json"]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            assert scan(start, *shlex.split(options), *files) == 0, name
        found[name] = json.loads(printed.getvalue())
    return folder, found


def test_every_table_is_read_and_its_columns_are_accounted_for(scanned):
    _, found = scanned
    assert len(found) == 20
    read = {name: result["columns"] for name, result in found.items()}
    assert read["gaps.csv"]["sepal_l"] == "number, 10 missing"
    assert read["german.csv"]["petal_w"] == "number"
    assert read["american.csv"]["day"] == "date, %m/%d/%Y"
    assert read["index.csv"][""].startswith("left out: an index")
    assert read["thousands.csv"]["empty"] == "left out: empty"
    assert read["tabs.tsv"]["note"] == "left out: --exclude"
    for name in ("packed.csv.gz", "lines.jsonl", "typed.parquet", "unknown.csv"):
        for column_name, what in read["gaps.csv"].items():
            if what.startswith(("number", "date")):
                assert read[name][column_name] == what, name
    # The flower with another's measurements is found however the table is written.
    # (Of rare.csv the highest losses are taken, of texts.csv the notes.)
    for name in ("plain", "german", "latin", "excel", "bom", "quoted", "american"):
        assert 0 in found[f"{name}.csv"]["suspicious"], name


def test_warnings_name_small_and_like_classes_with_their_counts(scanned):
    _, found = scanned
    assert any(
        "'unknown' (3 examples)" in text for text in found["rare.csv"]["warnings"]
    )
    (alike,) = [t for t in found["spelled.csv"]["warnings"] if "differ only" in t]
    assert "'Setosa ' (6 rows), 'setosa' (44 rows)" in alike


def test_what_the_model_does_not_see_is_in_the_mask(scanned):
    folder, _ = scanned
    mask = mask_of(folder / "tabs.tsv.mask.csv")
    table = pd.read_csv(folder / "tabs.tsv", sep="\t")
    assert mask["id"].tolist() == table["id"].tolist()
    assert mask["note"].tolist() == table["note"].tolist()
    assert mask_of(folder / "german.csv.mask.csv")["id"][3] == "F-00021"


@pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="chromium or chromedriver is not installed",
)
def test_every_page_opens_and_calls_rows_as_the_user_does(scanned, visit):  # noqa: F811
    folder, found = scanned
    for name, result in found.items():
        page = visit(folder / f"{name}.html")
        assert name in one(page, "h1").text
        heads = page.find_elements("css selector", "#table thead th")
        kind = heads[0].text.strip()
        data = json.loads(one(page, "#data").get_attribute("textContent"))
        assert len(data["table"]["row"]) == result["isolated"], name
        assert kind in ("id", "Line") or name == "images.npz"
        if kind == "id":
            assert all(text.startswith("F-") for text in column(page, kind))
        assert "--decisions" in one(page, "footer").text
        assert one(page, "#detail").text
    page = visit(folder / "quoted.csv.html")
    assert column(page, "Line")[0] == "2"  # of its two lines the first
    assert "seen by reader" in one(page, "#detail").text
    page = visit(folder / "images.npz.html")
    assert page.find_elements("css selector", "#table canvas")
    page = visit(folder / "texts.csv.html")
    assert all("seen by reader" in text for text in column(page, "note"))
