"""Displays draw what was found, legibly, and refuse what they cannot draw."""

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
    TorchClassifier,
    find_medoids,
    flag_isolated,
)
from epic_sklearn.plotting import (
    ClusterSizeDisplay,
    DropHistoryDisplay,
    GradientSpaceDisplay,
    TraceDisplay,
    TradeoffDisplay,
)
from epic_sklearn.projection import GradientPlane
from epic_sklearn.rules import IsolatedMedoids, NeighborVotes, RandomDrop

# Nets that are trained for an epoch or two.
pytestmark = pytest.mark.filterwarnings("ignore:EPIC.* learned next to nothing")

BLUE, VERMILION = "#0072b2", "#d55e00"
POISON_ROWS = [0, 7]
OTHER_ROWS = np.delete(np.arange(150), POISON_ROWS)
LONG = [f"a class with a name that goes on for long, {i}" for i in range(10)]


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
def detectors(data):
    """One fitted detector of each kind, by name."""
    X, y = data
    rule = IsolatedMedoids()
    sampler = EPICSubsetSampler(y, rule=rule, warmup=1, every=1, random_state=0)
    for epoch in range(4):
        sampler.step(epoch, X + epoch)
    net = NeuralNetClassifier(
        torch.nn.Linear(4, 3),
        criterion=torch.nn.CrossEntropyLoss,
        max_epochs=4,
        train_split=None,
        callbacks=[("epic", EPICCallback(rule, warmup=1, every=1, random_state=0))],
        verbose=0,
    ).fit(X.astype(np.float32), y.astype(np.int64))
    training = {"warmup": 2, "every": 2, "stop": 6, "max_epochs": 8, "random_state": 0}
    return {
        "filter": EPICFilter(rule=rule).fit(X, y),
        "rounds": EPICResampler(LastLayerGradients(), rule=rule, n_rounds=2).fit(X, y),
        "filtered": FilteredClassifier(None, EPICFilter(rule=rule)).fit(X, y),
        "model": EPICClassifier(rule=rule, **training).fit(X, y),
        "sampler": sampler,
        "schedule": sampler.schedule,
        "callback": dict(net.callbacks_)["epic"],
    }


def keep_of(detector):
    return detector.keep_ if hasattr(detector, "keep_") else detector.keep


def legend_texts(display):
    return [text.get_text() for text in display.legend_.get_texts()]


def assert_legible(display):
    """The legend, and no title or label, lies over axes or runs off the figure."""
    figure = display.figure_
    figure.canvas.draw()
    legend = display.legend_.get_window_extent()
    for ax in figure.axes:
        inside = ax.get_window_extent()
        overlap_x = min(legend.x1, inside.x1) - max(legend.x0, inside.x0)
        overlap_y = min(legend.y1, inside.y1) - max(legend.y0, inside.y0)
        assert overlap_x <= 0 or overlap_y <= 0
        assert min(inside.width, inside.height) > 60
        for text in (ax.title, ax.xaxis.label, ax.yaxis.label):
            extent = text.get_window_extent()
            if text.get_text():
                assert not extent.overlaps(legend)
                assert extent.x0 >= -1 and extent.x1 <= figure.bbox.width + 1
    for text in (figure._supxlabel, figure._supylabel):
        assert text is None or not text.get_window_extent().overlaps(legend)
    assert legend.x0 >= -1 and legend.x1 <= figure.bbox.width + 1
    assert legend.y0 >= -1 and legend.y1 <= figure.bbox.height + 1


# All displays


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


