"""Links from the HTML representation of estimators to their pages."""

import pytest

import epic_sklearn
from epic_sklearn import EPICFilter, attacks, baselines


@pytest.mark.parametrize(
    ("estimator", "page"),
    [
        (EPICFilter(), "epic_sklearn.EPICFilter.html"),
        (epic_sklearn.EPICClassifier(), "epic_sklearn.EPICClassifier.html"),
        (baselines.DeepKNN(), "epic_sklearn.baselines.DeepKNN.html"),
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
