"""EPIC in Lightning's Trainer."""

import numpy as np
import pytest
import torch
from test_report import data_of
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset, WeightedRandomSampler
from training_problem import OPTIONS, make_net

lightning = pytest.importorskip(
    "lightning", reason="the extra lightning is not installed"
)

from lightning.pytorch import Callback  # noqa: E402
from lightning.pytorch.callbacks import ModelCheckpoint  # noqa: E402

from epic_sklearn.training.lightning import EPICLightningCallback  # noqa: E402

POISONS = [3, 43, 80]  # one of each class, which lie in another one
Y = np.arange(210) % 3
CENTERS = np.where(np.isin(np.arange(210), POISONS), (Y + 1) % 3, Y)
X = np.random.RandomState(0).randn(210, 5).astype(np.float32)
X += 4 * np.eye(3, 5, dtype=np.float32)[CENTERS]


class Rows(Dataset):
    """Notes on disk which rows an epoch visits: workers are processes."""

    def __init__(self, note=None):
        self.note = note

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        if self.note is not None:
            with open(self.note, "a") as file:
                file.write(f"{i}\n")
        return torch.tensor(X[i]), int(Y[i])


class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = make_net()
        self.visited = []

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, number):
        x, y = batch
        self.visited += x[:, 0].tolist()
        return nn.functional.cross_entropy(self(x), y)

    def on_train_epoch_start(self):
        self.visited.clear()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Silent(Net):
    forward = lightning.LightningModule.forward


class Scaling(Net):
    def on_after_batch_transfer(self, batch, index):
        return batch[0] / 2, batch[1]


def fit(folder, epic, *, net=None, loader=None, ckpt_path=None, **changes):
    options = {
        "max_epochs": 6, "accelerator": "cpu", "devices": 1, "logger": False,
        "enable_progress_bar": False, "enable_model_summary": False,
        "enable_checkpointing": False, "callbacks": [epic], **changes,
    }  # fmt: skip
    trainer = lightning.Trainer(default_root_dir=folder, **options)
    net = net or Net()
    loader = loader or DataLoader(Rows(), batch_size=32, shuffle=True)
    trainer.fit(net, loader, ckpt_path=ckpt_path)
    return trainer, net


def make_epic(**changes):
    return EPICLightningCallback(**{"random_state": 0, **OPTIONS, **changes})


def test_poisons_are_found_and_not_visited_again(tmp_path):
    epic = make_epic()
    trainer, net = fit(tmp_path, epic, accumulate_grad_batches=3)
    assert [record.epoch for record in epic.rounds_] == [2, 4]
    assert not epic.keep_[POISONS].any() and epic.keep_.mean() > 0.8
    assert not np.isin(X[~epic.keep_, 0], net.visited).any()
    assert len(net.visited) == len(X)
    assert trainer.global_step == 6 * 3  # 7 batches an epoch


def test_the_page_and_its_decisions(tmp_path):
    epic, rows = make_epic(), Rows()
    fit(tmp_path, epic)
    page = data_of(epic.report(rows, None, tmp_path / "a.html"))
    assert sorted(page["table"]["row"]) == epic.isolated_indices_.tolist()
    assert page["asides"][0]["values"]["43"].split("\n")[0] == f"{X[43, 0]:.5g}"
    other = Subset(rows, [3, 1, 2, 0, *range(4, len(X))])
    with pytest.raises(ValueError, match="not what was given to fit"):
        epic.report(other, None, tmp_path / "b.html")
    epic.apply_decisions({43: "keep", 0: "drop"})
    left = Subset(rows, epic.keep_.nonzero()[0])
    assert 43 in left.indices and 0 not in left.indices
    fit(tmp_path, Callback(), loader=DataLoader(left, batch_size=32, shuffle=True))