@pytest.mark.parametrize("display", [DropHistoryDisplay, ClusterSizeDisplay])
@pytest.mark.parametrize(
    "unfitted",
    [
        EPICClassifier(),
        EPICFilter(),
        FilteredClassifier(),
        EPICCallback(),
        EPICCallback().initialize(),
        EPICSubsetSampler([0, 0, 1, 1], warmup=1),
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


def test_searches_and_pipelines_say_which_part_of_them_to_draw(data):
    draw = DropHistoryDisplay.from_estimator
    model = FilteredClassifier(
        LogisticRegression(max_iter=1000), EPICFilter(rule=IsolatedMedoids())
    )
    grid = {"filter__rule__threshold": [1]}
    search = GridSearchCV(model, grid).fit(*data)
    without = GridSearchCV(model, grid, refit=False).fit(*data)
    for given in (search, without, GridSearchCV(model, grid)):
        with pytest.raises(TypeError, match=r"refit=True\) its best_estimator_"):
            draw(given)
    draw(search.best_estimator_)
    pipeline = make_pipeline(model).fit(*data)
    with pytest.raises(TypeError, match=r"its step that does, such as pipeline\[-1\]"):
        draw(pipeline)
    draw(pipeline[-1])


@pytest.mark.parametrize("draw", [TraceDisplay.from_trace, TradeoffDisplay.from_report])
def test_displays_of_results_refuse_what_made_them(detectors, draw):
    expected = "Trace" if draw == TraceDisplay.from_trace else "AttackReport"
    more = ([], []) if expected == "Trace" else ()
    with pytest.raises(ValueError, match=f"must be an instance of .*{expected}'"):
        draw(detectors["filter"], *more)


@pytest.mark.parametrize("gap", [None, np.nan])
def test_missing_labels_of_groups_are_refused(detectors, gap):
    detector = detectors["filter"]
    y = np.array(["a", "b", gap] * 50, dtype=object)[: len(detector.keep_)]
    with pytest.raises(ValueError, match="y contains NaN or None in"):
        DropHistoryDisplay.from_estimator(detector, y=y)


@pytest.mark.parametrize("bad", [[150], [-1], [0.5], [[0]], [True, False]])
def test_poisons_that_are_no_rows_are_refused(detectors, bad):
    with pytest.raises(ValueError, match="poison_indices"):
        DropHistoryDisplay.from_estimator(detectors["filter"], poison_indices=bad)


def test_groups_are_poisons_or_classes_and_not_both(detectors):
    detector = detectors["filter"]
    is_poison = np.isin(np.arange(150), POISON_ROWS)
    for given in (POISON_ROWS, is_poison):
        display = DropHistoryDisplay.from_estimator(detector, poison_indices=given)
        assert display.group_names == ["poisons", "clean examples"]
        assert display.group_sizes == [2, 148]
    with pytest.raises(ValueError, match="Both poison_indices and y"):
        DropHistoryDisplay.from_estimator(detector, poison_indices=[0], y=[0] * 150)
    with pytest.raises(ValueError, match="y has shape"):
        DropHistoryDisplay.from_estimator(detector, y=[0, 1])


def test_long_and_odd_labels_stay_apart_and_legible():
    long = ["x" * 40 + "a" + "y" * 40, "x" * 40 + "b" + "y" * 40, "$5, $6_{", "_hidden"]
    display = DropHistoryDisplay.from_predictions([1, -1, -1, 1], [1], y=long)
    assert display.group_names == sorted(long)
    assert len(legend_texts(display)) == 4
    assert max(map(len, legend_texts(display))) < 36
    assert_legible(display)  # draws: matplotlib would fail on a bad formula


def test_displays_keep_their_parameters_and_replot(detectors):
    display = DropHistoryDisplay.from_estimator(detectors["model"])
    again = DropHistoryDisplay(
        display.fractions, display.epochs, display.group_names, display.group_sizes
    )
    assert not hasattr(again, "ax_")
    assert again.plot() is again
    assert again.ax_ is not display.ax_


# GradientSpaceDisplay


def test_every_example_is_drawn_once_and_named_with_its_kind(data, detectors):
    X, y = data
    display = GradientSpaceDisplay.from_estimator(
        detectors["filter"], X, y, classes=[0], poison_indices=POISON_ROWS
    )
    drawn = np.vstack([c.get_offsets() for c in display.ax_.collections]).round(9)
    assert {tuple(p) for p in drawn} == {tuple(p) for p in display.points.round(9)}
    marked = display.is_medoid & display.keep & ~display.is_poison
    assert len(drawn) == 50 + marked.sum()
    n_dropped = int((~display.keep[display.is_poison]).sum())
    for kind, n in (("dropped", n_dropped), ("kept", 2 - n_dropped)):
        assert (f"poison, {kind} ({n})" in legend_texts(display)) == (n > 0)
    assert "class 0" in display.ax_.get_title()
    assert "% of variance" in display.ax_.get_title()
    assert_legible(display)


def test_poisons_stand_out_and_dropped_examples_are_crosses_below(data):
    X, y = data
    display = GradientSpaceDisplay.from_predictions(
        X, y, np.arange(150) % 5 > 0, classes=0, poison_indices=[0, 1]
    )
    colours = [to_hex(c.get_facecolor()[0]) for c in display.ax_.collections]
    assert colours.count(VERMILION) == 2  # one kept, one dropped
    assert colours.count(BLUE) == 1
    pairs = zip(legend_texts(display), display.legend_.legend_handles, strict=True)
    markers = {text: handle.get_marker() for text, handle in pairs}
    assert markers["clean, dropped (9)"] == "x"
    assert markers["clean, kept (39)"] == "o"
    assert markers["poison, dropped (1)"] == "X"
    z = {to_hex(c.get_facecolor()[0]): c.get_zorder() for c in display.ax_.collections}
    assert min(z, key=z.get) not in (BLUE, VERMILION)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_panels_are_the_classes_each_in_its_own_plane(data, metric):
    X, y = data
    rule = IsolatedMedoids(metric=metric)
    detector = EPICFilter(LastLayerGradients(), rule=rule).fit(X, y)
    display = GradientSpaceDisplay.from_estimator(detector, X, y)
    titles = [ax.get_title().splitlines()[0] for ax in display.axes_]
    assert titles == ["class 0", "class 1", "class 2"]
    gradients = detector.extractor_.compute(X, y)
    for label in range(3):
        of_class = gradients[y == label]
        expected = GradientPlane(of_class, metric).project(of_class)
        np.testing.assert_allclose(display.points[y == label], expected)
    medoids = np.unique(detector.details_["medoid"])
    np.testing.assert_array_equal(np.flatnonzero(display.is_medoid), medoids)
    assert all(ax.get_aspect() == 1.0 for ax in display.axes_)
    assert_legible(display)


def test_a_rule_without_medoids_is_drawn_without(data):
    detector = EPICFilter(LastLayerGradients(), rule=NeighborVotes()).fit(*data)
    display = GradientSpaceDisplay.from_estimator(detector, *data)
    assert display.is_medoid is None
    assert not any("medoid" in text for text in legend_texts(display))


def test_target_is_drawn_in_the_panel_of_the_adversarial_label(data, detectors):
    X, y = data
    extractor = detectors["filter"].extractor_
    display = GradientSpaceDisplay.from_estimator(
        detectors["filter"], X, y, target=X[100:101], target_label=0
    )
    plane = GradientPlane(extractor.compute(X, y)[y == 0])
    expected = plane.project(extractor.compute(X[100:101], [0]))
    np.testing.assert_allclose(display.targets, expected)
    highest = [ax.collections[-1].get_offsets() for ax in display.axes_]
    np.testing.assert_allclose(highest[0], expected)
    assert len(highest[1]) == len(highest[2]) == 0
    assert legend_texts(display)[-1] == "target"


def test_classifier_is_drawn_with_its_own_gradients(data):
    X, y = data
    labels = np.array(["setosa", "versicolor", "virginica"])[y]
    model = EPICClassifier(
        warmup=2, max_epochs=5, gradients="last_layer", random_state=0
    ).fit(X, labels)
    display = GradientSpaceDisplay.from_estimator(model, X, labels)
    gradients = LastLayerGradients(model.module_).compute(X.astype(np.float32), y)
    for i, label in enumerate(("setosa", "versicolor", "virginica")):
        of_class = gradients[y == i]
        expected = GradientPlane(of_class).project(of_class)
        np.testing.assert_allclose(
            display.points[display.y == label], expected, rtol=1e-5, atol=1e-5
        )
    np.testing.assert_array_equal(display.keep, model.keep_)
    assert_legible(display)


@pytest.mark.parametrize("name", ["rounds", "filtered", "model"])
def test_gradients_of_each_kind_of_detector(data, detectors, name):
    display = GradientSpaceDisplay.from_estimator(detectors[name], *data)
    np.testing.assert_array_equal(display.keep, detectors[name].keep_)


def test_ten_thousand_examples_of_ten_long_named_classes():
    rng = np.random.RandomState(0)
    gradients = rng.randn(10_000, 6) * rng.rand(10_000, 1) ** 3
    y = np.array(LONG)[np.arange(10_000) % 10]
    medoids = find_medoids(gradients, y, subset_size=0.1)
    display = GradientSpaceDisplay.from_predictions(
        gradients,
        y,
        ~flag_isolated(medoids),
        medoid_indices=medoids.indices,
    )
    assert len(display.axes_) == 10
    assert int(display.is_medoid.sum()) == len(medoids.indices)
    assert_legible(display)


def test_groups_without_examples_are_not_in_the_legend(data):
    X, y = data
    display = GradientSpaceDisplay.from_predictions(
        X,
        y,
        np.ones(150, bool),
        poison_indices=np.flatnonzero(y == 0),
        medoid_indices=[],
    )
    assert legend_texts(display) == ["clean, kept (100)", "poison, kept (50)"]


def test_users_axes_are_drawn_on(data, detectors):
    figure, axes = plt.subplots(1, 3, layout="constrained", figsize=(12, 4))
    display = GradientSpaceDisplay.from_estimator(detectors["filter"], *data, ax=axes)
    assert display.figure_ is figure
    assert list(display.axes_) == list(axes)
    assert_legible(display)
    with pytest.raises(ValueError, match="1 axes for 3 panels"):
        display.plot(ax=axes[0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"keep": np.ones(9, bool)}, "keep has shape"),
        ({"keep": np.ones(10)}, "one bool a training example, 10"),
        ({"y": np.zeros(9)}, "rows for 9 examples"),
        ({"gradients": np.full((10, 2), np.nan)}, "NaN"),
        ({"classes": ["none"]}, "classes is"),
        ({"classes": []}, "classes is"),
        ({"target": np.zeros((1, 2))}, "target_label"),
        ({"target": np.zeros((1, 2)), "target_label": 5}, "the classes that are drawn"),
        ({"target": np.zeros((2, 2)), "target_label": [0] * 3}, "target_label"),
        ({"medoid_indices": [10]}, "medoid_indices"),
        ({"gradients": np.ones((40, 2)), "y": np.arange(40), "keep": np.ones(40, bool)},
         "at most 30 labels"),
    ],
)  # fmt: skip
def test_bad_input_of_gradient_space_is_refused(changed, message):
    given = {
        "gradients": np.random.RandomState(0).randn(10, 2),
        "y": np.arange(10) % 2,
        "keep": np.ones(10, bool),
    }
    with pytest.raises(ValueError, match=message):
        GradientSpaceDisplay.from_predictions(**{**given, **changed})


