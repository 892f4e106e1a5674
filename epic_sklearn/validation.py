"""Checks of what is given: labels, masks, the order of rows."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from ._utils import warn_user

# Examples of a class from which one that is isolated can be told from a rare one.
FEWEST = 11


def to_numpy(values: Any) -> Any:
    """Bring a torch tensor, wherever it lies, to numpy; leave the rest."""
    if not hasattr(values, "detach"):
        return values
    values = values.detach().cpu()
    if str(values.dtype) == "torch.bfloat16":  # which numpy does not have
        values = values.float()
    return values.numpy()


DIGESTED_AT_A_TIME = 2**20
NUMBERS = "fiub"


def _parts(value: Any) -> Iterator[np.ndarray]:
    """Arrays that hold all of what is given, each a part of it."""
    if scipy.sparse.issparse(value):
        sparse = value.tocsr().copy()
        sparse.sum_duplicates()
        sparse.eliminate_zeros()
        yield from (np.array(sparse.shape), sparse.indptr, sparse.indices, sparse.data)
    elif hasattr(value, "columns"):
        columns = [np.asarray(value[name]) for name in value.columns]
        is_matrix = columns and all(c.dtype.kind in NUMBERS for c in columns)
        yield from [np.column_stack(columns)] if is_matrix else columns
    elif hasattr(value, "errors") and hasattr(value, "inputs"):
        # Outer products; a frame may have columns of these names.
        yield from (np.asarray(value.errors), np.asarray(value.inputs))
    else:
        value = to_numpy(value)
        try:
            yield np.atleast_1d(np.asarray(value))
        except ValueError:  # a list of lists of different lengths
            yield np.array(value, dtype=object)


def digest(*given: Any) -> str:
    """Name what arrays, dataframes, tensors and sparse matrices hold, by SHA-256.

    Values count and their order, not how they are stored: 1 is 1.0 everywhere.
    """
    found = hashlib.sha256()
    for part in (part for value in given for part in _parts(value)):
        found.update(repr(part.shape).encode())
        step = max(1, DIGESTED_AT_A_TIME // max(1, part[:1].size))
        for start in range(0, len(part), step):
            block = part[start : start + step]
            # Larger whole numbers than floats tell apart go by their digits.
            is_large = part.dtype.kind in "iu" and np.any(np.abs(block / 2**53) >= 1)
            if part.dtype.kind in NUMBERS and not is_large:
                with np.errstate(over="ignore"):
                    narrow = block.astype(np.float32, copy=False)
                # Or half the bytes will not do.
                if not (narrow is block or np.array_equal(narrow, block, True)):
                    narrow = block.astype(np.float64)
                # There are two zeros.
                found.update(np.ascontiguousarray(narrow + np.float32(0)).data)
            else:
                found.update(repr(block.tolist()).encode())
    return found.hexdigest()


def plain(value: Any) -> Any:
    """Return a parameter as a value that can be saved and compared."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        return f"array of {value.dtype}, shape {value.shape}, sha256 {digest(value)}"
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    is_plain = value is None or isinstance(value, bool | int | float | str)
    # NaN is not equal to itself, its text is.
    if is_plain and value == value:
        return value
    return " ".join(repr(list(value) if isinstance(value, tuple) else value).split())


def is_missing(label: Any) -> bool:
    """Whether a value is None, NaN or pandas' NA."""
    try:
        return label is None or bool(label != label)
    except TypeError:  # pandas' NA has no truth value
        return True
    except ValueError:  # nor has an array
        return False


def refuse_masked(**given: Any) -> None:
    """Refuse masked arrays, whose hidden values would be taken for given ones."""
    for name, value in given.items():
        if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
            raise ValueError(
                f"{name} is a masked array: {int(np.ma.count_masked(value))} masked "
                "values would be read as if they were given; drop the rows, or give "
                f"{name}.filled(numpy.nan) to a model that takes NaN."
            )


def refuse_other_order(**given: Any) -> None:
    """Refuse pandas objects of the same rows in different orders.

    Rows are matched by position, as everywhere in scikit-learn; an index that
    holds the same labels in another order says that this would be wrong.
    """
    indexed = [(n, value.index) for n, value in given.items() if hasattr(value, "iloc")]
    for name, index in indexed[1:]:
        first, known = indexed[0]
        if (
            len(index) == len(known)
            and not index.equals(known)
            and known.is_unique
            and index.is_unique
            and index.isin(known).all()
        ):
            raise ValueError(
                f"{name} has the index of {first} in another order, and rows are "
                f"matched by position. If the index is right, give "
                f"{name}.loc[{first}.index]; if the position is, {name}.to_numpy()."
            )


