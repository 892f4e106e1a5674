"""Displays draw what was found, legibly, and refuse what they cannot draw."""

import itertools
import subprocess
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch import NeuralNetClassifier

from epic_sklearn import (
    EPICCallback,
    EPICClassifier,
    EPICFilter,
    EPICResampler,
    EPICSubsetSampler,
    FilteredClassifier,
    LastLayerGradients,
    OuterProductGradients,
    TorchClassifier,
    find_medoids,
    flag_isolated,
)
from epic_sklearn.plotting import (
    ClusterSizeDisplay,
    DropHistoryDisplay,
    GradientSpaceDisplay,
    TradeoffDisplay,
    _projection,
)
from epic_sklearn.plotting._groups import as_mask, make_groups
from epic_sklearn.plotting._projection import GradientPlane
from epic_sklearn.plotting._style import MARKERS, series_style, shorten

BLUE, VERMILION = "#0072b2", "#d55e00"
POISON_ROWS = [0, 7]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def data():
    X, y = load_iris(return_X_y=True)
    X = X.copy()
    X[POISON_ROWS] = X[[100, 110]]
    return X, y


@pytest.fixture(scope="module")
def detector(data):
    return EPICFilter(LogisticRegression(max_iter=1000)).fit(*data)


@pytest.fixture(scope="module")
def model(data):
    return EPICClassifier(warmup=2, every=2, stop=6, max_epochs=8, random_state=0).fit(
        *data
    )


@pytest.fixture(scope="module")
def sampler(data):
    X, y = data
    sampler = EPICSubsetSampler(y, warmup=1, every=1, random_state=0)
    for epoch in range(4):
        sampler.step(epoch, X + epoch)
    return sampler


@pytest.fixture(scope="module")
def callback(data):
    X, y = data
    net = NeuralNetClassifier(
        torch.nn.Linear(4, 3),
        criterion=torch.nn.CrossEntropyLoss,
        max_epochs=4,
        train_split=None,
        callbacks=[("epic", EPICCallback(warmup=1, every=1, random_state=0))],
        verbose=0,
    ).fit(X.astype(np.float32), y.astype(np.int64))
    return dict(net.callbacks_)["epic"]


def many_points(n=10_000, n_classes=10):
    rng = np.random.RandomState(0)
    gradients = rng.randn(n, 6) * rng.rand(n, 1) ** 3
    names = [f"a class with a name that goes on for long, {i}" for i in range(10)]
    return gradients, np.array(names)[np.arange(n) % n_classes]


def offsets(ax):
    return np.vstack([np.asarray(c.get_offsets()) for c in ax.collections])


def legend_texts(display):
    return [text.get_text() for text in display.legend_.get_texts()]


def assert_legible(display, axes=None):
    """The legend, and no title or label, lies over axes or runs off the figure."""
    figure = display.figure_
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    legend = display.legend_.get_window_extent(renderer)
    for ax in axes if axes is not None else figure.axes:
        inside = ax.get_window_extent(renderer)
        overlap_x = min(legend.x1, inside.x1) - max(legend.x0, inside.x0)
        overlap_y = min(legend.y1, inside.y1) - max(legend.y0, inside.y0)
        assert overlap_x <= 0 or overlap_y <= 0
        assert inside.width > 60
        assert inside.height > 60
        for text in (ax.title, ax.xaxis.label, ax.yaxis.label):
            extent = text.get_window_extent(renderer)
            if text.get_text():
                assert not extent.overlaps(legend)
                assert extent.x0 >= -1
                assert extent.x1 <= figure.bbox.width + 1
    for text in (figure._supxlabel, figure._supylabel):
        if text is not None:
            assert not text.get_window_extent(renderer).overlaps(legend)
    assert legend.x0 >= -1
    assert legend.x1 <= figure.bbox.width + 1
    assert legend.y0 >= -1
    assert legend.y1 <= figure.bbox.height + 1


# Colours, names and groups


def test_84_series_all_look_different():
    looks = {tuple(series_style(i).values()) for i in range(84)}
    assert len(looks) == 84
    assert len(set(MARKERS)) == len(MARKERS)


