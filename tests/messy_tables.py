"""Twenty ordinary messy tables from scikit-learn's bundled data, and their options.

``python tests/messy_tables.py FOLDER`` writes them and prints a scan of each.
"""

import gzip
import shlex
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

EVENTS = ["bought", "sold", "cut", "dried", "pressed", "lost", "found"]


def flowers():
    """Iris as a colleague keeps it: ids, dates, notes, categories and gaps."""
    data = load_iris(as_frame=True)
    rng = np.random.default_rng(0)
    frame = data.data.set_axis(["sepal_l", "sepal_w", "petal_l", "petal_w"], axis=1)
    frame.iloc[0] = frame.iloc[100]  # a setosa that looks like a virginica
    frame.insert(0, "id", [f"F-{7 * i:05d}" for i in range(150)])
    frame["day"] = pd.date_range("2024-03-01", periods=150).strftime("%Y-%m-%d")
    frame["colour"] = np.where(rng.random(150) < 0.3, "white", "blue")
    frame["note"] = [
        f"{' '.join(rng.choice(EVENTS, 6))}, seen by reader {i % 7}" for i in range(150)
    ]
    frame["species"] = data.target_names[data.target]
    return frame


def with_gaps(frame, columns, share=0.1):
    rng, frame = np.random.default_rng(1), frame.copy()
    for name in columns:
        frame[name] = frame[name].astype(object).where(rng.random(len(frame)) > share)
    return frame


def text(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding))


def csv(frame, path, encoding="utf-8", **how):
    text(path, frame.to_csv(index=False, lineterminator="\n", **how), encoding)


def write_tables(folder):
    """Write them; arguments of ``epic-sklearn scan`` for each, by the name of the file.

    Parameters
    ----------
    folder : pathlib.Path
        An empty one.

    Returns
    -------
    dict of str to str
    """
    plain, wine = flowers(), load_wine(as_frame=True).frame
    cells = load_breast_cancer(as_frame=True).frame
    gaps = with_gaps(plain, ["sepal_l", "petal_w", "colour", "day", "note"])
    numbers = [name for name in plain if plain[name].dtype.kind == "f"]
    ways = {}

    def table(name, options):
        ways[name] = f"--label {options}"
        return folder / name

    csv(plain, table("plain.csv", "species --id id"))
    csv(gaps, table("gaps.csv", "species --id id --show note"))
    csv(gaps, table("unknown.csv", "species --missing unknown"), na_rep="unknown")
    german = plain.assign(**{n: plain[n].map("{:.1f}".format) for n in numbers})
    german[numbers] = german[numbers].map(lambda t: t.replace(".", ","))
    csv(german, table("german.csv", "species --separator ';' --decimal ,"), sep=";")
    csv(plain, table("tabs.tsv", "species --exclude note,id"), sep="\t")
    latin = plain.assign(colour=np.where(plain["colour"] == "blue", "grün", "weiß"))
    csv(latin, table("latin.csv", "species --encoding latin-1"), "latin-1")
    csv(latin, table("excel.csv", "species --encoding utf-16"), "utf-16")
    csv(latin, table("bom.csv", "species --show note"), "utf-8-sig")
    path = table("packed.csv.gz", "species")
    path.write_bytes(gzip.compress(gaps.to_csv(index=False).encode()))
    lines = gaps.to_json(orient="records", lines=True, force_ascii=False)
    text(table("lines.jsonl", "species --id id"), lines)
    gaps.assign(day=pd.to_datetime(gaps["day"])).convert_dtypes().to_parquet(
        table("typed.parquet", "species --id id")
    )
    text(table("index.csv", "species"), plain.to_csv())  # as pandas writes its index
    us = plain.assign(day=pd.to_datetime(plain["day"]).dt.strftime("%m/%d/%Y"))
    csv(us, table("american.csv", "species --date-format %m/%d/%Y"))
    spelled = plain.copy()
    spelled.loc[:5, "species"] = "Setosa "
    csv(spelled, table("spelled.csv", "species --rule NeighborVotes"))
    rare = pd.concat([plain, plain[:3].assign(species="unknown", id=list("xyz"))])
    csv(rare, table("rare.csv", "species --rule HighLoss"))
    many = wine.assign(proline=wine["proline"].map("{:,.0f}".format), empty="")
    csv(many, table("thousands.csv", "target --thousands ,"))
    quoted = plain.assign(note=plain["note"].str.replace(", ", ',\n"') + '"')
    csv(quoted, table("quoted.csv", "species --show note --exclude id"))
    cells = with_gaps(cells.assign(site=np.arange(len(cells)) % 9), cells.columns[:4])
    csv(cells, table("wide.csv", "target --gradient-of last_layer"))
    reviews = plain.assign(note=plain["species"] + " " + plain["note"])
    options = "species --text note --features note --show id,day"
    csv(reviews, table("texts.csv", options))
    X, y = load_digits(return_X_y=True)
    images = (X[:400].reshape(-1, 1, 8, 8) - 5) / 6
    np.savez(table("images.npz", "y --features images"), images=images, y=y[:400])
    return ways


if __name__ == "__main__":
    from epic_sklearn.cli import main

    for name, options in write_tables(Path(sys.argv[1])).items():
        print(f"\n{name}: {options}", flush=True)
        page = f"{sys.argv[1]}/{name}.html"
        main(["scan", f"{sys.argv[1]}/{name}", *shlex.split(options), "--report", page])
