"""EPIC in transformers' Trainer: a tiny model from a configuration, nothing loaded."""

import os
import warnings

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from torch import nn
from torch.utils.data import Dataset

pytest.importorskip("accelerate", reason="the extra huggingface is not installed")
transformers = pytest.importorskip(
    "transformers", reason="the extra huggingface is not installed"
)

from test_report import data_of  # noqa: E402

from epic_sklearn.rules import DeepKNN, IsolatedMedoids  # noqa: E402
from epic_sklearn.training.huggingface import EPICTrainerCallback  # noqa: E402

N, N_TOKENS, POISONS = 120, 6, [3, 43, 80]
MEDOIDS = {"rule": IsolatedMedoids(), "gradients": "last_layer"}
OPTIONS = {**MEDOIDS, "warmup": 2, "every": 2}
IN_TWO = {"warmup": 1, "rule": IsolatedMedoids(0.3)}


class Texts(Dataset):
    """Three classes of texts by their words; poisons have words of another class."""

    def __init__(self, n=N):
        rng = np.random.RandomState(0)
        self.labels = np.arange(n) % 3
        topics = self.labels.copy()
        topics[POISONS] = (topics[POISONS] + 1) % 3
        words = rng.randint(5, size=(n, N_TOKENS)) + 5 * topics[:, None]
        self.words = torch.tensor(np.where(rng.rand(n, N_TOKENS) < 0.2, 15, words))
        self.visits = []

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        self.visits.append(i)
        return {"input_ids": self.words[i], "label": int(self.labels[i])}


def make_model():
    config = transformers.DistilBertConfig(
        vocab_size=16, dim=16, hidden_dim=32, n_layers=1, n_heads=2, num_labels=3,
        max_position_embeddings=N_TOKENS, dropout=0.0, attention_dropout=0.0,
        seq_classif_dropout=0.0,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.DistilBertForSequenceClassification(config)


def make_trainer(folder, epic, model=None, data=None, eval_data=None, **changes):
    options = {
        "output_dir": str(folder),
        "num_train_epochs": 5,
        "per_device_train_batch_size": 16,
        "learning_rate": 1e-2,
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "logging_strategy": "no",
        "save_strategy": "no",
        **changes,
    }
    return transformers.Trainer(
        model or make_model(),
        transformers.TrainingArguments(**options),
        train_dataset=data or Texts(),
        eval_dataset=eval_data,
        callbacks=[epic],
    )


def test_poisons_are_found_and_not_visited_again(tmp_path):
    data, epic = Texts(), EPICTrainerCallback(**OPTIONS)
    batches = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}
    trainer = make_trainer(tmp_path, epic, data=data, **batches)
    trainer.train()
    assert [record.epoch for record in epic.rounds_] == [2, 4]
    assert not epic.keep_[POISONS].any() and epic.keep_.mean() > 0.9
    assert set(data.visits[-N:]) <= set(np.flatnonzero(epic.keep_))
    # 15 batches an epoch are 8 steps, however few rows are kept.
    assert trainer.state.global_step == 5 * 8