@pytest.mark.parametrize("cut", [3, 4])
def test_resuming_keeps_what_was_dropped(tmp_path, cut):
    straight, first, resumed = make_epic(), make_epic(), make_epic(random_state=9)
    _, whole = fit(tmp_path, straight)
    trainer, _ = fit(tmp_path, first, max_epochs=cut)
    trainer.save_checkpoint(tmp_path / "cut.ckpt")
    _, again = fit(tmp_path, resumed, ckpt_path=tmp_path / "cut.ckpt")
    assert not straight.keep_.all()
    np.testing.assert_array_equal(resumed.keep_, straight.keep_)
    for ours, theirs in zip(again.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    with pytest.raises(ValueError, match="made with other settings"):
        fit(tmp_path, make_epic(every=1), ckpt_path=tmp_path / "cut.ckpt")


def test_a_longer_training_goes_on_with_the_rounds_that_followed(tmp_path):
    free = {"warmup": None, "every": None, "stop": None}
    first, resumed = make_epic(**free), make_epic(**free)
    trainer, net = fit(tmp_path, first, max_epochs=4)
    trainer.save_checkpoint(tmp_path / "cut.ckpt")
    with pytest.warns(UserWarning, match="of another length"):
        fit(tmp_path, resumed, max_epochs=8, ckpt_path=tmp_path / "cut.ckpt")
    assert resumed.sampler_.schedule.epochs.warmup == 1
    assert [r.epoch for r in resumed.rounds_][-1] == 7
    trainer.fit_loop.max_epochs = 6
    with pytest.warns(UserWarning, match="of another length"):
        trainer.fit(net, DataLoader(Rows(), batch_size=32, shuffle=True))


@pytest.mark.parametrize("cut", [2, 3, 4])
def test_a_checkpoint_of_an_epochs_last_step_skips_no_round(tmp_path, cut):
    straight, resumed = make_epic(), make_epic(random_state=9)
    n_steps = cut * -(-len(X) // 32)
    saves = ModelCheckpoint(
        tmp_path, filename="{step}", every_n_train_steps=n_steps, save_top_k=-1
    )
    _, whole = fit(
        tmp_path, straight, callbacks=[straight, saves], enable_checkpointing=True
    )
    path = tmp_path / f"step={n_steps}.ckpt"
    _, again = fit(tmp_path, resumed, ckpt_path=path)
    assert [r.epoch for r in resumed.rounds_] == [r.epoch for r in straight.rounds_]
    np.testing.assert_array_equal(resumed.keep_, straight.keep_)
    for ours, theirs in zip(again.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.filterwarnings("ignore:EPIC.* judged them last")  # before training
def test_workers_that_read_ahead_read_nothing_that_is_dropped(tmp_path):
    epic = make_epic(warmup=0, every=9, stop=None)
    rows = Rows(tmp_path / "note")
    loader = DataLoader(rows, batch_size=32, shuffle=True, num_workers=1)
    _, net = fit(tmp_path, epic, loader=loader, max_epochs=1)
    assert not epic.keep_.all()
    assert not np.isin(X[~epic.keep_, 0], net.visited).any()


@pytest.mark.parametrize(
    ("epic", "options", "message"),
    [
        ({"warmup": 6, "stop": None}, {}, "warmup is 6 and max_epochs 6"),
        ({"every": 0}, {}, "'every' parameter of EPICLightningCallback"),
        (
            {},
            {
                "loader": DataLoader(
                    Rows(), sampler=WeightedRandomSampler([1.0] * len(X), 30)
                )
            },
            "has a WeightedRandomSampler, which would be ignored",
        ),
        ({}, {"loader": [DataLoader(Rows()), DataLoader(Rows())]}, "one data set"),
        ({}, {"net": Silent()}, "Silent has no forward"),
        ({}, {"net": Scaling()}, "Scaling has on_after_batch_transfer"),
    ],
)
def test_what_cannot_work_is_refused_before_training(tmp_path, epic, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fit(tmp_path, make_epic(**epic), **options)


def test_hooks_that_change_batches_need_the_items_as_the_net_gets_them(tmp_path):
    halves = [(x / 2, label) for x, label in Rows()]
    loader = DataLoader(halves, batch_size=32, shuffle=True)
    plain, hooked = make_epic(), make_epic(clean_dataset=halves)
    fit(tmp_path, plain, loader=loader)
    fit(tmp_path, hooked, net=Scaling())
    assert not plain.keep_.all()
    np.testing.assert_array_equal(hooked.keep_, plain.keep_)


def test_nothing_is_judged_in_a_fast_dev_run(tmp_path):
    trainer, _ = fit(tmp_path, make_epic(), fast_dev_run=True)
    assert trainer.state.finished


@pytest.mark.skipif(
    not torch.distributed.is_gloo_available(), reason="torch without gloo"
)
def test_two_processes_drop_the_same_and_share_what_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    both = {"devices": 2, "strategy": "ddp_spawn", "max_epochs": 3}
    trainer, _ = fit(tmp_path, make_epic(), net=Noting(tmp_path), **both)
    trainer.save_checkpoint(tmp_path / "both.ckpt")
    shares = [np.load(tmp_path / f"{rank}.npz") for rank in (0, 1)]
    np.testing.assert_array_equal(shares[0]["keep"], shares[1]["keep"])
    visited = np.concatenate([share["visited"] for share in shares])
    kept = X[shares[0]["keep"], 0]
    assert not shares[0]["keep"].all()
    assert set(visited) == set(kept)


class Noting(Net):
    """Saves what each process kept and visited last."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_train_end(self):
        (epic,) = (
            c for c in self.trainer.callbacks if isinstance(c, EPICLightningCallback)
        )
        visited = np.float32(self.visited)
        file = self.folder / f"{self.global_rank}.npz"
        np.savez(file, keep=epic.keep_, visited=visited)


def test_a_run_that_is_over_hands_on_what_was_dropped(tmp_path):
    first, requeued, longer = make_epic(), make_epic(), make_epic()
    trainer, _ = fit(tmp_path, first)
    trainer.save_checkpoint(tmp_path / "over.ckpt")
    trainer, _ = fit(tmp_path, requeued, ckpt_path=tmp_path / "over.ckpt")
    trainer.save_checkpoint(tmp_path / "again.ckpt")
    fit(tmp_path, longer, max_epochs=7, ckpt_path=tmp_path / "again.ckpt")
    assert not first.keep_.all()
    assert not longer.keep_[~first.keep_].any()
    assert [r.epoch for r in longer.rounds_][:2] == [r.epoch for r in first.rounds_]
