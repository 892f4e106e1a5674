"""What people who fine-tune bring: collators, labels elsewhere, resumed runs."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset
from training_problem import OPTIONS, make_net

from epic_sklearn import EPICClassifier, EPICSubsetSampler, LogitGradients, trace

N = 60
X = torch.randn(N, 5, generator=torch.Generator().manual_seed(0))
Y = torch.arange(N) % 3
X += 4 * torch.eye(3, 5)[Y]
SETTINGS = {"max_epochs": 2, "warmup": 0, "random_state": 0}


class Items(Dataset):
    """Items without an array behind them, each what `make` makes of a row."""

    def __init__(self, make, rows=range(N)):
        self.make, self.rows = make, rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.make(self.rows[i])


class Flipped(Items):
    """Augmented at random."""

    def __getitem__(self, i):
        return super().__getitem__(i)[0] * torch.rand(()), int(Y[self.rows[i]])


def pair(i):
    return X[i], int(Y[i])


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(X, Y, strict=True)


# --------------------------------------------------------------- labels of a data set


def test_labels_of_two_entries_are_refused():
    data = Items(lambda i: {"x": X[i], "label": int(Y[i]), "labels": int(Y[i])})
    with pytest.raises(ValueError, match=r"entries \['labels', 'label'\]"):
        EPICSubsetSampler(data, warmup=1)


@pytest.mark.parametrize(
    ("third", "warns"),
    [(lambda i: i, True), (lambda i: 0.5, False), (lambda i: X[i], False)],
)
def test_a_third_part_that_may_be_the_label_is_warned_of(third, warns, recwarn):
    EPICSubsetSampler(Items(lambda i: (X[i], int(Y[i]), third(i))), warmup=1)
    said = [str(w.message) for w in recwarn if "more than two parts" in str(w.message)]
    assert bool(said) == warns


def test_labels_of_parts_are_refused():
    tokens = Items(lambda i: {"x": X[i], "labels": [0] * (i % 3)})
    with pytest.raises(ValueError, match="one label an example"):
        EPICSubsetSampler(tokens, warmup=1)


def test_labels_with_another_index_are_refused_in_a_review(tmp_path):
    rows = list(range(N))
    others = rows[3:] + rows[:3]  # each label where it was, of another row

    def given(order):
        series = pd.Series(Y.numpy()[order], index=order)
        return Items(lambda i: X[i], order), series

    model = EPICClassifier(make_net(), **SETTINGS).fit(*given(rows))
    with pytest.raises(ValueError, match="y has another index"):
        model.refit(*given(others))
    with pytest.raises(ValueError, match="y has another index"):
        model.report(*given(others), tmp_path / "a.html")
    model.refit(*given(rows))


def test_single_items_and_lists_of_items_are_refused():
    net, data = make_net(), TensorDataset(X, Y)
    with pytest.raises(TypeError, match="Subset"):
        trace(net, data, None, data[3])
    with pytest.raises(TypeError, match="list of items"):
        EPICClassifier(net, **SETTINGS).fit([data[i] for i in range(N)], Y)


# --------------------------------------------------------------------- resumed runs


def sampled(data):
    sampler = EPICSubsetSampler(data, warmup=0, every=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the net is untrained, and items may vary
        sampler.step(0, LogitGradients(make_net())(data))
    return sampler


@pytest.mark.parametrize("make", [lambda x: TensorDataset(x, Y), Items])
def test_a_state_of_other_rows_with_the_same_labels_is_refused(make):
    is_array = make is not Items
    state = sampled(make(X) if is_array else Items(pair)).state_dict()
    others = make(X.roll(3, 0)) if is_array else Items(lambda i: pair((i + 3) % N))
    resumed = EPICSubsetSampler(others, warmup=0, every=1)
    with pytest.raises(ValueError, match="other examples than these"):
        resumed.load_state_dict(state)
    assert not resumed.rounds and resumed.keep.all()
    same = EPICSubsetSampler(make(X) if is_array else Items(pair), warmup=0, every=1)
    same.load_state_dict(state)
    # Of labels alone the values cannot be told; then the state's name for them holds.
    of_labels = EPICSubsetSampler(Y, warmup=0, every=1)
    of_labels.load_state_dict(state)
    assert of_labels.schedule.seen == same.schedule.seen


def test_a_state_of_augmented_items_goes_on():
    torch.manual_seed(0)
    state = sampled(Flipped(pair)).state_dict()
    EPICSubsetSampler(Flipped(pair), warmup=0, every=1).load_state_dict(state)


# ------------------------------------------------------------------------- Lightning


def test_lightning_judges_clean_items_and_refuses_streams(
    tmp_path,
):
    lightning = pytest.importorskip("lightning", reason="no extra lightning")
    from epic_sklearn.training.lightning import EPICLightningCallback

    class Net(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = make_net()

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, number):
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def fit(data, **more):
        epic = EPICLightningCallback(**{**OPTIONS, "warmup": 1}, **more)
        quiet = {"logger": False, "enable_checkpointing": False}
        quiet |= {"enable_progress_bar": False, "enable_model_summary": False}
        trainer = lightning.Trainer(max_epochs=2, callbacks=[epic], **quiet)
        trainer.fit(Net(), DataLoader(data, batch_size=20))
        return epic

    augmented = fit(Flipped(pair), clean_dataset=Items(pair))
    augmented.report(Items(pair), None, tmp_path / "a.html")
    with pytest.raises(ValueError, match="not what was given to fit"):
        augmented.report(Items(lambda i: pair((i + 3) % N)), None, tmp_path / "b.html")
    with pytest.raises(TypeError, match="Stream is an IterableDataset"):
        fit(Stream())
    with pytest.warns(UserWarning, match="more than two parts"):
        fit(Items(lambda i: (*pair(i), i)))


# ---------------------------------------------------------------------- transformers


def texts():
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    words = [[1 + int(y)] * (2 + i % 3) for i, y in enumerate(Y)]
    return datasets.Dataset.from_dict({"input_ids": words, "label": Y.tolist()})


def padded(items):
    """Collate as many a script does: of lists, padded by hand."""
    most = max(len(item["input_ids"]) for item in items)
    ids = [item["input_ids"] + [0] * (most - len(item["input_ids"])) for item in items]
    labels = [item["label"] for item in items]
    return {"input_ids": torch.tensor(ids), "labels": torch.tensor(labels)}


trainers = []  # those of runs that are refused, too


def train(tmp_path, data, collate=padded, num_labels=3, **arguments):
    pytest.importorskip("accelerate", reason="the extra huggingface is not installed")
    transformers = pytest.importorskip("transformers", reason="no extra huggingface")
    from epic_sklearn.training.huggingface import EPICTrainerCallback

    config = transformers.DistilBertConfig(
        vocab_size=8, dim=8, hidden_dim=8, n_layers=1, n_heads=1,
        max_position_embeddings=8, num_labels=num_labels,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.DistilBertForSequenceClassification(config)
    epic = EPICTrainerCallback(warmup=1)
    quiet = {"report_to": "none", "save_strategy": "no", "disable_tqdm": True}
    options = {"num_train_epochs": 2, "use_cpu": True, "logging_strategy": "no"}
    trainer = transformers.Trainer(
        model,
        transformers.TrainingArguments(
            output_dir=str(tmp_path), **{**quiet, **options, **arguments}
        ),
        train_dataset=data,
        data_collator=collate,
        callbacks=[epic],
    )
    trainers.append(trainer)
    trainer.train()
    return epic, trainer


@pytest.mark.filterwarnings("ignore:EPIC.* learned next to nothing")
def test_a_collator_gets_what_the_trainer_gives_it(tmp_path):
    data = texts()
    epic, trainer = train(tmp_path, data)
    assert len(epic.rounds_) == 1
    loader, some = trainer.get_train_dataloader(), data.select([3])
    asked = DataLoader(some, collate_fn=padded)
    assert trace(trainer.model, loader, None, asked, n_top=2).indices.shape == (1, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_names": ["fine"]}, r"label_names=\['fine'\]"),
        ({"num_labels": 1}, "at least 2 columns"),
        ({"collate": lambda items: renumbered(items)}, "changes labels"),
        ({"num_train_epochs": 1}, "Train longer"),
        ({"train_sampling_strategy": "group_by_length"}, "see train_sampling_strategy"),
    ],
)
def test_what_cannot_work_is_refused_before_a_step(tmp_path, changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        train(tmp_path, texts(), **changes)
    assert trainers.pop().state.global_step == 0


def renumbered(items):
    batch = padded(items)
    return {**batch, "labels": (batch["labels"] + 1) % 3}


# ------------------------------------------------------------------- what it looks like


def test_a_traced_page_of_items_in_another_order_is_refused(tmp_path):
    found = trace(make_net(), Items(pair), None, X[:2], n_top=3)
    found.report(Items(pair), X[:2], tmp_path / "a.html")
    other = Items(pair, [*range(1, N), 0])
    with pytest.raises(ValueError, match="in the order in which"):
        found.report(other, X[:2], tmp_path / "b.html")
    assert not (tmp_path / "b.html").exists()


def test_a_traced_page_says_of_how_many_values_it_shows_some(tmp_path):
    wide = torch.cat([X] * 4, dim=1)
    found = trace(lambda X, y: np.asarray(X), wide.numpy(), Y, wide[:1].numpy(), [0])
    page = found.report(wide, wide[:1], tmp_path / "a.html").read_text()
    assert "... of 20" in page
