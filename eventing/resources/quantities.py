"""Kubernetes quantities: `256Mi`, `1.5G`, `100k`, `12e6` (resource.Quantity)."""

import re
from fractions import Fraction

_QUANTITY = re.compile(
    r"(\+?(?:\d{1,40}(?:\.\d{0,20})?|\.\d{1,20}))"
    r"(?:(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|)|[eE]([-+]?\d{1,2}))",
    re.ASCII,
)
_SUFFIXES = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    "": Fraction(1),
    **{suffix: Fraction(10 ** (3 * n)) for n, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Fraction(2 ** (10 * n)) for n, suffix in enumerate("KMGTPE", 1)},
}
_LARGEST = 2**63 - 1

QUANTITY_PATTERN = r"^\+?[0-9.]+([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?$"
"""For editors: close enough to `parse_quantity` to underline a slip."""


def parse_quantity(text: str) -> int:
    """The quantity as a whole number (bytes, a count), rounded up as Kubernetes does.

    Raises ValueError, with what to write instead, for anything else: negative ones, thousandths
    (`128m`, nearly always meant as `128M`) and any beyond 63 bits too.
    """
    number, scale = _parts(text)
    if scale < 1:
        raise ValueError(f'"{text}" is a fraction of one; did you mean "{number}Mi"?')
    return -int(-_value(text, number, scale) // 1)


def parse_cores(text: str) -> float:
    """The quantity with its fraction, as of processors: `250m` is a quarter of a core.

    Raises ValueError as `parse_quantity` does, but for thousandths.
    """
    return float(_value(text, *_parts(text)))


def _parts(text: str) -> tuple[str, Fraction]:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(_mend(text))
    number, suffix, exponent = match.groups()
    return number, _SUFFIXES[suffix] if exponent is None else Fraction(10) ** int(exponent)


def _value(text: str, number: str, scale: Fraction) -> Fraction:
    value = Fraction(number) * scale
    if value > _LARGEST:
        raise ValueError(f'"{text}" is more than a quantity can hold')
    return value


def _mend(text: str) -> str:
    complaint = f'"{text}" is no quantity such as "256Mi", "1.5G" or "1000"'
    if text.startswith("-"):
        return f'"{text}" is negative; a quantity is not'
    unit = text.lstrip("0123456789. ")
    number = text[: len(text) - len(unit)].strip()
    letters = unit.strip().upper().removesuffix("B")
    mended = {"K": "k", "KI": "Ki", **{f"{s}I": f"{s}i" for s in "MGTPE"}}.get(letters, letters)
    if number and _QUANTITY.fullmatch(number + mended):
        return f'{complaint}; did you mean "{number}{mended}"?'
    return complaint
