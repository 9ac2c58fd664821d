"""A dead letter's record: whatever became of an event, and whatever the event is, is read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.base import DeadLetter, Failure
from brokers.kafka.dead_letter_records import (
    decode_letter,
    drop_record,
    letter_record,
    new_key,
    trigger_of,
    unreadable_key,
)
from eventing.errors import InvalidEvent
from eventing.event import Event

EVENT = Event({"specversion": "1.0", "id": "1", "source": "/test", "type": "order"}, b"{}")
FAILURE = Failure("http://subscriber/", 503, "503 Service Unavailable", b"busy\xff")

any_text = st.text(st.characters(exclude_categories=()))
"""Lone surrogates included."""
characters = st.text(st.characters(exclude_categories=["Cs"]))
names = st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True).filter(
    lambda name: name not in ("data", "specversion", "time", "dataschema", "subject")
)
content_types = st.sampled_from(
    ["text/plain", "application/json", "application/cloudevents+json", "application/cloudevents"]
)
events = st.builds(
    lambda core, more, content_type, data: Event(
        {**more, **core, **({} if content_type is None else {"datacontenttype": content_type})},
        data,
    ),
    st.fixed_dictionaries(
        {
            "specversion": st.just("1.0"),
            "id": characters.filter(bool),
            "source": characters.filter(bool),
            "type": characters.filter(bool),
        }
    ),
    st.dictionaries(names.filter(lambda name: name != "datacontenttype"), characters, max_size=4),
    st.none() | content_types,
    st.none() | st.binary(),
)
failures = st.builds(Failure, any_text, st.integers(), any_text, st.binary())
letters = st.builds(
    DeadLetter,
    st.integers(1),
    any_text,
    events,
    failures,
    st.integers(0),
    st.floats(0, 1e12),
    st.integers(0),
)


@given(letters)
def test_a_letter_is_read_back_as_it_was_written(letter: DeadLetter) -> None:
    key, headers, value = letter_record(
        b"key",
        letter.trigger,
        letter.event,
        letter.failure,
        attempts=letter.attempts,
        at=letter.at,
        position=letter.position,
    )
    assert key == b"key"
    assert decode_letter(letter.id, headers, value) == letter
    assert trigger_of(headers) == letter.trigger


@given(events)
def test_no_letter_is_a_tombstone(event: Event) -> None:
    _, _, value = letter_record(b"key", "a", event, FAILURE, attempts=1, at=1.5, position=7)
    assert value is not None


def test_dropping_is_a_tombstone() -> None:
    assert drop_record(b"key") == (b"key", [], None)


def test_keys_of_unreadable_records_are_the_same_everywhere_and_others_never() -> None:
    assert unreadable_key(1, 23) == unreadable_key(1, 23) != unreadable_key(12, 3)
    assert new_key() != new_key()


def test_a_record_without_a_trigger_is_the_brokers_own() -> None:
    assert trigger_of(None) == trigger_of([("ce_id", b"1")]) == ""


@pytest.mark.parametrize(
    "missing",
    [
        "ce_id",
        "eventing_trigger",
        "eventing_destination",
        "eventing_code",
        "eventing_reason",
        "eventing_data",
        "eventing_attempts",
        "eventing_at",
        "eventing_position",
    ],
)
def test_a_record_that_lacks_something_is_no_letter(missing: str) -> None:
    _, headers, value = letter_record(b"k", "a", EVENT, FAILURE, attempts=1, at=1.5, position=7)
    with pytest.raises(InvalidEvent, match=missing):
        decode_letter(1, [each for each in headers if each[0] != missing], value)


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("eventing_code", b"busy"),
        ("eventing_attempts", b"\xff"),
        ("eventing_at", b"noon"),
        ("eventing_trigger", b"\xff"),
        ("content-type", b"application/cloudevents+json"),
    ],
)
def test_a_record_with_something_unreadable_is_no_letter(header: str, text: bytes) -> None:
    _, headers, value = letter_record(b"k", "a", EVENT, FAILURE, attempts=1, at=1.5, position=7)
    with pytest.raises(InvalidEvent):
        decode_letter(1, [each for each in headers if each[0] != header] + [(header, text)], value)


@given(st.none() | st.lists(st.tuples(st.text(), st.none() | st.binary())), st.none() | st.binary())
def test_any_other_record_is_told_apart(
    headers: list[tuple[str, bytes | None]] | None, value: bytes | None
) -> None:
    with pytest.raises(InvalidEvent):
        decode_letter(1, headers, value)