def test_long_labels_are_shortened_in_the_middle_and_formulas_escaped():
    assert shorten("short") == "short"
    text = shorten("a" * 50 + "b" * 50)
    assert len(text) <= 28
    assert text.startswith("aaa")
    assert text.endswith("bbb")
    figure, ax = plt.subplots()
    ax.plot([0], label=shorten("costs $5, $6_{"))
    ax.plot([0], label=shorten("_hidden"))
    assert len(ax.get_legend_handles_labels()[1]) == 2
    ax.legend()
    figure.canvas.draw()  # matplotlib would fail on a bad formula


def test_rows_and_masks_name_the_same_poisons():
    mask = as_mask([0, 2], 4, "poison_indices")
    assert mask.tolist() == [True, False, True, False]
    np.testing.assert_array_equal(as_mask(mask, 4, "poison_indices"), mask)
    assert not as_mask([], 4, "poison_indices").any()


@pytest.mark.parametrize("bad", [[4], [-1], [0.5], [[0]], [True, False]])
def test_rows_out_of_range_and_masks_of_another_length_are_refused(bad):
    with pytest.raises(ValueError, match="poison_indices"):
        as_mask(bad, 4, "poison_indices")


def test_poisons_and_classes_are_not_groups_at_once():
    with pytest.raises(ValueError, match="Both poison_indices and y"):
        make_groups(4, [0], [0, 0, 1, 1])
    with pytest.raises(ValueError, match="y has shape"):
        make_groups(4, None, [0, 1])


def test_labels_that_look_alike_when_shortened_stay_apart():
    long = ["x" * 40 + "a" + "y" * 40, "x" * 40 + "b" + "y" * 40]
    display = DropHistoryDisplay.from_predictions([1, -1, -1], [1], y=[*long, long[0]])
    assert display.group_names == long
    assert display.group_sizes == [2, 1]
    assert_legible(display)


# matplotlib is optional


def test_import_needs_no_matplotlib_and_plotting_names_the_extra():
    code = (
        "import sys\n"
        "from epic_sklearn.plotting import DropHistoryDisplay\n"
        "assert 'matplotlib' not in sys.modules\n"
        "sys.modules['matplotlib'] = None\n"
        "try:\n    DropHistoryDisplay.from_predictions([1, -1], [1])\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "epic-sklearn[plot]" in done.stdout
    assert "DropHistoryDisplay" in done.stdout


# The plane


@pytest.mark.parametrize("shape", [(40, 5), (3, 30), (20, 1), (1, 4), (2, 2)])
def test_plane_is_scikit_learns_pca(shape):
    gradients = np.random.RandomState(0).randn(*shape)
    plane = GradientPlane(gradients)
    k = min(2, *shape)
    points = plane.project(gradients)
    assert points.shape == (shape[0], 2)
    if shape[0] > 1:
        expected = PCA(k).fit(gradients)
        np.testing.assert_allclose(
            np.abs(points[:, :k]), np.abs(expected.transform(gradients)), atol=1e-9
        )
        np.testing.assert_allclose(
            plane.explained_variance_ratio[:k],
            expected.explained_variance_ratio_,
            atol=1e-9,
        )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [0.0, 1e-170, 1e-8, 1e8])
def test_plane_of_vanishing_gradients_is_finite(scale):
    gradients = scale * np.random.RandomState(0).randn(30, 4)
    plane = GradientPlane(gradients)
    points = plane.project(gradients)
    assert np.isfinite(points).all()
    assert np.isfinite(plane.explained_variance_ratio).all()
    if scale:
        assert plane.explained_variance_ratio.sum() > 0.4


def test_outer_products_have_the_plane_of_the_wide_array(monkeypatch):
    rng = np.random.RandomState(0)
    gradients = OuterProductGradients(rng.randn(40, 3), rng.randn(40, 6) + 1)
    wide = GradientPlane(gradients.toarray())
    built = GradientPlane(gradients)
    monkeypatch.setattr(_projection, "SMALL", 0)
    unbuilt = GradientPlane(gradients)
    new = OuterProductGradients(rng.randn(5, 3), rng.randn(5, 6))
    for plane in (built, unbuilt):
        np.testing.assert_allclose(
            plane.explained_variance_ratio, wide.explained_variance_ratio
        )
        signs = np.sign((plane.axes * wide.axes).sum(axis=1))
        np.testing.assert_allclose(
            plane.project(new), wide.project(new.toarray()) * signs, atol=1e-9
        )