def test_estimators_without_gradients_or_fit_are_refused(data, detectors):
    X, y = data
    with pytest.raises(TypeError, match="from_predictions"):
        GradientSpaceDisplay.from_estimator(detectors["sampler"], X, y)
    with pytest.raises(NotFittedError):
        GradientSpaceDisplay.from_estimator(EPICFilter(), X, y)
    with pytest.raises(ValueError, match="y has 9 labels"):
        GradientSpaceDisplay.from_estimator(detectors["filter"], X[:9], y[:9])


# DropHistoryDisplay


@pytest.mark.parametrize(
    "name", ["filter", "rounds", "filtered", "model", "sampler", "schedule", "callback"]
)
def test_history_of_each_kind_of_detector(data, detectors, name):
    display = DropHistoryDisplay.from_estimator(detectors[name], y=data[1])
    keep = keep_of(detectors[name])
    dropped = [np.mean(~keep[data[1] == label]) for label in range(3)]
    np.testing.assert_allclose(display.fractions[:, -1], dropped)
    is_filter = name in ("filter", "rounds", "filtered")
    assert display.ax_.get_xlabel() == ("round" if is_filter else "epochs trained")


def test_staircases_count_what_was_dropped_up_to_each_round(detectors):
    model = detectors["model"]
    display = DropHistoryDisplay.from_estimator(model, poison_indices=POISON_ROWS)
    at = model.dropped_at_epoch_
    for line, rows in zip(display.lines_, (POISON_ROWS, OTHER_ROWS), strict=True):
        expected = [np.mean((at[rows] >= 0) & (at[rows] <= e)) for e in (2, 4, 6)]
        assert line.get_drawstyle() == "steps-post"
        assert line.get_ydata()[0] == 0
        np.testing.assert_allclose(line.get_ydata()[1:-1], expected)
        np.testing.assert_allclose(line.get_xdata()[1:-1], [2, 4, 6])
    assert [to_hex(line.get_color()) for line in display.lines_] == [VERMILION, BLUE]
    assert display.ax_.yaxis.get_major_formatter()(0.175, 0) == "17.5%"
    assert legend_texts(display) == ["poisons (2)", "clean examples (148)"]
    assert_legible(display)


