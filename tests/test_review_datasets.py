"""The audit page and the page of a trace, of data sets whose items are read."""

import numpy as np
import pandas as pd
import pytest
import torch
from skorch import NeuralNetClassifier
from test_report import data_of, pixels_of
from test_review import HOW
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from epic_sklearn import (
    EPICCallback,
    EPICClassifier,
    EPICFilter,
    EPICSubsetSampler,
    LogitGradients,
    TraceDisplay,
    trace,
)

N = 150
Y = np.arange(N) % 3
PIXELS = np.random.default_rng(0).integers(0, 60, (N, 1, 6, 6))
PIXELS[np.arange(N), 0, 2 * Y] += 150
PIXELS[0] = PIXELS[1]  # a 0 that looks like a 1


class Pictures(Dataset):
    """Pixels, normalised as files of pictures are; counts what is read."""

    def __init__(self, pixels=PIXELS, labels=Y, noise=0.0):
        self.pixels, self.labels, self.noise = pixels, labels, noise
        self.n_read = np.zeros(len(labels), dtype=int)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        self.n_read[i] += 1
        x = torch.tensor(self.pixels[i] / 255 - 0.5, dtype=torch.float32)
        return x + self.noise * torch.rand(()), int(self.labels[i])


class Notes(Pictures):
    """Each a dictionary, with a text."""

    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return {"pixels": x, "label": y, "note": f"note {i} " * 40}


def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 3))


def by_classifier(data):
    return EPICClassifier(net, max_epochs=6, random_state=0, **HOW).fit(data), {}


def by_filter(data):
    model = EPICClassifier(net, max_epochs=6, random_state=0, **HOW).fit(data)
    return EPICFilter(model.module_, rule=HOW["rule"]).fit(data, None), {}


def by_sampler(data):
    sampler, linear = EPICSubsetSampler(data, random_state=0, **HOW), net()
    gradients = LogitGradients(linear)
    sampler.step(2, lambda: gradients(data))
    return sampler, {"gradients": lambda: gradients(data)}


def by_callback(data):
    torch.manual_seed(0)
    fitted = NeuralNetClassifier(
        net,
        criterion=nn.CrossEntropyLoss,
        max_epochs=6,
        train_split=None,
        callbacks=[("epic", EPICCallback(random_state=0, **HOW))],
        verbose=0,
    ).fit(data, None)
    return dict(fitted.callbacks_)["epic"], {}


def kept(door):
    return door.keep if isinstance(door, EPICSubsetSampler) else door.keep_


@pytest.mark.parametrize("make", [by_classifier, by_filter, by_sampler, by_callback])
def test_the_page_of_a_data_set_shows_its_pictures_and_reads_little(tmp_path, make):
    data = Pictures()
    door, extra = make(data)
    data.n_read[:] = 0
    page = data_of(door.report(data, None, tmp_path / "a.html", **extra))
    thumbnails = {int(row): text for row, text in page["thumbnails"].items()}
    assert page["table"]["row"] and page["features"] is None and not page["asides"]
    assert set(page["table"]["row"]) <= set(thumbnails)
    # For its label, for its gradient and, if it is shown, once more.
    assert (data.n_read == 2 + np.isin(np.arange(N), list(thumbnails))).all()
    shown = PIXELS[list(thumbnails)]
    row = page["table"]["row"][0]
    scaled = (PIXELS[row, 0] - shown.min()) / (shown.max() - shown.min()) * 255
    read = pixels_of(thumbnails[row]).reshape(6, 6, -1)[..., 0]
    np.testing.assert_allclose(read, scaled, atol=1.01)
    (tmp_path / "d.csv").write_text(f"row,decision,fit\n{row},keep,{page['fit']}\n")
    assert not kept(door)[row] and kept(door.apply_decisions(tmp_path / "d.csv"))[row]


@pytest.mark.parametrize("make", [by_classifier, by_filter, by_sampler, by_callback])
def test_other_items_are_refused_before_any_work(tmp_path, make):
    door, extra = make(Pictures())
    other, nearly = np.r_[3, 1, 2, 0, 4:N], PIXELS.copy()
    nearly[7, 0, 0, 0] += 1
    for data, said in (
        (Pictures(PIXELS[other]), "is not what was given to fit"),
        (Pictures(nearly), "is not what was given to fit"),
        (Pictures(PIXELS[1:], Y[1:]), "X has 149 items, and 150 rows"),
        (Pictures(labels=Y[::-1].copy()), "labels in y are not those of the fit"),
    ):
        with pytest.raises(ValueError, match=said):
            door.report(data, None, tmp_path / "a.html", **extra)
        assert (data.n_read <= 3).all()  # labels; and some to see if they stay the same
    assert not list(tmp_path.iterdir())