# GradientSpaceDisplay


def test_every_example_is_drawn_once_and_named_with_its_kind(data, detector):
    X, y = data
    display = GradientSpaceDisplay.from_estimator(
        detector, X, y, classes=[0], poison_indices=POISON_ROWS
    )
    assert len(display.axes_) == 1
    assert display.ax_ is display.axes_[0]
    kept, medoids = detector.keep_[y == 0], display.is_medoid
    n_marks = 50 + (medoids & kept & ~display.is_poison).sum()
    assert len(offsets(display.ax_)) == n_marks
    drawn = {tuple(p) for p in offsets(display.ax_).round(9)}
    assert drawn == {tuple(p) for p in display.points.round(9)}
    n_dropped = int((~detector.keep_[POISON_ROWS]).sum())
    for kind, n_poisons in (("dropped", n_dropped), ("kept", 2 - n_dropped)):
        in_legend = f"poison, {kind} ({n_poisons})" in legend_texts(display)
        assert in_legend == (n_poisons > 0)
    assert "class 0" in display.ax_.get_title()
    assert "% of variance" in display.ax_.get_xlabel()
    assert_legible(display)


def test_poisons_stand_out_and_dropped_examples_are_crosses(data, detector):
    X, y = data
    display = GradientSpaceDisplay.from_predictions(
        X, y, np.arange(150) % 5 > 0, classes=0, poison_indices=[0, 1]
    )
    colours = [to_hex(c.get_facecolor()[0]) for c in display.ax_.collections]
    assert colours.count(VERMILION) == 2  # one kept, one dropped
    assert colours.count(BLUE) == 1
    handles = display.legend_.legend_handles
    markers = dict(zip(legend_texts(display), handles, strict=True))
    assert markers["clean, dropped (9)"].get_marker() == "x"
    assert markers["clean, kept (39)"].get_marker() == "o"
    assert markers["poison, dropped (1)"].get_marker() == "X"


def test_panels_are_the_classes_each_in_its_own_plane(data, detector):
    X, y = data
    display = GradientSpaceDisplay.from_estimator(detector, X, y)
    assert [ax.get_title().splitlines()[0] for ax in display.axes_] == [
        "class 0",
        "class 1",
        "class 2",
    ]
    gradients = detector.extractor_.compute(X, y)
    for label in range(3):
        expected = PCA(2).fit_transform(gradients[y == label])
        np.testing.assert_allclose(
            np.abs(display.points[y == label]), np.abs(expected), atol=1e-9
        )
    np.testing.assert_array_equal(
        np.flatnonzero(display.is_medoid), np.sort(detector.medoid_indices_)
    )
    assert all(ax.get_aspect() == 1.0 for ax in display.axes_)
    assert_legible(display)


def test_target_is_drawn_in_the_panel_of_the_adversarial_label(data, detector):
    X, y = data
    display = GradientSpaceDisplay.from_estimator(
        detector, X, y, target=X[100:101], target_label=0
    )
    of_target = detector.extractor_.compute(X[100:101], [0])
    plane = GradientPlane(detector.extractor_.compute(X, y)[y == 0])
    np.testing.assert_allclose(display.targets, plane.project(of_target))
    n_stars = [
        sum(len(c.get_offsets()) for c in ax.collections if c.get_zorder() == 4)
        for ax in display.axes_
    ]
    assert n_stars == [1, 0, 0]
    assert legend_texts(display)[-1] == "target"


def test_classifier_is_drawn_with_its_own_gradients(data, model):
    X, y = data
    labels = np.array(["setosa", "versicolor", "virginica"])[y]
    named = EPICClassifier(
        warmup=2, max_epochs=5, gradients="last_layer", random_state=0
    ).fit(X, labels)
    display = GradientSpaceDisplay.from_estimator(named, X, labels, per_class=False)
    gradients = LastLayerGradients(named.module_).compute(X.astype(np.float32), y)
    expected = PCA(2).fit_transform(gradients.toarray())
    np.testing.assert_allclose(np.abs(display.points), np.abs(expected), atol=1e-6)
    np.testing.assert_array_equal(display.keep, named.keep_)
    assert display.is_medoid is None
    assert legend_texts(display)[0].startswith("setosa, kept")
    assert_legible(display)


