"""Running the command line in tests, and the data it is run on."""

import pandas as pd
from sklearn.datasets import load_iris

from epic_sklearn.cli import main

NAMES = load_iris().feature_names
SPECIES = load_iris().target_names


def poisoned_iris():
    X, y = load_iris(return_X_y=True)
    X[0] = X[100]  # a setosa that looks like a virginica
    return X, y


def write_iris():
    """iris.csv in the working folder, species last."""
    X, y = poisoned_iris()
    frame = pd.DataFrame(X, columns=NAMES)
    frame["species"] = SPECIES[y]
    frame.to_csv("iris.csv", index=False)


def scan(*arguments):
    return main(["scan", *map(str, arguments)])


def refused(capsys, *arguments):
    """Message of a command that must not work."""
    capsys.readouterr()  # of commands before
    assert scan(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "Traceback" not in captured.err
    return " ".join(captured.err.split())


def mask_of(path="mask.csv"):
    return pd.read_csv(path, dtype={"label": str}, keep_default_na=False)


def write(path, text, encoding="utf-8"):
    with open(path, "w", newline="", encoding=encoding) as file:
        file.write(text)