def label_array(labels: Any) -> np.ndarray:
    """Labels as an array; numbers beside texts are refused: 1 and "1" would be one."""
    refuse_masked(y=labels)
    try:
        array = np.asarray(to_numpy(labels))
    except ValueError as error:
        raise ValueError(
            f"y holds lists or arrays of different shapes ({error}); give one label "
            "an example (of items (x, label) a data set, DataLoader(items) for "
            "example). Rules judge whole examples, not their parts, such as tokens."
        ) from error
    if array.dtype.kind == "T":  # NumPy's texts of any length
        array = array.astype(object)
    if array.dtype == object and all(
        isinstance(v, bool | np.bool_) for v in array.flat
    ):
        array = array.astype(bool)
    if array.ndim == 2 and array.shape[1] > 1:
        raise ValueError(
            f"y should be a 1d array, got an array of shape {array.shape} instead; "
            "give one class an example, of one-hot rows y.argmax(axis=1). Several "
            "labels an example are not supported; in an item of a data set the second "
            "part is the label."
        )
    if isinstance(labels, list | tuple) and array.dtype.kind in "SU":
        items = np.array(labels, dtype=object).ravel()
        kinds = {
            next((k for k in (str, bytes) if isinstance(i, k)), type(i)) for i in items
        }
        if len(kinds) > 1:
            names = " and ".join(sorted(kind.__name__ for kind in kinds))
            raise ValueError(
                f"y mixes labels of the types {names}; give all labels one type, for "
                "example with str, and label or drop the rows that have none."
            )
    return array


def _spelling(label: str) -> str | Decimal:
    """Reduce a label to its sense: no case, blanks, Unicode form; yes is true is 1."""
    plain = unicodedata.normalize("NFKC", label).casefold()
    seen = (c for c in plain if unicodedata.category(c) != "Cf" and not c.isspace())
    text = unicodedata.normalize("NFKC", "".join(seen))
    text = {"true": "1", "yes": "1", "false": "0", "no": "0"}.get(text, text)
    with suppress(InvalidOperation):  # 1 and 1.0, of a column read in two ways
        number = Decimal(text)
        return number if number.is_finite() and "_" not in text else text
    return text


def spelled_alike(labels: np.ndarray) -> str | None:
    """Say which classes look like one class written in several ways."""
    if labels.dtype.kind not in "OU":
        return None
    alike = defaultdict(list)
    for label, n in sorted(Counter(map(str, labels.tolist())).items()):
        # ASCII: they may look the same.
        alike[_spelling(label)].append(f"{label!a} ({n} row{'s' * (n > 1)})")
    groups = [", ".join(group) for group in alike.values() if len(group) > 1]
    if not groups:
        return None
    return (
        "Classes differ only in blanks, case, Unicode or number form: "
        f"{'; '.join(groups)}. "
        "If they are one class, write it in one way: each is judged by itself."
    )


def too_small(labels: np.ndarray) -> str | None:
    """Say which classes have too few examples to judge, whatever the rule."""
    sizes = sorted(Counter(labels.tolist()).items(), key=lambda pair: pair[1])
    small = [f"{c!r} ({n} example{'s' * (n > 1)})" for c, n in sizes if n < FEWEST]
    if not small:
        return None
    more = f" and {len(small) - FEWEST} more" * (len(small) > FEWEST)
    return (
        f"Classes too small to judge: {', '.join(small[:FEWEST])}{more}. Among fewer "
        f"than {FEWEST} a poison cannot be told from a rare example, by any rule: look "
        "at them yourself, or leave the class out."
    )


def class_warnings(labels: np.ndarray) -> list[str]:
    """Warn of classes that look like one, and of those too small to judge."""
    return [text for text in (spelled_alike(labels), too_small(labels)) if text]


def warn_of_classes(labels: np.ndarray) -> None:
    """Give :func:`class_warnings` as warnings."""
    for message in class_warnings(labels):
        warn_user(message)


def refuse_missing(labels: np.ndarray) -> None:
    """Refuse labels that are None, NaN or pandas' NA."""
    may_miss = labels.dtype.kind not in "iubSU"
    if may_miss and (n := sum(map(is_missing, labels.tolist()))):
        raise ValueError(
            f"y contains NaN or None in {n} of {len(labels)} rows; "
            "drop these rows, or label them."
        )


def check_labels(labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Sorted classes and the code of each label; at least two classes."""
    array = column_or_1d(label_array(labels))
    if len(array) == 0:
        raise ValueError("There are no labels: y is empty.")
    refuse_missing(array)
    try:
        classes, codes = np.unique(array, return_inverse=True)
    except TypeError as error:
        raise ValueError(
            f"y mixes labels of types that cannot be sorted ({error}); give all "
            "labels one type, for example with str."
        ) from error
    if len(classes) < 2:
        raise ValueError(
            f"y has only one class, {classes.tolist()[0]!r}; at least 2 classes are "
            "needed to train a classifier and take gradients from it."
        )
    check_classification_targets(array)
    return classes, codes


def check_finite_columns(X: Any, allow_nan: bool) -> None:
    """Refuse infinity, and NaN unless the model fills in, in columns of numbers.

    Other columns are the model's business: a ColumnTransformer takes strings.
    """
    bad = []
    for name in X.columns:
        column = np.asarray(X[name])
        is_bad = np.isinf if allow_nan else lambda values: ~np.isfinite(values)
        if column.dtype.kind == "f" and is_bad(column).any():
            bad.append(name)
    if bad:
        raise ValueError(
            f"Input X contains NaN or infinity in the columns {bad}; impute or drop "
            "them before filtering, or give a model that takes them as extractor."
        )


def has_rows(value: Any, n: int) -> bool:
    """Whether a fit parameter holds one item a row."""
    if hasattr(value, "shape"):
        return tuple(value.shape[:1]) == (n,)
    return isinstance(value, list | tuple) and len(value) == n