@pytest.mark.parametrize(
    "kind", [EPICResampler(), FilteredClassifier(None, EPICFilter())]
)
def test_resampler_and_filtered_classifier_are_drawn_too(data, kind):
    X, y = data
    kind.fit(X, y)
    display = GradientSpaceDisplay.from_estimator(kind, X, y)
    keep = getattr(kind, "keep_", None)
    np.testing.assert_array_equal(display.keep, keep)


@pytest.mark.parametrize("per_class", [True, False])
def test_ten_thousand_examples_of_ten_long_named_classes(per_class):
    gradients, y = many_points()
    medoids = find_medoids(gradients, y, subset_size=0.1)
    display = GradientSpaceDisplay.from_predictions(
        gradients,
        y,
        ~flag_isolated(medoids),
        medoid_indices=medoids.indices,
        per_class=per_class,
    )
    assert len(display.axes_) == (10 if per_class else 1)
    assert_legible(display)


def test_nothing_dropped_no_medoids_one_class():
    gradients = np.random.RandomState(0).randn(20, 3)
    display = GradientSpaceDisplay.from_predictions(
        gradients, np.zeros(20), np.ones(20, bool)
    )
    assert legend_texts(display) == ["kept (20)"]
    assert_legible(display)


@pytest.mark.parametrize("per_class", [True, False])
def test_groups_without_examples_are_not_in_the_legend(data, per_class):
    X, y = data
    display = GradientSpaceDisplay.from_predictions(
        X,
        y,
        np.ones(150, bool),
        poison_indices=np.flatnonzero(y == 0),
        medoid_indices=[],
        per_class=per_class,
    )
    others = ["clean, kept (100)"] if per_class else ["1, kept (50)", "2, kept (50)"]
    assert legend_texts(display) == [*others, "poison, kept (50)"]


def test_users_axes_are_drawn_on(data, detector):
    X, y = data
    figure, axes = plt.subplots(1, 3, layout="constrained", figsize=(12, 4))
    display = GradientSpaceDisplay.from_estimator(detector, X, y, ax=axes)
    assert display.figure_ is figure
    assert list(display.axes_) == list(axes)
    assert_legible(display)
    with pytest.raises(ValueError, match="1 axes for 3 panels"):
        display.plot(ax=axes[0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"keep": np.ones(9, bool)}, "keep has shape"),
        ({"keep": np.ones(10)}, "boolean mask"),
        ({"y": np.zeros(9)}, "rows for 9 examples"),
        ({"gradients": np.full((10, 2), np.nan)}, "NaN"),
        ({"classes": ["none"]}, "classes is"),
        ({"classes": []}, "classes is"),
        ({"target": np.zeros((1, 2))}, "target_label"),
        ({"target": np.zeros((1, 2)), "target_label": 5}, "not among the classes"),
        ({"target": np.zeros((2, 2)), "target_label": [0] * 3}, "target_label"),
        ({"medoid_indices": [10]}, "medoid_indices"),
    ],
)
def test_bad_input_of_gradient_space_is_refused(changed, message):
    given = {
        "gradients": np.random.RandomState(0).randn(10, 2),
        "y": np.arange(10) % 2,
        "keep": np.ones(10, bool),
    }
    with pytest.raises(ValueError, match=message):
        GradientSpaceDisplay.from_predictions(**{**given, **changed})


def test_hundred_classes_need_a_choice():
    gradients, y = np.random.RandomState(0).randn(200, 3), np.arange(200) % 100
    with pytest.raises(ValueError, match="name at most 30"):
        GradientSpaceDisplay.from_predictions(gradients, y, np.ones(200, bool))


def test_estimators_without_gradients_or_fit_are_refused(data, sampler):
    X, y = data
    with pytest.raises(TypeError, match="from_predictions"):
        GradientSpaceDisplay.from_estimator(sampler, X, y)
    with pytest.raises(NotFittedError):
        GradientSpaceDisplay.from_estimator(EPICFilter(), X, y)
    with pytest.raises(ValueError, match="y has shape"):
        GradientSpaceDisplay.from_estimator(EPICFilter().fit(X, y), X[:9], y[:9])