def test_one_group_has_a_title_and_no_legend(detectors):
    display = DropHistoryDisplay.from_estimator(detectors["filtered"])
    assert display.legend_ is None
    assert display.ax_.get_title() == "All examples (150)"


def test_ten_classes_and_no_drops_at_all():
    y = np.array(LONG)[np.arange(100) % 10]
    display = DropHistoryDisplay.from_predictions(
        np.full(len(y), -1), np.arange(10, 200, 5), y=y
    )
    assert (display.fractions == 0).all()
    assert display.ax_.get_ylim() == (0.0, 0.1)
    assert len(legend_texts(display)) == 10
    assert_legible(display)


@pytest.mark.parametrize("at", [1, -1])
def test_legend_in_users_axes_stays_inside_them_and_covers_no_curve(at):
    """Also where the figure makes no room for anything beside its axes."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
    for ax in axes:
        display = DropHistoryDisplay.from_predictions(
            [at, at, -1, -1], [1, 2], poison_indices=[0, 1], ax=ax
        )
        figure.canvas.draw()
        legend, inside = display.legend_.get_window_extent(), ax.get_window_extent()
        assert legend.x0 >= inside.x0 and legend.x1 <= inside.x1
        assert legend.y0 >= inside.y0 and legend.y1 <= inside.y1 + 1
        for line in display.lines_:
            assert line.get_window_extent().y1 < legend.y0
        assert max(ax.get_yticks()) <= 1


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


# ClusterSizeDisplay


def test_cluster_sizes_are_counted_by_brute_force():
    sizes = np.array([1, 1, 2, 3, 5, 9, 10, 19, 20, 400])
    keep = np.array([0, 1, 0, 1, 1, 1, 1, 1, 1, 0], dtype=bool)
    display = ClusterSizeDisplay.from_predictions(sizes, keep, poison_indices=[0, 2])
    assert display.bins.tolist() == [1, 2, 3, 4, 5, 10, 20]
    bins = [1, 2, 3, 4, 5, 10, 20, 1000]
    for i, rows in enumerate(([0, 2], [1, 3, 4, 5, 6, 7, 8, 9])):
        for mask, found in ((keep >= 0, display.fractions), (~keep, display.dropped)):
            counts = np.histogram(sizes[rows][mask[rows]], bins)[0]
            np.testing.assert_allclose(found[i], counts / len(rows))
    dropped = ["1, dropped", "2, dropped", "20 or more, dropped"]
    kept = ["1", "3", "5 to 9", "10 to 19", "20 or more"]
    assert legend_texts(display) == dropped + kept
    assert_legible(display)


@pytest.mark.parametrize(
    "name", ["filter", "rounds", "filtered", "model", "sampler", "callback"]
)
def test_bars_add_up_and_the_hatched_part_is_what_was_dropped(data, detectors, name):
    display = ClusterSizeDisplay.from_estimator(detectors[name], y=data[1])
    assert display.group_names == ["0", "1", "2"]
    widths = np.array([[bar.get_width() for bar in bars] for bars in display.bars_])
    np.testing.assert_allclose(widths.sum(axis=0), 1.0)
    is_hatched = np.array([bars[0].get_hatch() is not None for bars in display.bars_])
    keep = keep_of(detectors[name])
    dropped = [np.mean(~keep[data[1] == label]) for label in range(3)]
    np.testing.assert_allclose(widths[is_hatched].sum(axis=0), dropped)
    assert_legible(display)


def test_clusters_of_ten_long_named_classes_and_on_users_axes():
    sizes = np.random.RandomState(0).randint(1, 40, 1000)
    y = np.array(LONG)[np.arange(1000) % 10]
    display = ClusterSizeDisplay.from_predictions(sizes, sizes > 2, y=y)
    assert_legible(display)
    _, ax = plt.subplots(layout="constrained", figsize=(9, 5))
    assert_legible(display.plot(ax=ax))
    assert display.ax_ is ax


@pytest.mark.parametrize("bad", [[], [1.5], [[1]]])
def test_bad_cluster_sizes_are_refused(bad):
    with pytest.raises(ValueError, match="cluster_sizes"):
        ClusterSizeDisplay.from_predictions(bad)


def test_a_rule_without_clusters_has_no_cluster_sizes_to_draw(data):
    detector = EPICFilter(rule=RandomDrop()).fit(*data)
    with pytest.raises(ValueError, match=r"makes no clusters.*IsolatedMedoids\(\)"):
        ClusterSizeDisplay.from_estimator(detector)


# TradeoffDisplay

COLUMNS = {
    "name": ["none", "EPIC 0.1", "EPIC 0.2"],
    "attack_success": [0.45, 0.02, 0.01],
    "clean_accuracy": [0.95, 0.93, 0.90],
}


def test_defences_stand_where_they_were_measured_however_given():
    pandas = pytest.importorskip("pandas")
    rows = [{name: COLUMNS[name][i] for name in COLUMNS} for i in range(3)]
    for records in (COLUMNS, rows, pandas.DataFrame(COLUMNS)):
        display = TradeoffDisplay.from_predictions(records)
        spots = np.vstack([m.get_xydata() for m in display.markers_])
        np.testing.assert_allclose(spots[:, 0], COLUMNS["clean_accuracy"])
        np.testing.assert_allclose(spots[:, 1], COLUMNS["attack_success"])
        assert legend_texts(display) == COLUMNS["name"]
    assert "higher is better" in display.ax_.get_xlabel()
    assert "lower is better" in display.ax_.get_ylabel()
    assert_legible(display)


def test_a_legend_stays_inside_the_users_figure_where_nothing_makes_room():
    figure, axes = plt.subplots(1, 2)
    display = TradeoffDisplay.from_predictions(COLUMNS, ax=axes[0])
    figure.canvas.draw()
    around, legend = axes[0].get_window_extent(), display.legend_.get_window_extent()
    assert around.x0 <= legend.x0 and legend.x1 <= around.x1


def test_error_bars_are_wilsons():
    records = {**COLUMNS, "n_trials": [100, 50, 300]}
    display = TradeoffDisplay.from_predictions(records)
    z = 1.959963984540054
    for (low, high), p, n in zip(
        display.intervals, COLUMNS["attack_success"], records["n_trials"], strict=True
    ):
        middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        np.testing.assert_allclose([low, high], [middle - half, middle + half])
    assert_legible(display)
    pandas = pytest.importorskip("pandas")
    lines = pandas.DataFrame(records).to_dict("records")
    del lines[1]["n_trials"]  # of one it is not known
    some = TradeoffDisplay.from_predictions(lines)
    np.testing.assert_array_equal(some.intervals[::2], display.intervals[::2])
    assert np.isnan(some.intervals[1]).all()
    assert some.ax_.get_ylim()[1] > max(COLUMNS["attack_success"])


def test_many_long_names_beside_the_axes_and_beside_users_axes():
    names = [f"a defence of a long name, {i}" for i in range(12)]
    records = {"name": names, "poisons_left": np.arange(12) / 12}
    records["clean_lost"] = np.arange(12) / 24
    display = TradeoffDisplay.from_predictions(
        records, x="clean_lost", y="poisons_left"
    )
    assert_legible(display)
    drawn = display.legend_.get_lines()
    assert len({line.get_marker() for line in drawn}) == 12
    fills = {(line.get_color(), line.get_markerfacecolor()) for line in drawn}
    assert len(fills) == 12
    _, ax = plt.subplots(layout="constrained", figsize=(9, 4))
    assert_legible(display.plot(ax=ax))


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({**COLUMNS, "clean_accuracy": [95, 93, 90]}, "Divide percentages by 100"),
        ({**COLUMNS, "attack_success": [0, 0, np.nan]}, "attack_success contains nan"),
        ({**COLUMNS, "n_trials": [10, 10]}, "same length"),
        ({**COLUMNS, "n_trials": [10, 0, 10]}, "n_trials contains 0; give the"),
        ({**COLUMNS, "n_trials": [10, 2.5, 10]}, "n_trials contains 2.5; give the"),
        ({"name": ["none"], "attack_success": [0.1]}, "with its name, clean_accuracy"),
        ([], "0 lines"),
        ({"name": [], "attack_success": [], "clean_accuracy": []}, "0 lines"),
    ],
)
def test_bad_records_are_refused(records, message):
    with pytest.raises(ValueError, match=message):
        TradeoffDisplay.from_predictions(records)


def test_bad_quantities_are_refused():
    with pytest.raises(ValueError, match=r"'x' parameter .* Got 'accuracy'"):
        TradeoffDisplay.from_predictions(COLUMNS, x="accuracy")


@pytest.mark.parametrize("display", [DropHistoryDisplay, ClusterSizeDisplay])
def test_labels_and_poisons_in_another_order_are_refused(display):
    X, y = load_iris(return_X_y=True, as_frame=True)
    detector = EPICFilter(rule=IsolatedMedoids()).fit(X, y)
    display.from_estimator(detector, y=y)
    with pytest.raises(ValueError, match="y has the index of fitted in another order"):
        display.from_estimator(detector, y=y[::-1])
    with pytest.raises(ValueError, match="poison_indices has the index of fitted"):
        display.from_estimator(detector, poison_indices=(y == 0)[::-1])


def test_defences_on_one_point_are_drawn_side_by_side():
    records = {
        "name": ["a", "b", "c"],
        "attack_success": [1.0, 1.0, 0.0],
        "clean_accuracy": [0.9, 0.9, 0.9],
        "n_trials": [5, 5, 5],
    }
    display = TradeoffDisplay.from_predictions(records)
    assert_legible(display)
    at = [m.get_window_extent().x0 for m in display.markers_]
    assert at[1] - at[0] > 5 and at[2] == pytest.approx(at[0], abs=0.5)


def test_long_names_that_would_look_alike_are_told_apart():
    names = [f"a rather long class name number {i} with more words" for i in range(3)]
    y = np.repeat(names, 4)
    display = DropHistoryDisplay.from_predictions(np.full(12, -1), [0, 1], y=y)
    shown = legend_texts(display)
    assert len(set(shown)) == 3 and shown[0].startswith("1: a rather")
    assert display.ax_.get_xlim()[0] > -1  # no round comes before training


@pytest.mark.parametrize("given", ["x", plt.figure(), [None]])
def test_what_is_no_axes_is_refused(given):
    with pytest.raises(TypeError, match="give matplotlib Axes"):
        TradeoffDisplay.from_predictions(COLUMNS, ax=given)


def test_more_axes_than_panels_are_refused():
    _, axes = plt.subplots(1, 2)
    with pytest.raises(ValueError, match="ax holds 2 axes for 1 panel; give one"):
        TradeoffDisplay.from_predictions(COLUMNS, ax=axes)


def test_sizes_and_epochs_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="cluster_sizes contains 0"):
        ClusterSizeDisplay.from_predictions([0, 2, 3])
    with pytest.raises(ValueError, match="give the epochs of all rounds"):
        DropHistoryDisplay.from_predictions([1, -1], [1, 2, np.nan])
