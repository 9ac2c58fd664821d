"""Durations: ISO 8601 (`PT1M30S`), and Go's own (`1m30s`) where Knative's annotations use it.

Seconds as a float are the only unit behind the texts.
"""

import re
from fractions import Fraction

_DAY = 86400
_MONTH = Fraction(30436875, 10**6) * _DAY
_YEAR = 12 * _MONTH
_NUMBER = r"(?:\d{1,12}(?:[.,]\d{1,12})?)"
_ISO = re.compile(
    rf"\+?P(?:({_NUMBER})Y)?(?:({_NUMBER})M)?(?:({_NUMBER})W)?(?:({_NUMBER})D)?"
    rf"(?:T(?:({_NUMBER})H)?(?:({_NUMBER})M)?(?:({_NUMBER})S)?)?",
    re.ASCII,
)
_UNITS = (_YEAR, _MONTH, Fraction(7 * _DAY), Fraction(_DAY), *map(Fraction, (3600, 60, 1)))
_LONGEST = 100 * _YEAR

ISO_PATTERN = r"^\+?P(?=.*\d)([\d.,]+[YMWD])*(T([\d.,]+[HMS])+)?$"
"""For editors: close enough to `parse_duration` to underline a slip."""

_GO_UNITS = {
    "h": Fraction(3600),
    "m": Fraction(60),
    "s": Fraction(1),
    "ms": Fraction(1, 10**3),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "μs": Fraction(1, 10**6),
    "ns": Fraction(1, 10**9),
}
_GO_PART = re.compile(r"(\d{1,12}(?:\.\d{0,12})?|\.\d{1,12})(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_GO = re.compile(rf"\+?(?:(?:{_GO_PART.pattern})+|0)", re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds of an ISO 8601 duration (`PT0.5S`, `PT1H30M`, `P7D`, `P2W`, `P1DT12H`).

    As in Knative, a day is 24 hours, a month 30.436875 days, a year twelve of these, and `P0` is
    zero; unlike there, fractions keep all their digits. Raises ValueError, with what to write
    instead, for anything else: negative ones and any over a hundred years too.
    """
    if text == "P0":
        return 0.0
    match = _ISO.fullmatch(text)
    if match is None or match.lastindex is None or text.endswith("T"):
        raise ValueError(_mend(text))
    seconds = sum(
        (
            Fraction(number.replace(",", ".")) * unit
            for number, unit in zip(match.groups(), _UNITS, strict=True)
            if number is not None
        ),
        Fraction(),
    )
    if seconds > _LONGEST:
        raise ValueError(f'"{text}" is longer than a hundred years')
    return float(seconds)


def format_duration(seconds: float) -> str:
    """The shortest exact ISO 8601 text in days, hours, minutes and seconds; nanoseconds at best.

    `parse_duration` gives back the same number. Raises ValueError for a negative one.
    """
    if not 0 <= seconds <= _LONGEST:
        raise ValueError(f"a duration is between 0 and a hundred years, not {seconds} s")
    nanoseconds = round(Fraction(seconds) * 10**9)
    rest, fraction = divmod(nanoseconds, 10**9)
    minutes, whole = divmod(rest, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    last = f"{whole}.{fraction:09}".rstrip("0").rstrip(".")
    date = f"{days}D" if days else ""
    time = "".join(f"{count}{unit}" for count, unit in ((hours, "H"), (minutes, "M")) if count)
    if last != "0":
        time += f"{last}S"
    if not date and not time:
        return "PT0S"
    return f"P{date}T{time}" if time else f"P{date}"


def parse_go_duration(text: str) -> float:
    """Seconds of a Go duration (`60s`, `1m30s`, `1.5h`), as in `autoscaling.knative.dev/window`.

    Raises ValueError for anything else and for negative ones.
    """
    if _GO.fullmatch(text) is None:
        raise ValueError(f'"{text}" is no duration like "60s" or "1m30s"')
    return float(
        sum(
            (Fraction(number) * _GO_UNITS[unit] for number, unit in _GO_PART.findall(text)),
            Fraction(),
        )
    )


def _mend(text: str) -> str:
    complaint = f'"{text}" is no ISO 8601 duration such as "PT30S", "PT1M30S" or "P7D"'
    if text.startswith("-"):
        return f'"{text}" is negative; a duration is not'
    for read in (float, parse_go_duration):
        try:
            return f'{complaint}; did you mean "{format_duration(read(text))}"?'
        except ValueError:
            continue
    upper = text.upper()
    if upper != text and _ISO.fullmatch(upper):
        return f'{complaint}; did you mean "{upper}"?'
    return complaint