# DropHistoryDisplay


def test_history_counts_what_was_dropped_up_to_each_round(model):
    display = DropHistoryDisplay.from_estimator(model, poison_indices=POISON_ROWS)
    at = model.dropped_at_epoch_
    for fractions, rows in zip(
        display.fractions,
        (POISON_ROWS, np.delete(np.arange(150), POISON_ROWS)),
        strict=True,
    ):
        expected = [
            np.mean([0 <= at[i] <= record.epoch for i in rows])
            for record in model.rounds_
        ]
        np.testing.assert_allclose(fractions, expected)
    total = np.average(display.fractions, axis=0, weights=display.group_sizes)
    kept = [record.n_kept / 150 for record in model.rounds_]
    np.testing.assert_allclose(total, 1 - np.array(kept))


def test_staircases_start_at_nothing_and_show_the_groups(model):
    display = DropHistoryDisplay.from_estimator(model, poison_indices=POISON_ROWS)
    assert legend_texts(display) == ["poisons (2)", "clean examples (148)"]
    for line, fractions in zip(display.lines_, display.fractions, strict=True):
        assert line.get_drawstyle() == "steps-post"
        assert line.get_ydata()[0] == 0
        np.testing.assert_allclose(line.get_ydata()[1:-1], fractions)
        np.testing.assert_allclose(line.get_xdata()[1:-1], [2, 4, 6])
    assert [to_hex(line.get_color()) for line in display.lines_] == [VERMILION, BLUE]
    assert display.ax_.get_xlabel() == "epochs trained"
    assert display.ax_.get_ylabel() == "examples dropped so far"
    assert display.ax_.yaxis.get_major_formatter()(0.175, 0) == "17.5%"
    assert_legible(display)


@pytest.mark.parametrize("name", ["model", "sampler", "callback", "detector"])
def test_history_of_each_kind_of_detector(request, data, name):
    estimator = request.getfixturevalue(name)
    display = DropHistoryDisplay.from_estimator(estimator, y=data[1])
    keep = getattr(estimator, "keep_", None)
    keep = estimator.keep if keep is None else keep
    dropped = [np.mean(~keep[data[1] == label]) for label in range(3)]
    np.testing.assert_allclose(display.fractions[:, -1], dropped)
    expected = "round" if name == "detector" else "epochs trained"
    assert display.ax_.get_xlabel() == expected


def test_filtered_classifier_shows_its_filters_history(data):
    filtered = FilteredClassifier(None, EPICFilter()).fit(*data)
    display = DropHistoryDisplay.from_estimator(filtered)
    np.testing.assert_allclose(display.fractions, [[np.mean(~filtered.keep_)]])
    assert display.legend_ is None
    assert display.ax_.get_title() == "All examples (150)"


def test_ten_classes_and_no_drops_at_all():
    _, y = many_points()
    display = DropHistoryDisplay.from_predictions(
        np.full(len(y), -1), np.arange(10, 200, 5), y=y
    )
    assert (display.fractions == 0).all()
    assert display.ax_.get_ylim() == (0.0, 0.1)
    assert len(legend_texts(display)) == 10
    assert_legible(display)


def test_history_on_users_axes(model):
    _, axes = plt.subplots(1, 2, layout="constrained", figsize=(10, 4))
    display = DropHistoryDisplay.from_estimator(
        model, poison_indices=POISON_ROWS, ax=axes[1]
    )
    assert display.ax_ is axes[1]
    assert_legible(display)


@pytest.mark.parametrize(
    ("dropped_at", "epochs", "message"),
    [
        ([1, 2, -1], [1], "dropped at \\[2\\]"),
        ([-1, -1], [], "no time"),
        ([], [1], "dropped_at"),
        ([0.5], [1], "dropped_at"),
        ([[1]], [1], "dropped_at"),
    ],
)
def test_bad_history_is_refused(dropped_at, epochs, message):
    with pytest.raises(ValueError, match=message):
        DropHistoryDisplay.from_predictions(dropped_at, epochs)


