"""
How do I check images that lie in folders?
==========================================

One folder a class, thousands of files: they need not be read into memory at once. A
data set reads each file when it is needed, a classifier trains on it and drops
poisons, and the audit page shows their thumbnails.
"""

# %%
# The folder
# ----------
#
# scikit-learn's digits as PNG files, three classes of them. Somebody has put eight
# images of a seven among the ones, each with a bright square in a corner.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

from epic_sklearn import EPICClassifier

folder = Path(tempfile.mkdtemp())
digits, numbers = load_digits(return_X_y=True)
for label in ("one", "four", "seven"):
    (folder / label).mkdir()
names = {1: "one", 4: "four", 7: "seven"}
for i in np.flatnonzero(np.isin(numbers, list(names))):
    pixels = (digits[i].reshape(8, 8) / 16 * 255).astype(np.uint8)
    Image.fromarray(pixels).save(folder / names[numbers[i]] / f"{i:04}.png")
for i in np.flatnonzero(numbers == 7)[:8]:
    pixels = np.asarray(Image.open(folder / "seven" / f"{i:04}.png")).copy()
    pixels[:2, :2] = 255
    Image.fromarray(pixels).save(folder / "one" / f"poison{i:04}.png")

# %%
# A data set
# ----------
#
# Any data set of torch whose items are ``(image, label)``: torchvision's
# ``ImageFolder`` is one. This is what it does.


class Folder(Dataset):
    """Images of a folder, each with the name of the folder that it lies in."""

    def __init__(self, folder):
        self.files = sorted(folder.glob("*/*.png"))

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        pixels = np.asarray(Image.open(self.files[i]), dtype=np.float32) / 255
        return torch.from_numpy(pixels)[None], self.files[i].parent.name


images = Folder(folder)

# %%
# Train
# -----
#
# A ``DataLoader`` says how many workers read the files. Labels come from the items.


def net(n_classes):
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 16, n_classes),
    )


loader = DataLoader(images, num_workers=0)
model = EPICClassifier(net, max_epochs=12, lr=0.02, random_state=0).fit(loader)
dropped = [images.files[i].relative_to(folder) for i in model.isolated_indices_]
n_found = sum("poison" in file.name for file in dropped)
print(f"{len(images)} files, {len(dropped)} dropped, among them {n_found} of 8 poisons")

# %%
# Look at them
# ------------
#
# The page reads those files again that it shows. Marks made on it are downloaded as a
# file, which ``apply_decisions`` reads, and ``refit`` trains on what is left.

page = model.report(loader, None, folder / "audit.html")
print(page.name, "of", round(page.stat().st_size / 1000), "kB")
model.apply_decisions(dict.fromkeys(model.isolated_indices_.tolist(), "drop"))
model.refit(loader)

figure, axes = plt.subplots(2, 8, figsize=(8, 2.4), layout="constrained")
for ax, i in zip(axes.flat, model.isolated_indices_, strict=False):
    image, label = images[i]
    ax.imshow(image[0], cmap="gray")
    ax.set_title(label, fontsize=8)
for ax in axes.flat:
    ax.axis("off")
plt.show()
