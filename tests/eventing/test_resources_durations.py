"""ISO 8601 durations and Go's: what is read, what is refused, and with which remedy."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventing.resources.durations import format_duration, parse_duration, parse_go_duration

nanoseconds = st.integers(min_value=0, max_value=90 * 365 * 86400 * 10**9)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT0S", 0),
        ("P0", 0),
        ("P0D", 0),
        ("PT0.2S", 0.2),
        ("PT0,5S", 0.5),
        ("PT30S", 30),
        ("PT1M30S", 90),
        ("PT90M", 5400),
        ("PT1.5H", 5400),
        ("P1D", 86400),
        ("P1DT12H", 129600),
        ("P2W", 1209600),
        ("P1W1D", 691200),
        ("+PT5S", 5),
        ("P1M", 2629746),
        ("P1Y", 31556952),
    ],
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "P", "PT", "P1DT", "T5S", "5", "PT5", "5S", "PT1S1M", "P1H", "PTS", "PT.5S", "PT1.S"),
        *("pt5s", " PT5S", "PT5S\n", "PT٥S", "PT1e3S", "P1000Y", f"PT{'9' * 400}S"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


def test_a_negative_duration_is_called_negative() -> None:
    with pytest.raises(ValueError, match="negative"):
        parse_duration("-PT5S")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("30", "PT30S"),
        ("0.2", "PT0.2S"),
        ("90s", "PT1M30S"),
        ("1h5m", "PT1H5M"),
        ("pt5s", "PT5S"),
    ],
)
def test_the_complaint_says_what_was_probably_meant(text: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f'did you mean "{meant}"'):
        parse_duration(text)


@settings(deadline=None)
@given(nanoseconds)
def test_what_is_formatted_is_read_back_the_same(count: int) -> None:
    seconds = count / 10**9
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-9, rel=1e-15)


@settings(deadline=None)
@given(st.floats(min_value=0, max_value=1e6).map(lambda seconds: round(seconds, 6)))
def test_times_of_everyday_size_come_back_exactly(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "PT0S"), (0.25, "PT0.25S"), (60, "PT1M"), (86400, "P1D"), (90061.5, "P1DT1H1M1.5S")],
)
def test_formatting_is_short(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_what_is_no_duration_is_not_formatted(seconds: float) -> None:
    with pytest.raises(ValueError):
        format_duration(seconds)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (parse_duration, parse_go_duration):
        try:
            assert read(text) >= 0
        except ValueError:
            pass


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("60s", 60), ("1m30s", 90), ("1.5h", 5400), ("250ms", 0.25), ("1h0m0s", 3600)],
)
def test_go_durations_are_read_as_go_does(text: str, seconds: float) -> None:
    assert parse_go_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "60", "s", "-5s", "1d", "PT5S", "1 s", ".s"])
def test_other_texts_are_no_go_durations(text: str) -> None:
    with pytest.raises(ValueError, match="60s"):
        parse_go_duration(text)