@pytest.mark.parametrize("display", [DropHistoryDisplay, ClusterSizeDisplay])
@pytest.mark.parametrize(
    "unfitted",
    [
        EPICClassifier(),
        EPICFilter(),
        FilteredClassifier(),
        EPICCallback(),
        EPICCallback().initialize(),
        EPICSubsetSampler([0, 0, 1, 1]),
    ],
)
def test_what_has_run_no_round_is_not_fitted(display, unfitted):
    with pytest.raises(NotFittedError):
        display.from_estimator(unfitted)


def test_foreign_objects_are_refused_by_name(data):
    plain = TorchClassifier(max_epochs=1).fit(*data)
    for other in (plain, "a string", LogisticRegression(max_iter=1000).fit(*data)):
        with pytest.raises(TypeError, match="from_predictions"):
            DropHistoryDisplay.from_estimator(other)


@pytest.mark.parametrize("display", [TradeoffDisplay, DropHistoryDisplay])
def test_searches_and_pipelines_say_which_part_of_them_to_draw(display, data):
    def draw(estimator):
        given = {} if display is DropHistoryDisplay else {"poison_indices": [0]}
        return display.from_estimator(estimator, **given)

    model = FilteredClassifier(LogisticRegression(max_iter=1000), EPICFilter())
    grid = {"filter__threshold": [1]}
    with pytest.raises(NotFittedError, match="GridSearchCV"):
        draw(GridSearchCV(model, grid))
    with pytest.raises(TypeError, match=r"refit=False .* refit=True .*best_estimator_"):
        draw(GridSearchCV(model, grid, refit=False).fit(*data))
    search = GridSearchCV(model, grid).fit(*data)
    with pytest.raises(TypeError, match="EPIC's rounds; give its best_estimator_"):
        draw(search)
    draw(search.best_estimator_)
    pipeline = make_pipeline(model).fit(*data)
    with pytest.raises(TypeError, match=r"its step that does, such as pipeline\[-1\]"):
        draw(pipeline)
    draw(pipeline[-1])


# ClusterSizeDisplay


def test_cluster_sizes_are_counted_by_brute_force():
    sizes = np.array([1, 1, 2, 3, 5, 9, 10, 19, 20, 400])
    display = ClusterSizeDisplay.from_predictions(sizes, poison_indices=[0, 2])
    assert display.bins.tolist() == [1, 2, 3, 4, 5, 10, 20]
    for fractions, group in zip(
        display.fractions, (sizes[[0, 2]], np.delete(sizes, [0, 2])), strict=True
    ):
        bounds = [*display.bins, np.inf]
        expected = [
            np.mean((group >= low) & (group < high))
            for low, high in itertools.pairwise(bounds)
        ]
        np.testing.assert_allclose(fractions, expected)
    assert legend_texts(display)[-3:] == ["5 to 9", "10 to 19", "20 or more"]
    assert_legible(display)


def test_bars_are_stacked_to_one_and_isolated_sizes_hatched(detector):
    display = ClusterSizeDisplay.from_estimator(detector, poison_indices=POISON_ROWS)
    widths = np.array([[bar.get_width() for bar in bars] for bars in display.bars_])
    np.testing.assert_allclose(widths.sum(axis=0), 1.0)
    np.testing.assert_allclose(widths.T, display.fractions)
    assert [bars[0].get_hatch() for bars in display.bars_[:2]] == ["////", None]
    isolated = [
        np.mean(detector.cluster_sizes_[rows] == 1)
        for rows in (POISON_ROWS, np.delete(np.arange(150), POISON_ROWS))
    ]
    np.testing.assert_allclose(display.fractions[:, 0], isolated)
    labels = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert labels == ["poisons (2)", "clean examples (148)"]


@pytest.mark.parametrize("threshold", [1, 3, 7, 50])
def test_no_bin_lies_across_the_threshold(threshold):
    display = ClusterSizeDisplay.from_predictions(np.arange(1, 40), threshold=threshold)
    isolated = np.array(["isolated" in text for text in legend_texts(display)])
    share = display.fractions[0, isolated].sum()
    np.testing.assert_allclose(share, np.mean(np.arange(1, 40) <= threshold))


