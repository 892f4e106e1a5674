"""Texts read as numbers and dates; what may be either is asked about."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import compress
from typing import Any

import numpy as np
import pandas as pd

from .._utils import shortened
from .errors import Unusable, refuse_if

LARGEST_WHOLE = 2**53  # floats tell whole numbers apart up to here
MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "<NA>", "NaT")
NAN = re.compile(r"[-+]?nan", re.IGNORECASE)
MANY = 40  # different texts, from which skrub takes a column as free text
MOST = 0.75  # share of different texts from which the others are asked about
# 00714, 08.30, 1E05: a customer, a time, a diagnosis.
CODE = re.compile(r"\s*(0\d+(\.\d+)?|\d+[eE]\d+)\s*")
LONG = re.compile(r"\s*\d{8,}\s*")  # 20210419, 9783161484100
ZONE = re.compile(r":\d\d\S*([Zz]|[+-]\d\d:?\d\d)\s*$")  # behind a time
LONGEST_TIME = 40  # in which its zone is looked for: of all it takes the square
# Percentages, amounts, limits, times: what float() does not take.
ODD = re.compile(
    r"\s*[-+\u2212(<>\u2264\u2265~]*\s?([$£€]\s?)?"
    r"(\d[\d., '\u00a0\u2019\u202f]*+\s?[-)%$£€]?|\d{1,2}:\d\d(:\d\d([.,]\d+)?)?)\s*"
)
# With one unit: 30.47kg, 12 EUR. Of few different ones it is a category, as in 5XL.
UNIT = re.compile(r"\s*[-+\u2212]?\d[\d., ]*\s?([A-Za-z\u00b5\u00b0/]{1,4})\s*")
# One point before three digits: thousands, where others have none.
POINTED = re.compile(r"\s*[-+]?[1-9]\d{0,2}\.\d{3}\s*")
DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([T ]\d{1,2}:\d\d.*)?")
# 1-Jan-2021, 1. Januar 2021, Jan 1, 2021; months by their English names, as a rule.
NAMED = re.compile(
    r"((\d{1,2}(\.? |-)[^\W\d_]{3,10}\.?[- ]|[^\W\d_]{3,10} \d{1,2},? )\d{4}"
    r"|\d{1,2}-(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)-\d{2})"
    r"( \d{1,2}:\d\d.*)?"
)
NAMED_DATES = (
    *("%d-%b-%y", "%d-%b-%Y", "%d %b %Y", "%d %B %Y", "%d. %b %Y", "%d. %B %Y"),
    *("%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y"),
)
DATES = ("%d-%m-%Y", "%m-%d-%Y", "%Y-%m-%d", "%d-%m-%y", "%m-%d-%y")
TIMES = ("", " %H:%M", " %H:%M:%S")
# --decimal and --thousands that are proposed where they would do.
WAYS = [(".", "")] + [(d, t) for d in ",." for t in ("", ",", ".", " ", "'") if d != t]
BLANKS = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2019": "'"})
HALF_A_CENTURY = np.timedelta64(50 * 365, "D")
AS_TEXT = "read them as text (--text)"
Place = Callable[[int], str]  # of a row, as a person looks it up: "line 7"


@dataclass(frozen=True)
class Reading:
    """How texts are read, as the options say; and what there is to say of it."""

    decimal: str | None = None
    thousands: str | None = None
    missing: tuple[str, ...] = ()
    date_format: str | None = None
    as_text: tuple[str, ...] = ()
    features: tuple[str, ...] = ()  # used even if they look like ids
    n: int | None = None  # rows that decide; behind them stand examples
    place: Place = "row {}".format  # of all of them
    plain: Collection[str] = ()  # columns of numbers that are no texts
    nested: Collection[str] = ()  # columns of lists or objects
    met: set[str] = field(default_factory=set)  # of `missing` and formats of dates
    notes: list[str] = field(default_factory=list)

    @property
    def marks(self) -> tuple[str, str | None]:
        """What stands before decimals, and what groups digits."""
        usual = "," if self.thousands == "." else "."
        return self.decimal or usual, self.thousands

    def of(self, name: str) -> Reading:
        """How a column is read, whose numbers may be plain whatever others are."""
        is_plain = name in self.plain
        return replace(self, decimal=".", thousands=None) if is_plain else self

    def is_gap(self, text: str, name: str) -> bool:
        """Whether a text stands for a missing value; -999.0 does as -999 does.

        In columns that --text names, of the usual ones only nothing does.
        """
        text = text.strip()
        for gap in self.missing:
            if text == gap or as_number(text) == as_number(gap):
                self.met.add(gap)
                return True
        if name in self.as_text:
            return not text
        return text in MISSING or bool(NAN.fullmatch(text))


def as_number(text: str, decimal: str = ".", thousands: str | None = None) -> float:
    """Read a number; NaN where a text is none that floats hold."""
    if thousands:  # between one to three digits and three more
        mark = rf"(?<=\d)(?<!\b0)(?<!\d{{4}}){re.escape(thousands)}(?=\d{{3}}(?!\d))"
        whole, point, rest = text.translate(BLANKS).partition(decimal)
        text = re.sub(mark, "", whole) + point + rest
    if "_" in text or (decimal != "." and "." in text):  # Python reads 1_0 as ten
        return np.nan
    text = text.replace(decimal, ".").strip()
    try:
        number = float(text)
    except ValueError:
        return np.nan
    is_large = abs(number) >= LARGEST_WHOLE and text.lstrip("+-").isdigit()
    return np.nan if is_large and Decimal(text) != Decimal(number) else number


def as_numbers(
    texts: Sequence[str], decimal: str = ".", thousands: str | None = None
) -> np.ndarray:
    """Read numbers; NaN where a text is none that floats hold."""
    return np.array([as_number(text, decimal, thousands) for text in texts], float)


def dates_as(texts: Sequence[str], written: str) -> Any:
    """Dates (datetime64) in a format, in UTC; NaT where a text is in another."""
    how: Any = {"format": written, "utc": True, "errors": "coerce"}
    index = pd.Index([text.strip() for text in texts])
    return pd.to_datetime(index, **how).tz_localize(None).to_numpy()


def has_zone(text: str) -> bool:
    """Whether a time has a zone behind it."""
    return bool(ZONE.search(text.rstrip()[-LONGEST_TIME:]))


def formats_of(first: str, given: str | None) -> list[str]:
    """List formats in which dates like the first one may be written."""
    mark = DATE.fullmatch(first)
    if given:  # for what is unsure: ISO is not
        return [given, "ISO8601"] if mark else [given]
    if mark is None:
        return [date + time for date in NAMED_DATES for time in TIMES]
    # 21.06.25 is written where days come first.
    dates = [*DATES, "%y-%m-%d"] if mark[1] != "." else DATES
    dates = [date.replace("-", mark[1]) for date in dates]
    return ["ISO8601"] + [date + time for date in dates for time in TIMES]


def as_dates(texts: Sequence[str], given: str | None) -> tuple[Any, str]:
    """Dates and their format; None where they are none."""
    is_wrong = given and "%p" in given and "%H" in given
    refuse_if(is_wrong, f"--date-format {given}: hours before %p are %I, not %H")
    texts = [text.strip() for text in texts]
    likely = [t for t in texts if given or DATE.fullmatch(t) or NAMED.fullmatch(t)]
    if len(likely) < MOST * len(texts):
        return None, ""
    fits, wrong = list[tuple[Any, str]](), texts
    for how in formats_of(likely[0], given):
        found = dates_as(texts, how)
        missed = list(compress(texts, np.isnat(found)))
        wrong = min(wrong, missed, key=len)
        if not missed:
            fits = [fit for fit in fits if (fit[0] != found).any()]  # May: %b and %B
            fits.append((found, how))
            if how in (given, "ISO8601"):
                break
    if not fits:
        _refuse_dates(texts, wrong)
        return None, ""
    if len(fits) > 1 and fits[-1][1] not in (given, "ISO8601"):
        ways = " or ".join(f"--date-format {shlex.quote(how)}" for _, how in fits)
        raise Unusable(f"holds dates such as {texts[0]!r}: give {ways}")
    zoned = list(filter(has_zone, texts))
    if 0 < len(zoned) < len(texts):
        other = next(text for text in texts if not has_zone(text))
        raise Unusable(
            f"holds times with a zone, such as {zoned[0]!r}, and without, such as "
            f"{other!r}: write them alike, or {AS_TEXT}"
        )
    if not given and "%y" in fits[-1][1] and np.ptp(fits[-1][0]) > HALF_A_CENTURY:
        raise Unusable(
            f"holds dates such as {texts[0]!r} that lie more than fifty years apart, "
            "as two digits are read: write years with four"
        )
    return fits[-1]


def _refuse_dates(texts: list[str], wrong: list[str]) -> None:
    """Refuse dates that are in no one format, by those that miss the likeliest."""
    if all(DATE.fullmatch(text) or NAMED.fullmatch(text) for text in texts):
        known = [text for text in texts if text not in set(wrong)] or texts
        raise Unusable(
            f"holds dates in no one format that is known, such as {known[0]!r} and "
            f"{wrong[-1]!r}: write them alike, give --date-format (%d, %m, %Y, %H, %M, "
            f"%S, %f; %I with %p), or {AS_TEXT}"
        )
    if len(wrong) <= (1 - MOST) * len(texts):
        refuse_few("dates", wrong)


def beyond_floats(example: object) -> Unusable:
    """Error for whole numbers that would be rounded."""
    return Unusable(
        f"holds whole numbers beyond 2**53, such as {shortened(example, 40)}, which "
        f"floats round: subtract the smallest, divide, or {AS_TEXT}"
    )


def refuse_few(kind: str, texts: Sequence[str]) -> None:
    """Refuse a column of numbers or dates for its few other texts."""
    few = texts[:5]
    shown = ", ".join(repr(shortened(text, 40)) for text in few)
    shown += f" and {len(texts) - 5} more" * (len(texts) > 5)
    gaps = " ".join(f"--missing {shlex.quote(text)}" for text in few)
    raise Unusable(
        f"holds {kind}, and {shown}: if these are missing values, give {gaps}; to read "
        "all as text, --text"
    )


def odd_numbers(texts: list[str]) -> dict[str, None]:
    """Texts that are numbers in another way, or many with the same unit."""
    odd = dict.fromkeys(filter(ODD.fullmatch, texts))
    units = {text: found[1] for text in texts if (found := UNIT.fullmatch(text))}
    if len(units) > MANY and len(set(units.values())) == 1:
        odd |= dict.fromkeys(units)
    return odd


def refuse_odd(filled: list[str], how: Reading) -> None:
    """Refuse texts that are numbers in another way, or numbers but for a few."""
    texts = list(compress(filled, np.isnan(as_numbers(filled, *how.marks))))
    if all(text.strip().lstrip("+-").isdigit() for text in texts):
        raise beyond_floats(texts[0])
    odd = odd_numbers(texts)
    others = [text for text in texts if text not in odd]
    is_few = len(others) <= max(5, (1 - MOST) * len(filled))
    is_few = is_few and len(filled) - len(others) > 5  # of fewer it is a category
    if odd and (is_few or not others):
        ways = [
            f"--decimal {d}" + (f" --thousands {shlex.quote(t)}" if t else "")
            for d, t in WAYS
            if (d, t or None) != how.marks
            and any(t in text.translate(BLANKS) for text in filled)
            and not np.isnan(as_numbers(filled, d, t)).any()
        ]
        ways = list(dict.fromkeys(ways))
        if how.marks != (".", None) and not np.isnan(as_numbers(filled)).any():
            ways[0] += " (--plain for this column alone)"
        give = f"give {' or '.join(ways)} or " if ways else ""
        beside = f", and {shortened(others[0], 40)!r}" if others else ""
        raise Unusable(
            "holds numbers or times that are written as text, such as "
            f"{next(iter(odd))!r}{beside}: {give}write them as plain numbers, or "
            f"{AS_TEXT}"
        )
    if is_few:
        refuse_few("numbers", others)


def refuse_thousands(filled: list[str], how: Reading) -> None:
    """Refuse points that may mark thousands, where nobody said what they mark."""
    pointed = [text for text in filled if "." in text]
    if how.decimal or how.thousands or not 1 < len(pointed) < len(filled):
        return
    if all(map(POINTED.fullmatch, pointed)):
        plain = next(text for text in filled if "." not in text)
        raise Unusable(
            f"holds {pointed[0]!r} and {plain!r}, and every point stands before three "
            "digits: give --thousands . if it marks thousands, --decimal . if not"
        )


def as_values(filled: list[str], how: Reading) -> tuple[Any, str, str]:
    """Numbers or dates, what they are called, and the format of dates; or None."""
    numbers = as_numbers(filled, *how.marks)
    written = how.date_format or ""
    are_dates = bool(written) and all(map(LONG.fullmatch, filled))
    are_dates = are_dates and not np.isnat(dates_as(filled, written)).any()
    if not are_dates and not np.isnan(numbers).any():
        refuse_thousands(filled, how)
        is_code = any(map(CODE.fullmatch, filled)) or all(map(LONG.fullmatch, filled))
        what = "number" + ", or a code? --text reads it so" * is_code
        for text, number in zip(filled, numbers.tolist(), strict=True):
            if how.thousands and number != as_number(text) == as_number(text):
                return numbers, f"{what}, {text} is {number:.15g}", ""
        return numbers, what, ""
    values, written = as_dates(filled, how.date_format)
    how.met.add(written)
    is_moved = any(map(has_zone, filled))
    what = f"date, {written.removesuffix('8601')}" + ", shown in UTC" * is_moved
    return values, what, written
