"""Activation clustering (Chen et al. 2018)."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.utils._param_validation import Interval

from .base import Judgement, Memory, Rule


class ActivationClustering(Rule):
    """Cluster each class in two, and drop a suspiciously small cluster.

    The last layer's inputs of each class are reduced to `nb_dims` principal components
    and split by 2-means. Where the smaller cluster is small enough to look like an
    intruder, all of it is dropped: clean parts of a class that form a cluster go with
    it, and poisons too few to pull a centre to themselves stay.

    Parameters
    ----------
    nb_dims : int, default=10
        Dimensions to cluster in; fewer where the features of a class have
        fewer.
    size_threshold : float, default=0.35
        Share of its class below which the smaller cluster is dropped, in [0, 0.5].

    See Also
    --------
    IsolatedMedoids : Looks for single examples rather than clusters.

    Notes
    -----
    Parameters and their defaults are named as in the Adversarial Robustness
    Toolbox. Its default drops the smaller part of every class, also of clean ones;
    this is its "relative-size". Clusters are k-means', a local optimum: the same rows
    in another order may be split in another way.

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

    needs = ("inputs",)
    flags = (
        "the smaller of two clusters of a class where its share is below "
        "`size_threshold`"
    )
    score_is = (
        "the share of the class that is in the other cluster, higher near the centre "
        "of its own"
    )
    to_drop_less = "Lower size_threshold"

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "nb_dims": [Interval(Integral, 1, None, closed="left")],
        "size_threshold": [Interval(Real, 0, 0.5, closed="both")],
    }

    def __init__(self, *, nb_dims: int = 10, size_threshold: float = 0.35) -> None:
        self.nb_dims = nb_dims
        self.size_threshold = size_threshold

    def judge(self, gradients: Any, codes: np.ndarray, memory: Memory) -> Judgement:
        """Flag suspiciously small clusters; see :meth:`Rule.judge`."""
        score = np.zeros(len(codes))
        flagged = np.zeros(len(codes), dtype=bool)
        for code in np.unique(codes):
            rows = np.flatnonzero(codes == code)
            features = gradients[rows].astype(np.float64)
            if (features != features[0]).any():
                score[rows], flagged[rows] = self._split(features, memory.seed)
        return Judgement(score, flagged)

    def _split(self, features: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Score the rows of one class, and flag its smaller cluster if suspicious."""
        n = len(features)
        centred = features - features.mean(axis=0)
        centred /= np.abs(centred).max()  # activations may be tiny
        pca = PCA(min(self.nb_dims, *centred.shape), random_state=seed)
        reduced = pca.fit_transform(centred)
        kmeans = KMeans(2, n_init=10, random_state=seed).fit(reduced)
        own, other = np.sort(kmeans.transform(reduced)).T  # distances to the centres
        nearness = other / np.maximum(own + other, np.finfo(np.float64).tiny)
        labels, sizes = kmeans.labels_, np.bincount(kmeans.labels_, minlength=2)
        score = 1.0 - (sizes[labels] - nearness) / n
        is_suspicious = sizes.min() / n < self.size_threshold
        return score, (labels == sizes.argmin()) & is_suspicious