def test_a_part_of_a_data_set_is_numbered_as_it_was_given(tmp_path):
    part = Subset(Pictures(), list(range(N))[::-1])
    epic, _ = by_callback(part)
    found = data_of(epic.report(part, None, tmp_path / "a.html"))["table"]["row"]
    assert sorted(found) == epic.isolated_indices_.tolist()
    assert epic.keep_.shape == (N,) and N - 1 in found  # the picture of the 1


def test_files_are_named_by_the_index_of_their_labels(tmp_path):
    files = pd.Series(Y, index=[f"{i}.png" for i in range(N)])
    model = EPICClassifier(net, max_epochs=6, random_state=0, **HOW)
    page = model.fit(Pictures(), files).report(Pictures(), files, tmp_path / "a.html")
    data = data_of(page)
    assert data["names"][str(data["table"]["row"][0])].endswith(".png")


def test_items_that_are_never_the_same_are_told_by_their_labels(tmp_path):
    data = Pictures(noise=0.01)
    with pytest.warns(UserWarning, match="differ from one reading to the next"):
        door, _ = by_classifier(data)
    door.report(data, None, tmp_path / "a.html")
    with pytest.raises(ValueError, match="labels in y are not those of the fit"):
        door.report(Pictures(labels=np.roll(Y, 1)), None, tmp_path / "b.html")


def test_refit_trains_on_the_decided_items_alone():
    door, _ = by_classifier(Pictures())
    door.apply_decisions({5: "drop"})
    data = Pictures()
    door.refit(data)
    dropped = door.isolated_indices_
    assert 5 in dropped and (data.n_read[dropped] == 1).all()  # for its label
    assert (np.delete(data.n_read, dropped) >= 7).all()
    with pytest.raises(ValueError, match="not what was given to fit"):
        door.refit(Pictures(PIXELS + 1))


def test_texts_of_dictionaries_are_shown(tmp_path):
    data = Notes()
    loader = DataLoader(data, 32, num_workers=1)
    door, _ = by_classifier(loader)
    page = data_of(door.report(loader, None, tmp_path / "a.html"))
    (texts,) = page["asides"]
    for row in page["table"]["row"]:
        assert texts["values"][str(row)] == f"note {row} " * 40
        assert str(row) in page["thumbnails"]


def test_data_sets_of_hugging_face_are_shown(tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    columns = {"x": PIXELS.reshape(N, -1) / 255, "label": Y, "note": list(map(str, Y))}
    data = datasets.Dataset.from_dict(columns)

    detector = EPICFilter(net(), rule=HOW["rule"]).fit(data, None)
    page = data_of(detector.report(data, None, tmp_path / "a.html"))
    (texts,) = page["asides"]
    assert page["thumbnails"] is None
    assert {texts["values"][str(r)] for r in page["table"]["row"]} <= {"0", "1", "2"}
    with pytest.raises(ValueError, match="labels in y are not those of the fit"):
        other = datasets.Dataset.from_dict({**columns, "label": np.roll(Y, 1)})
        detector.report(other, None, tmp_path / "b.html")


@pytest.mark.parametrize("kind", [Pictures, Notes])
def test_a_trace_shows_what_the_items_of_a_data_set_are(tmp_path, kind):
    pytest.importorskip("matplotlib")
    data = kind()
    loader = DataLoader(data, 32)
    door, _ = by_classifier(loader)
    found = trace(door, loader, None, loader, labels=Y, n_top=3)
    data.n_read[:] = 0
    page = found.report(data, data, tmp_path / "why.html", n_top=2).read_text()
    assert page.count("data:image/png") == 3 * N
    assert ("note 9 note 9" in page) == (kind is Notes)
    assert data.n_read.max() <= 2
    two = Pictures(PIXELS[:2], Y[:2])
    found = trace(door, loader, None, two, labels=[0, 0], n_top=3)
    display = TraceDisplay.from_trace(found, loader, two)
    every = np.array([*display.panels[0], *display.panels[1]])
    assert every.shape[1:] == (6, 6) and every.min() == 0 and every.max() == 1
    display.figure_.canvas.draw()
