"""Gradients in their plane: scikit-learn's PCA, also where that could not go."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from epic_sklearn import OuterProductGradients
from epic_sklearn.projection import GradientPlane


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12])
def test_projection_matches_pca_without_building_outer_products(scale):
    rng = np.random.default_rng(0)
    gradients = OuterProductGradients(
        scale * rng.normal(size=(40, 3)), rng.normal(size=(40, 5))
    )
    shown = rng.permutation(40)[:25]
    plane = GradientPlane(gradients)
    points = plane.project(gradients[shown]) / scale
    pca = PCA(2).fit(gradients.toarray() / scale)
    expected = pca.transform(gradients.toarray() / scale)[shown]
    np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-9)
    np.testing.assert_allclose(
        plane.explained_variance_ratio, pca.explained_variance_ratio_
    )


@pytest.mark.parametrize("shape", [(40, 5), (300, 30), (3, 30), (20, 1), (2, 2)])
def test_projection_is_scikit_learns_pca(shape):
    gradients = np.random.RandomState(0).randn(*shape) + 1
    plane, k = GradientPlane(gradients), min(2, *shape)
    pca = PCA(k).fit(gradients)
    points = np.abs(plane.project(gradients)[:, :k])
    np.testing.assert_allclose(points, np.abs(pca.transform(gradients)), atol=1e-6)
    np.testing.assert_allclose(
        plane.explained_variance_ratio[:k], pca.explained_variance_ratio_, atol=1e-9
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("scale", [1.0, 1e-8, 1e-170, 1e170])
def test_projection_of_degenerate_gradients_is_finite(metric, scale):
    for gradients in (
        np.zeros((5, 3)),
        np.ones((5, 3)),
        np.array([[1.0], [2.0]]),
        np.ones((1, 2)),
        np.arange(6.0)[:, None] * [[1.0, -1.0]],  # on a line
    ):
        plane = GradientPlane(scale * gradients, metric)
        assert np.isfinite(plane.project(scale * gradients)).all()
        assert 0 <= plane.explained_variance_ratio.sum() <= 1 + 1e-9


def test_cosine_projects_directions():
    rng = np.random.default_rng(0)
    errors, inputs = rng.normal(size=(40, 3)), rng.normal(size=(40, 5))
    length = rng.uniform(0.1, 10, size=(40, 1))
    directions = GradientPlane(OuterProductGradients(errors, inputs), "cosine")
    for longer in (
        OuterProductGradients(errors * length, inputs),
        OuterProductGradients(errors, inputs * length),
    ):
        plane = GradientPlane(longer, "cosine")
        expected = directions.project(OuterProductGradients(errors, inputs))
        np.testing.assert_allclose(plane.project(longer), expected, atol=1e-9)


def test_of_many_rows_the_plane_is_that_of_a_part_and_nearly_the_same():
    gradients = np.random.default_rng(0).normal(size=(5000, 20)) * np.arange(20, 0, -1)
    plane = GradientPlane(gradients)
    expected = PCA(2).fit(gradients).explained_variance_ratio_
    np.testing.assert_allclose(plane.explained_variance_ratio, expected, atol=0.02)
    assert plane.project(gradients).shape == (5000, 2)
