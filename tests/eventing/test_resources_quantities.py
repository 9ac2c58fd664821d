"""Kubernetes quantities: units, rounding, and slips that are pointed out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventing.resources import parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("1000", 1000),
        ("128974848", 128974848),
        ("129e6", 129000000),
        ("129M", 129000000),
        ("123Mi", 128974848),
        ("1k", 1000),
        ("1Ki", 1024),
        ("1.5Gi", 1610612736),
        (".5G", 500000000),
        ("1E", 10**18),
        ("1E3", 1000),
        ("1.2", 2),
    ],
)
def test_a_quantity_is_a_whole_number_rounded_up(text: str, value: int) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    "text", ["", "Mi", "1 Mi", "1Mi ", "-1", "1e", "1e999", "9" * 50, "٣", "8Ei"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [("128m", "128Mi"), ("256MB", "256M"), ("256MiB", "256Mi"), ("64mib", "64Mi"), ("5 K", "5k")],
)
def test_the_complaint_says_what_was_probably_meant(text: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f'did you mean "{meant}"'):
        parse_quantity(text)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert parse_quantity(text) >= 0
    except ValueError:
        pass


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=2**40), st.sampled_from(["", "Ki", "k", "Mi", "M"]))
def test_whole_numbers_keep_every_digit(number: int, unit: str) -> None:
    factor = {"": 1, "Ki": 1024, "k": 1000, "Mi": 1024**2, "M": 1000**2}[unit]
    assert parse_quantity(f"{number}{unit}") == number * factor