@pytest.mark.parametrize("name", ["model", "sampler", "callback", "detector"])
def test_cluster_sizes_of_each_kind_of_detector(request, data, name):
    estimator = request.getfixturevalue(name)
    display = ClusterSizeDisplay.from_estimator(estimator, y=data[1])
    assert display.threshold == 1
    assert display.group_names == ["0", "1", "2"]
    np.testing.assert_allclose(display.fractions.sum(axis=1), 1.0)


def test_threshold_is_the_estimators(data):
    detector = EPICFilter(threshold=3).fit(*data)
    assert ClusterSizeDisplay.from_estimator(detector).threshold == 3


def test_clusters_of_ten_long_named_classes_and_on_users_axes():
    _, y = many_points()
    sizes = np.random.RandomState(0).randint(1, 40, len(y))
    display = ClusterSizeDisplay.from_predictions(sizes, y=y, threshold=2)
    assert_legible(display)
    _, ax = plt.subplots(layout="constrained", figsize=(9, 5))
    assert_legible(display.plot(ax=ax))
    assert display.ax_ is ax


@pytest.mark.parametrize("bad", [[0, 1], [], [1.5], [[1]]])
def test_bad_cluster_sizes_are_refused(bad):
    with pytest.raises(ValueError, match="cluster_sizes"):
        ClusterSizeDisplay.from_predictions(bad)


def test_bad_threshold_is_refused():
    with pytest.raises(ValueError, match="threshold"):
        ClusterSizeDisplay.from_predictions([1, 2], threshold=0)


# TradeoffDisplay

COLUMNS = {
    "name": ["none", "EPIC 0.1", "EPIC 0.2"],
    "attack_success": [0.45, 0.02, 0.01],
    "clean_accuracy": [0.95, 0.93, 0.90],
}


def test_defences_stand_where_they_were_measured():
    display = TradeoffDisplay.from_predictions(COLUMNS)
    spots = np.vstack([m.get_offsets() for m in display.markers_])
    np.testing.assert_allclose(spots[:, 0], COLUMNS["clean_accuracy"])
    np.testing.assert_allclose(spots[:, 1], COLUMNS["attack_success"])
    assert legend_texts(display) == COLUMNS["name"]
    assert len({to_hex(m.get_facecolor()[0]) for m in display.markers_}) == 3
    assert "higher is better" in display.ax_.get_xlabel()
    assert "lower is better" in display.ax_.get_ylabel()
    assert_legible(display)


def test_columns_dataframe_and_list_of_dicts_are_the_same():
    pandas = pytest.importorskip("pandas")
    rows = [
        dict(zip(COLUMNS, values, strict=True))
        for values in zip(*COLUMNS.values(), strict=True)
    ]
    for records in (COLUMNS, rows, pandas.DataFrame(COLUMNS)):
        display = TradeoffDisplay.from_predictions(records)
        assert display.names == COLUMNS["name"]
        np.testing.assert_allclose(display.y, COLUMNS["attack_success"])


def test_error_bars_are_wilsons_and_times_are_areas():
    records = {**COLUMNS, "n_trials": [100, 50, 300], "seconds": [10, 20, 40]}
    display = TradeoffDisplay.from_predictions(records)
    z = 1.959963984540054
    for (low, high), p, n in zip(
        display.intervals, COLUMNS["attack_success"], records["n_trials"], strict=True
    ):
        middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        np.testing.assert_allclose([low, high], [middle - half, middle + half])
    areas = [m.get_sizes()[0] for m in display.markers_]
    assert areas == sorted(areas)
    assert len(set(areas)) == 3
    assert legend_texts(display)[0] == "none (10 s)"
    assert_legible(display)


def test_detectors_stand_on_their_own_curves(data, detector, model):
    estimators = {"filter": detector, "while training": model}
    display = TradeoffDisplay.from_estimator(estimators, POISON_ROWS)
    is_poison = np.isin(np.arange(150), POISON_ROWS)
    assert display.names == ["filter", "while training"]
    for i, estimator in enumerate(estimators.values()):
        np.testing.assert_allclose(display.x[i], np.mean(~estimator.keep_[~is_poison]))
        np.testing.assert_allclose(display.y[i], np.mean(estimator.keep_[is_poison]))
        x, y = display.curves[i]
        assert (x[0], y[0], x[-1], y[-1]) == (0, 1, 1, 0)
        # Every example dropped scores above every one kept: a point of the curve,
        # or on the straight part between two.
        np.testing.assert_allclose(
            np.interp(display.x[i], x, y, left=1),
            display.y[i],
            atol=0.5 / is_poison.sum() + 1e-9,
        )
    assert_legible(display)


