"""50,000 image files: read when they are needed, or all at once.

    python -m benchmarks.files                 # 50,000 JPEG files of 64 x 64
    python -m benchmarks.files --images 2000

Writes the files to a temporary folder, one folder a class. Then, in a process of its
own each, trains an EPICClassifier, or filters by a module, on a data set that reads a
file when it is asked for an item, or on an array into which all are read first. The
memory is what that takes at its highest beyond a process that has done the same with
the first files; seconds are of the processor, reading and decoding included. The data
set counts its reads.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset
from tqdm import tqdm

from benchmarks.selection import peak_memory
from epic_sklearn import EPICClassifier, EPICFilter
from epic_sklearn.validation import digest

SIDE, N_CLASSES, FIRST = 64, 10, 300
EPOCHS = {"max_epochs": 4, "warmup": 2, "every": 1}
WAYS = ("train on files", "train on an array", "filter files", "filter an array")


class Images(Dataset):
    """JPEG files, with the names of their folders; counts what it reads."""

    def __init__(self, folder: Path, n: int | None = None) -> None:
        self.files = sorted(folder.glob("*/*.jpg"), key=lambda file: file.name)[:n]
        self.n_read = np.zeros(len(self.files), dtype=int)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, str]:
        self.n_read[i] += 1
        file = self.files[i]
        pixels = np.array(Image.open(file), dtype=np.float32) / 255
        return torch.from_numpy(pixels).permute(2, 0, 1), file.parent.name


def write_images(folder: Path, n: int) -> None:
    """Noise round one image a class."""
    rng = np.random.default_rng(0)
    shape = (SIDE, SIDE, 3)
    means = rng.integers(64, 192, (N_CLASSES, *shape))
    for c in range(N_CLASSES):
        (folder / f"class{c}").mkdir()
    for i in tqdm(range(n), desc="write"):
        pixels = means[i % N_CLASSES] + rng.integers(-64, 64, shape)
        file = folder / f"class{i % N_CLASSES}" / f"{i:06}.jpg"
        Image.fromarray(pixels.astype(np.uint8)).save(file)


def small_net() -> nn.Module:
    """Two convolutions; 512 inputs of the last layer, as many as a ResNet-18 has."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, stride=4, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=4, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(512, N_CLASSES)),
    )


def in_memory(images: Images) -> tuple[np.ndarray, np.ndarray]:
    X, labels = np.empty((len(images), 3, SIDE, SIDE), dtype=np.float32), []
    for i in range(len(images)):
        x, label = images[i]
        X[i] = x
        labels.append(label)
    return X, np.array(labels)


def work(way: str, images: Images) -> tuple[np.ndarray, np.ndarray]:
    """Do it; give what is kept, and how often each file should have been read."""
    given = in_memory(images) if "array" in way else (images, None)
    if "filter" in way:
        keep = EPICFilter(small_net()).fit(*given).keep_
        expected = np.full(len(keep), 2)  # for labels, for gradients
    else:
        model = EPICClassifier(small_net(), **EPOCHS, random_state=0).fit(*given)
        keep = model.keep_
        trained = np.where(keep, EPOCHS["max_epochs"], model.dropped_at_epoch_)
        expected = 1 + trained + len(model.rounds_)
        expected[:2] += [2, 1]  # one tells the shape, two whether the module fits
    return keep, np.ones(len(keep)) if "array" in way else expected


def measure(way: str, folder: Path) -> dict[str, Any]:
    """Run one way in this process."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UserWarning)
    work(way, Images(folder, FIRST))  # compiles
    images = Images(folder)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = peak_memory("VmRSS"), time.process_time()
    keep, expected = work(way, images)
    return {
        "seconds": time.process_time() - start,
        "MiB": peak_memory() - before,
        "reads": int(images.n_read.sum()),
        "unexpected": int(np.abs(images.n_read - expected).sum()),
        "dropped": int((~keep).sum()),
        "kept": digest(keep),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--way", nargs=2, help=argparse.SUPPRESS)  # and the folder
    args = parser.parse_args()
    if args.way:
        print(json.dumps(measure(args.way[0], Path(args.way[1]))))
        return
    print(
        "| | memory, MiB | seconds | reads a file | other than expected | dropped "
        "| the same kept |\n|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), args.images)
        kept: dict[str, str] = {}
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.files", "--way", way, folder]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout)
            first = kept.setdefault(way.split()[0], found["kept"])
            same = "yes" if found["kept"] == first else "no"
            print(
                f"| {way} | {found['MiB']:,.0f} | {found['seconds']:.0f} "
                f"| {found['reads'] / args.images:.2f} | {found['unexpected']} "
                f"| {found['dropped']:,} | {same} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
