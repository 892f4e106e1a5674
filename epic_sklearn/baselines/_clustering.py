"""Activation clustering (Chen et al. 2018)."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA, FastICA
from sklearn.metrics import silhouette_score

from .._utils import RandomState, resolve_seed
from ._base import Rival, check_number

REDUCE = ("PCA", "FastICA")
CLUSTER_ANALYSIS = ("relative-size", "silhouette-scores", "smaller")


class ActivationClustering(Rival):
    """Cluster each class in two, and drop a suspiciously small cluster.

    The features of each class are reduced to `nb_dims` dimensions and split by
    2-means. Where the smaller cluster looks like an intruder, all of it is
    dropped: clean parts of a class that form a cluster go with it, and poisons
    too few to pull a centre to themselves stay.

    Parameters
    ----------
    extractor : extractor, classifier, torch.nn.Module, callable or None
        Where features come from: ``LastLayerInputs(classifier)``,
        ``PrecomputedGradients()`` where X already is the features, a function
        ``(X, y) -> (n, d)``, or a classifier or torch module (wrapped in
        LastLayerInputs). None takes X itself, flattened.
    nb_dims : int, default=10
        Dimensions to cluster in; fewer where the features of a class have
        fewer.
    reduce : {"PCA", "FastICA"}, default="PCA"
        How to reduce. The paper takes independent components; on features like
        normal noise scikit-learn then warns that they did not converge.
    cluster_analysis : {"relative-size", "silhouette-scores", "smaller"}, \
default="relative-size"
        When a smaller cluster is dropped. "relative-size": its share of the class
        is below `size_threshold`. "silhouette-scores": and the clusters are
        further apart than `silhouette_threshold`. "smaller": always, in every
        class, up to half of it.
    size_threshold : float, default=0.35
        In [0, 0.5].
    silhouette_threshold : float, default=0.1
        Mean silhouette coefficient, in [-1, 1].
    min_class_fraction : float, default=0.5
        Share of each class that is always kept.
    random_state : int, RandomState instance or None, default=None
        For the centres that 2-means begins with, and independent components.

    Attributes
    ----------
    keep_ : ndarray of shape (n,), bool
        Which training rows are kept.
    isolated_indices_ : ndarray of int
        Row numbers of those that are not; named as in EPICFilter.
    isolation_score_ : ndarray of shape (n,)
        In [0, 1]: the share of the class that is in the other cluster, raised
        by less than one example's share the nearer the row is to its own
        centre; named as in EPICFilter.
    extractor_ : extractor
        The fitted extractor.
    classes_ : ndarray
        The labels.
    n_features_in_ : int
        Number of features seen during ``fit``.
    feature_names_in_ : ndarray
        Their names, where X has string column names.

    See Also
    --------
    epic_sklearn.EPICFilter : Looks for single examples rather than clusters.

    Notes
    -----
    Parameters and their defaults are named as in the Adversarial Robustness
    Toolbox, save the default of `cluster_analysis`, which is "smaller" there and
    drops the smaller part of every clean class.

    References
    ----------
    Chen, Carvalho, Baracaldo, Ludwig, Edwards, Lee, Molloy, Srivastava: Detecting
    Backdoor Attacks on Deep Neural Networks by Activation Clustering, 2018,
    arXiv:1811.03728.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn.baselines import ActivationClustering
    >>> X, y = load_iris(return_X_y=True)
    >>> X[:10] = X[100:110]  # setosas that look like virginicas
    >>> detector = ActivationClustering(random_state=0).fit(X, y)
    >>> bool(detector.keep_[:10].any())
    False
    >>> detector.keep_[10:].sum()  # with them, 14 of 50 clean virginicas
    np.int64(126)
    """

    uses = "features"

    def __init__(
        self,
        extractor: Any = None,
        *,
        nb_dims: int = 10,
        reduce: str = "PCA",
        cluster_analysis: str = "relative-size",
        size_threshold: float = 0.35,
        silhouette_threshold: float = 0.1,
        min_class_fraction: float = 0.5,
        random_state: RandomState = None,
    ) -> None:
        self.extractor = extractor
        self.nb_dims = nb_dims
        self.reduce = reduce
        self.cluster_analysis = cluster_analysis
        self.size_threshold = size_threshold
        self.silhouette_threshold = silhouette_threshold
        self.min_class_fraction = min_class_fraction
        self.random_state = random_state

    def _check_parameters(self) -> None:
        check_number(
            "nb_dims",
            self.nb_dims,
            1,
            float("inf"),
            "the number of dimensions to cluster in",
            integer=True,
        )
        check_number(
            "size_threshold",
            self.size_threshold,
            0,
            0.5,
            "the share of a class below which a cluster is suspicious",
        )
        check_number(
            "silhouette_threshold",
            self.silhouette_threshold,
            -1,
            1,
            "the mean silhouette coefficient above which a cluster is suspicious",
        )
        for name, choices in (
            ("reduce", REDUCE),
            ("cluster_analysis", CLUSTER_ANALYSIS),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; choose one of {choices}."
                )

    def _assess(
        self, values: np.ndarray, codes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        seed = resolve_seed(self.random_state)
        score = np.zeros(len(codes))
        flagged = np.zeros(len(codes), dtype=bool)
        for code in np.unique(codes):
            rows = np.flatnonzero(codes == code)
            reduced = self._reduce(values[rows], seed)
            if reduced is not None:
                score[rows], flagged[rows] = self._split(reduced, seed)
        return score, flagged

    def _reduce(self, features: np.ndarray, seed: int) -> np.ndarray | None:
        """Fewer dimensions; None where all rows are equal."""
        if (features == features[0]).all():
            return None
        centred = features - features.mean(axis=0)
        centred /= np.abs(centred).max()  # activations may be tiny
        pca = PCA(min(self.nb_dims, *centred.shape), random_state=seed)
        reduced = pca.fit_transform(centred)
        if self.reduce == "PCA":
            return reduced
        varies = pca.singular_values_ > 1e-9 * pca.singular_values_[0]
        ica = FastICA(whiten="unit-variance", random_state=seed)
        return ica.fit_transform(reduced[:, varies])

    def _split(self, reduced: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Score the rows of one class and flag its smaller cluster."""
        n = len(reduced)
        kmeans = KMeans(2, n_init=10, random_state=seed).fit(reduced)
        distances, labels = kmeans.transform(reduced), kmeans.labels_
        own, other = (
            distances[np.arange(n), labels],
            distances[np.arange(n), 1 - labels],
        )
        sizes = np.bincount(labels, minlength=2)
        nearness = other / np.maximum(own + other, np.finfo(np.float64).tiny)
        score = 1.0 - (sizes[labels] - nearness) / n
        suspicious = self._is_suspicious(sizes.min() / n, reduced, labels)
        return score, (labels == sizes.argmin()) & suspicious

    def _is_suspicious(
        self, share: float, reduced: np.ndarray, labels: np.ndarray
    ) -> bool:
        if self.cluster_analysis == "smaller":
            return True
        if share >= self.size_threshold:
            return False
        if self.cluster_analysis == "relative-size" or len(reduced) < 3:
            return self.cluster_analysis == "relative-size"
        return bool(silhouette_score(reduced, labels) > self.silhouette_threshold)
