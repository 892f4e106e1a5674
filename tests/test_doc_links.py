"""Links from the HTML representation of estimators to their pages."""

import inspect
from pathlib import Path

import pytest

import epic_sklearn
from epic_sklearn import EPICFilter, attacks, rules

API_PAGE = Path(__file__).parents[1] / "docs" / "api.rst"
PARTS = {
    name: part
    for name in epic_sklearn.__all__
    if inspect.ismodule(part := getattr(epic_sklearn, name)) and name != "gradients"
}


@pytest.mark.parametrize(
    ("estimator", "page"),
    [
        (EPICFilter(), "epic_sklearn.EPICFilter.html"),
        (epic_sklearn.EPICClassifier(), "epic_sklearn.EPICClassifier.html"),
        (rules.DeepKNN(), "epic_sklearn.rules.DeepKNN.html"),
        (attacks.BadNets(), "epic_sklearn.attacks.BadNets.html"),
    ],
)
def test_representation_links_to_the_page_of_the_public_name(estimator, page):
    html = estimator._repr_html_()
    assert f"/generated/{page}" in html and "https://" in html


def test_a_users_own_subclass_has_no_page():
    class Mine(EPICFilter):
        pass

    assert "/generated/" not in Mine()._repr_html_()


def test_every_public_name_has_a_page():
    listed = set(API_PAGE.read_text().split())
    public = set(epic_sklearn.__all__) - {*PARTS, "gradients"}
    for name, part in PARTS.items():
        public |= {f"{name}.{of_part}" for of_part in part.__all__}
    # What is at the top as well has its page there.
    public -= {f"{part}.{name}" for part in PARTS for name in epic_sklearn.__all__}
    assert public <= listed, f"not in docs/api.rst: {sorted(public - listed)}"