def test_the_page_has_the_texts_and_its_decisions_train_anew(tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    rows = Texts()
    columns = {"input_ids": rows.words.tolist(), "label": rows.labels}
    table = datasets.Dataset.from_dict(
        {**columns, "text": [f"of {i}" for i in range(N)]}
    )
    epic = EPICTrainerCallback(**OPTIONS)
    make_trainer(tmp_path, epic, data=table).train()
    page = data_of(epic.report(table, None, tmp_path / "a.html"))
    assert set(POISONS) <= set(page["table"]["row"])
    (texts,) = page["asides"]
    assert texts["values"]["43"] == "of 43"  # the Trainer itself takes this column out
    with pytest.raises(ValueError, match="labels in y are not those of the fit"):
        epic.report(table.select(range(N)[::-1]), None, tmp_path / "b.html")
    epic.apply_decisions({43: "keep", 0: "drop"})
    assert epic.keep_[43] and 0 in epic.isolated_indices_
    left = table.select(epic.keep_.nonzero()[0])
    anew = make_trainer(tmp_path, EPICTrainerCallback(**OPTIONS), data=left)
    anew.remove_callback(EPICTrainerCallback)
    assert anew.train().global_step == 5 * -(-len(left) // 16)


def test_a_run_begun_without_it_goes_on_with_it(tmp_path):
    saving = {"save_strategy": "epoch", "num_train_epochs": 1}
    plain = make_trainer(tmp_path, EPICTrainerCallback(warmup=0), **saving)
    plain.remove_callback(EPICTrainerCallback)
    plain.train()
    epic = EPICTrainerCallback(warmup=1, every=1)
    saving["num_train_epochs"] = 2
    make_trainer(tmp_path, epic, **saving).train(resume_from_checkpoint=True)
    assert [record.epoch for record in epic.rounds_] == [1]


def test_a_best_model_from_before_the_first_drop_is_warned_of(tmp_path):
    best = {"eval_strategy": "epoch", "save_strategy": "epoch", "eval_on_start": False}
    best |= {"load_best_model_at_end": True, "metric_for_best_model": "loss"}
    for is_first in (True, False):
        epic = EPICTrainerCallback(**OPTIONS)
        trainer = make_trainer(
            tmp_path / str(is_first), epic, eval_data=Texts(), **best,
            greater_is_better=is_first,
        )  # fmt: skip
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer.train()
        said = [str(w.message) for w in caught if "the best, and" in str(w.message)]
        assert len(said) == is_first
        assert not is_first or "those of epoch 1" in said[0]


@pytest.mark.parametrize("cut", [16, 20])
def test_resuming_keeps_what_was_dropped(tmp_path, cut):
    straight = EPICTrainerCallback(**OPTIONS)
    whole = make_trainer(tmp_path / "whole", straight)
    whole.train()
    saving = {"save_strategy": "steps", "save_steps": cut}
    first = make_trainer(tmp_path, EPICTrainerCallback(**OPTIONS), **saving)
    first.train()
    resumed = EPICTrainerCallback(**OPTIONS)
    again = make_trainer(tmp_path / "elsewhere", resumed)
    again.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{cut}"))
    assert not straight.keep_.all()
    np.testing.assert_array_equal(resumed.keep_, straight.keep_)
    np.testing.assert_array_equal(resumed.dropped_at_epoch_, straight.dropped_at_epoch_)
    for ours, theirs in zip(
        again.model.parameters(), whole.model.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    other = make_trainer(tmp_path, EPICTrainerCallback(warmup=1, every=2))
    with pytest.raises(ValueError, match="made with other settings"):
        other.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{cut}"))


def test_evaluation_sees_every_row_and_changes_nothing(tmp_path):
    plain = EPICTrainerCallback(**OPTIONS)
    make_trainer(tmp_path, plain).train()
    watched = EPICTrainerCallback(**OPTIONS)
    held_out = Texts()
    often = {"eval_strategy": "steps", "eval_steps": 3, "eval_data": held_out}
    trainer = make_trainer(tmp_path, watched, **often)
    trainer.train()
    np.testing.assert_array_equal(watched.keep_, plain.keep_)
    held_out.visits.clear()
    trainer.evaluate()
    assert held_out.visits == list(range(N))


class HeadFirst(nn.Module):
    """Its head is registered before the layer that feeds it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head, self.words = nn.Linear(16, 3), nn.Embedding(16, 16)
        self.body = nn.Linear(16, 16)

    def forward(self, input_ids, labels=None):
        logits = self.head(self.body(self.words(input_ids).mean(dim=1)).relu())
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


def test_a_head_that_is_not_the_last_linear_and_data_sets_of_hugging_face(tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    data = Texts()
    table = datasets.Dataset.from_dict(
        {"input_ids": data.words.tolist(), "label": data.labels, "text": ["a"] * N}
    )
    found = []
    for given in (data, table, [data[i] for i in range(N)]):
        epic = EPICTrainerCallback(**OPTIONS)
        make_trainer(tmp_path, epic, HeadFirst(), given).train()
        found.append(epic.keep_)
    assert not found[0][POISONS].any()
    np.testing.assert_array_equal(found[1:], found[:1] * 2)


@pytest.mark.parametrize(
    ("epic", "changes", "message"),
    [
        ({"warmup": 5}, {}, "warmup is 5 and max_epochs 5"),
        ({"warmup": -1}, {}, "'warmup' parameter of EPICTrainerCallback"),
        (
            {"gradients": "logit", "rule": DeepKNN()},
            {},
            "set gradients='last_layer'",
        ),
        (
            {"warmup": 1},
            {"train_sampling_strategy": "group_by_length"},
            "has a LengthGroupedSampler, which would be ignored",
        ),
        (
            {"warmup": 1},
            {"restore_callback_states_from_checkpoint": True},
            "leave it at False",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_training(tmp_path, epic, changes, message):
    data = Texts()
    trainer = make_trainer(tmp_path, EPICTrainerCallback(**epic), data=data, **changes)
    with pytest.raises(ValueError, match=message):
        trainer.train()
    assert trainer.state.global_step == 0


def test_a_stream_of_examples_is_refused_before_training(tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    rows = {"input_ids": [[1] * N_TOKENS] * 9, "labels": [0, 1, 2] * 3}
    data = datasets.Dataset.from_dict(rows).to_iterable_dataset()
    trainer = make_trainer(tmp_path, EPICTrainerCallback(), data=data, max_steps=4)
    with pytest.raises(TypeError, match="an IterableDataset, whose examples have no"):
        trainer.train()


def work(rank, folder):
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1", MASTER_PORT="1",  # asked for, not used
    )  # fmt: skip
    # They meet in a file: a port that is free now may be another's a moment later.
    meet = {"init_method": f"file://{folder}/group", "rank": rank, "world_size": 2}
    torch.distributed.init_process_group("gloo", **meet)
    data, epic = Texts(), EPICTrainerCallback(**IN_TWO)
    saving = {"num_train_epochs": 2, "save_strategy": "epoch"}
    trainer = make_trainer(folder, epic, data=data, **saving)
    assert trainer.args.world_size == 2
    trainer.train()
    last = set(data.visits[-64:])  # 4 batches of 16
    torch.save(
        {"keep": torch.tensor(epic.keep_), "last": sorted(last)}, f"{folder}/{rank}.pt"
    )
    # A process that leaves while its group's threads run may be aborted.
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(
    not torch.distributed.is_gloo_available(), reason="torch without gloo"
)
def test_two_processes_drop_the_same_and_share_what_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    mp.spawn(work, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert not first["keep"].all()
    assert torch.equal(first["keep"], second["keep"])
    visited = set(first["last"]) | set(second["last"])
    assert visited == set(np.flatnonzero(first["keep"]))
    resumed = EPICTrainerCallback(**IN_TWO)
    as_many = {"num_train_epochs": 2, "per_device_train_batch_size": 32}
    trainer = make_trainer(tmp_path, resumed, **as_many)
    trainer.train(resume_from_checkpoint=True)
    np.testing.assert_array_equal(resumed.keep_, first["keep"])