def test_single_detector_is_named_by_its_class(sampler, callback):
    display = TradeoffDisplay.from_estimator(sampler, POISON_ROWS)
    assert display.names == ["EPICSubsetSampler"]
    assert TradeoffDisplay.from_estimator(callback, POISON_ROWS).names == [
        "EPICCallback"
    ]


def test_many_long_names_beside_the_axes_and_beside_users_axes():
    records = [
        {
            "name": f"a defence of a long name, {i}",
            "poisons_left": i / 12,
            "clean_lost": i / 24,
        }
        for i in range(12)
    ]
    display = TradeoffDisplay.from_predictions(
        records, x="clean_lost", y="poisons_left"
    )
    assert_legible(display)
    # Colours come twice: the second time hollow, in the legend too.
    for markers in (display.markers_, display.legend_.get_lines()):
        looks = [
            to_hex(m.get_facecolor()[0])
            if hasattr(m, "get_sizes")
            else to_hex(m.get_markerfacecolor())
            for m in markers
        ]
        assert len(set(looks[:7])) == 7 and set(looks[7:]) == {"#ffffff"}
    _, ax = plt.subplots(layout="constrained", figsize=(9, 4))
    assert_legible(display.plot(ax=ax))


def test_small_markers_are_drawn_over_large_ones():
    records = {**COLUMNS, "seconds": [40, 10, 20]}
    display = TradeoffDisplay.from_predictions(records)
    z = [marker.get_zorder() for marker in display.markers_]
    assert z[0] < z[2] < z[1]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({**COLUMNS, "clean_accuracy": [95, 93, 90]}, "Divide percentages by 100"),
        ({**COLUMNS, "attack_success": [0, 0, np.nan]}, "attack_success contains nan"),
        ({**COLUMNS, "n_trials": [10, 10]}, "lengths"),
        ({**COLUMNS, "n_trials": [10, 0, 10]}, "n_trials"),
        ({**COLUMNS, "n_trials": [0.5, 1, 1]}, "n_trials"),
        ({**COLUMNS, "seconds": [1, -1, 1]}, "seconds"),
        ({"name": ["none"], "attack_success": [0.1]}, "lacks \\['clean_accuracy'\\]"),
        ([], "lacks"),
        ({"name": [], "attack_success": [], "clean_accuracy": []}, "one entry"),
    ],
)
def test_bad_records_are_refused(records, message):
    with pytest.raises(ValueError, match=message):
        TradeoffDisplay.from_predictions(records)


def test_bad_quantities_and_poisons_are_refused(detector):
    with pytest.raises(ValueError, match="x is 'accuracy'"):
        TradeoffDisplay.from_predictions(COLUMNS, x="accuracy")
    with pytest.raises(ValueError, match="at least one poison"):
        TradeoffDisplay.from_estimator(detector, [])
    with pytest.raises(ValueError, match="empty dict"):
        TradeoffDisplay.from_estimator({}, [0])


def test_displays_keep_their_parameters_and_replot(model):
    display = DropHistoryDisplay.from_estimator(model)
    again = DropHistoryDisplay(
        display.fractions,
        display.epochs,
        display.group_names,
        group_sizes=display.group_sizes,
    )
    assert not hasattr(again, "ax_")
    assert again.plot() is again
    assert again.ax_ is not display.ax_


def test_a_rule_without_clusters_has_no_cluster_sizes_to_draw():
    X, y = load_iris(return_X_y=True)
    model = LastLayerGradients(LogisticRegression(max_iter=1000))
    detector = EPICFilter(model, rule="neighbors").fit(X, y)
    with pytest.raises(ValueError, match="makes no clusters"):
        ClusterSizeDisplay.from_estimator(detector)
