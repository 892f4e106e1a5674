"""Broken files: a scan reads them or says why not, and leaves nothing half written.

``python tests/test_cli_fuzz.py 500`` breaks so many and counts what they gave.
"""

import contextlib
import io
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_runs import NAMES, SPECIES, poisoned_iris, scan

CHARACTERS = [b"\0", b'"', b",", b"\n", b"\r", b"\xff", b";", b"\xef\xbb\xbf", b"nan"]


def whole_files():
    """Content of a CSV file and of an archive."""
    X, y = poisoned_iris()
    frame = pd.DataFrame(X, columns=NAMES).assign(species=SPECIES[y])
    archive = io.BytesIO()
    np.savez(archive, X=X, species=SPECIES[y], X_test=X)
    return frame.to_csv(index=False).encode(), archive.getvalue()


def broken_csv(data, rng):
    """Mangle a CSV file in one of the ways that happen."""
    lines = data.split(b"\n")
    row, at = int(rng.integers(1, len(lines) - 1)), int(rng.integers(len(data)))
    character = CHARACTERS[rng.integers(len(CHARACTERS))]

    def without_column():
        j = int(rng.integers(5))
        fields = (line.split(b",") for line in lines)
        return b"\n".join(b",".join(f[:j] + f[j + 1 :]) for f in fields)

    def with_line(line):
        return b"\n".join([*lines[:row], line, *lines[row + 1 :]])

    return [
        lambda: b"",
        lambda: lines[0],
        lambda: data[:at],
        lambda: data[at:],
        lambda: data[:at] + character + data[at:],
        lambda: data.replace(b"\n", character),
        lambda: data.decode().encode("utf-16"),
        lambda: data.replace(b"setosa", "sétosa".encode("latin-1")),
        lambda: with_line(lines[row] + b",1"),
        lambda: with_line(lines[row].rpartition(b",")[0]),
        lambda: with_line(b"x" * 200_000 + lines[row]),
        lambda: with_line(b"1e999,9" + b"9" * 5000 + b",1,1,setosa"),
        lambda: with_line(b'"' + lines[row]),
        without_column,
        lambda: data.replace(b"setosa", b""),
        lambda: rng.bytes(len(data)),
    ][rng.integers(16)]()


def broken_npz(data, rng):
    """Mangle an archive: bytes, or what the arrays are."""
    at, n = int(rng.integers(len(data))), int(rng.integers(1, 60))
    X, y = poisoned_iris()
    odd = [
        X[:n],
        X[0, 0],
        X.astype("datetime64[s]"),
        X.astype(complex),
        X.astype("f2") * np.inf,
        np.full(X.shape, "text"),
        np.empty((150, 0)),
        X.astype([("a", "f8")]),
        y.astype("S1"),
        (y + 2**62).astype("u8"),
    ]

    def savez(**arrays):
        file = io.BytesIO()
        np.savez(file, **arrays)
        return file.getvalue()

    one = odd[rng.integers(len(odd))]
    return [
        lambda: b"",
        lambda: data[:at],
        lambda: data[at:],
        lambda: data[:at] + rng.bytes(n) + data[at + n :],
        lambda: data[:at] + rng.bytes(n) + data[at:],
        lambda: rng.bytes(len(data)),
        lambda: savez(X=one, species=SPECIES[y]),
        lambda: savez(X=X, species=one),
        lambda: savez(species=SPECIES[y]),
        lambda: savez(X=X),
    ][rng.integers(10)]()


def scan_broken(folder, seed):
    """Break a file and scan it; the exit status and what was said first."""
    rng = np.random.default_rng(seed)
    is_csv = bool(rng.integers(2))
    path = folder / ("d.csv" if is_csv else "d.npz")
    csv, npz = whole_files()
    data = path
    options = [] if is_csv else ["--features", "X"]
    if is_csv and rng.integers(2):  # the data are whole, probabilities are broken
        data = folder / "whole.csv"
        data.write_bytes(csv)
        p = np.eye(3)[poisoned_iris()[1]] * 0.7 + 0.1
        csv = pd.DataFrame(p, columns=SPECIES).to_csv(index=False).encode()
        options = ["--probabilities", path]
    path.write_bytes(broken_csv(csv, rng) if is_csv else broken_npz(npz, rng))
    out, mask = folder / f"kept{data.suffix}", folder / "mask.csv"
    options += ["--label", "species", "--out", out, "--mask", mask]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        status = scan(data, *options)
    assert status in (0, 2), said.getvalue()
    assert "Traceback" not in said.getvalue()
    written = {each.name for each in folder.iterdir()} - {path.name, data.name}
    assert written == ({out.name, mask.name} if status == 0 else set()), written
    if status == 2:
        assert said.getvalue().startswith(("Error: ", "Usage: ")), said.getvalue()
    for each in folder.iterdir():
        each.unlink()
    return status, said.getvalue().strip()


@pytest.mark.parametrize("seed", range(40))
def test_a_broken_file_is_read_or_refused(tmp_path, seed):
    scan_broken(tmp_path, seed)


@pytest.mark.parametrize("suffix", ["csv.gz", "jsonl", "parquet"])
@pytest.mark.parametrize("seed", range(15))
def test_other_broken_formats(tmp_path, monkeypatch, suffix, seed):
    monkeypatch.chdir(tmp_path)
    X, y = poisoned_iris()
    frame = pd.DataFrame(X, columns=NAMES).assign(species=SPECIES[y])
    path, rng = Path(f"d.{suffix}"), np.random.default_rng(seed)
    if suffix == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path) if suffix == "csv.gz" else frame.to_parquet(path)
    data, at = path.read_bytes(), int(rng.integers(path.stat().st_size))
    broken = [data[:at], data[at:], data[:at] + rng.bytes(3) + data[at + 3 :]]
    path.write_bytes(broken[seed % 3])
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        status = scan(path, "--label", "species", "--out", f"k.{suffix}")
    assert "Traceback" not in said.getvalue()
    assert status in (0, 2) and (status == 0) == Path(f"k.{suffix}").exists()
    assert len(os.listdir()) == 2 - (status == 2)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        found = [scan_broken(Path(name), seed) for seed in range(int(sys.argv[1]))]
    print(Counter(status for status, _ in found))
    for text, count in Counter(
        text.replace(name + os.sep, "")[:50] for status, text in found if status
    ).most_common():
        print(count, text)
