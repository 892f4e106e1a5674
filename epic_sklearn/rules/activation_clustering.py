"""Activation clustering (Chen et al. 2018)."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA, FastICA
from sklearn.metrics import silhouette_score
from sklearn.utils._param_validation import Interval, StrOptions

from .base import Judgement, Memory, Rule


class ActivationClustering(Rule):
    """Cluster each class in two, and drop a suspiciously small cluster.

    The last layer's inputs of each class are reduced to `nb_dims` dimensions and
    split by 2-means. Where the smaller cluster looks like an intruder, all of it is
    dropped: clean parts of a class that form a cluster go with it, and poisons
    too few to pull a centre to themselves stay.

    Parameters
    ----------
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

    See Also
    --------
    IsolatedMedoids : Looks for single examples rather than clusters.

    Notes
    -----
    Parameters and their defaults are named as in the Adversarial Robustness
    Toolbox, save the default of `cluster_analysis`, which is "smaller" there and
    drops the smaller part of every clean class. Clusters are k-means', a local
    optimum: the same rows in another order may be split in another way.

    References
    ----------
    Chen, Carvalho, Baracaldo, Ludwig, Edwards, Lee, Molloy, Srivastava: Detecting
    Backdoor Attacks on Deep Neural Networks by Activation Clustering, 2018,
    arXiv:1811.03728.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from epic_sklearn import EPICFilter
    >>> from epic_sklearn.rules import ActivationClustering
    >>> X, y = load_iris(return_X_y=True)
    >>> X[:10] = X[100:110]  # setosas that look like virginicas
    >>> detector = EPICFilter(rule=ActivationClustering(), random_state=0).fit(X, y)
    >>> bool(detector.keep_[:10].any())
    False
    >>> detector.keep_[10:].sum()  # with them, 14 of 50 clean virginicas
    np.int64(126)
    """

    needs: ClassVar[tuple[str, ...]] = ("inputs",)
    flags: ClassVar[str] = (
        "the smaller of two clusters of a class where it looks like an intruder "
        "(`cluster_analysis`, `size_threshold`)"
    )
    score_is: ClassVar[str] = (
        "the share of the class that is in the other cluster, higher near the centre "
        "of its own"
    )
    to_drop_less: ClassVar[str] = "Lower size_threshold"

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "nb_dims": [Interval(Integral, 1, None, closed="left")],
        "reduce": [StrOptions({"PCA", "FastICA"})],
        "cluster_analysis": [
            StrOptions({"relative-size", "silhouette-scores", "smaller"})
        ],
        "size_threshold": [Interval(Real, 0, 0.5, closed="both")],
        "silhouette_threshold": [Interval(Real, -1, 1, closed="both")],
    }

    def __init__(
        self,
        *,
        nb_dims: int = 10,
        reduce: str = "PCA",
        cluster_analysis: str = "relative-size",
        size_threshold: float = 0.35,
        silhouette_threshold: float = 0.1,
    ) -> None:
        self.nb_dims = nb_dims
        self.reduce = reduce
        self.cluster_analysis = cluster_analysis
        self.size_threshold = size_threshold
        self.silhouette_threshold = silhouette_threshold

    def judge(self, gradients: Any, codes: np.ndarray, memory: Memory) -> Judgement:
        """Flag suspiciously small clusters; see :meth:`Rule.judge`."""
        score = np.zeros(len(codes))
        flagged = np.zeros(len(codes), dtype=bool)
        for code in np.unique(codes):
            rows = np.flatnonzero(codes == code)
            reduced = self._reduce(gradients[rows].astype(np.float64), memory.seed)
            if reduced is not None:
                score[rows], flagged[rows] = self._split(reduced, memory.seed)
        return Judgement(score, flagged)

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
