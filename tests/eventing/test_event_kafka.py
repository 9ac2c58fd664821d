"""The Kafka protocol binding: headers, value and key of a record, and the event."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventing.errors import InvalidEvent
from eventing.event import Event
from eventing.kafka_encoding import (
    STRUCTURED,
    decode_attributes,
    decode_record,
    encode_record,
    is_event,
)

CORE = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
HEADERS = [(f"ce_{name}", value.encode()) for name, value in CORE.items()]

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
extensions = st.dictionaries(
    st.from_regex("[a-z0-9]{1,20}", fullmatch=True).filter(
        lambda name: name not in {*CORE, "data", "time", "dataschema", "datacontenttype", "subject"}
    ),
    st.text(st.characters(exclude_categories=["Cs"])),
    max_size=5,
)


@given(texts, extensions, st.none() | st.binary())
def test_an_event_comes_back_as_it_was_in_binary_mode(
    id: str, more: dict[str, str], data: bytes | None
) -> None:
    event = Event({**CORE, "id": id, **more, "datacontenttype": "text/plain"}, data)
    key, headers, value = encode_record(event)
    assert value == data
    assert key == (more["partitionkey"].encode() if "partitionkey" in more else None)
    assert ("content-type", b"text/plain") in headers
    assert all(name == "content-type" or name.startswith("ce_") for name, _ in headers)
    assert is_event(headers)
    assert decode_record(headers, value) == event


@given(texts, extensions, st.none() | st.binary())
def test_and_in_structured_mode(id: str, more: dict[str, str], data: bytes | None) -> None:
    event = Event({**CORE, "id": id, **more, "datacontenttype": "image/png"}, data)
    _, headers, value = encode_record(event, "structured")
    assert headers == [("content-type", STRUCTURED)]
    assert decode_attributes(headers) is None
    assert decode_record(headers, value) == event


def test_what_repeats_from_event_to_event_stays_each_events_own() -> None:
    for n in range(3):
        for kind in ("a", "b"):
            event = Event({**CORE, "id": str(n), "type": kind, "subject": f"{kind}{n}"})
            _, headers, value = encode_record(event)
            assert decode_record(headers, value) == event


def test_data_that_is_a_cloudevent_itself_is_not_taken_for_the_event() -> None:
    event = Event({**CORE, "datacontenttype": "application/cloudevents+json"}, b'{"id":"inner"}')
    _, headers, value = encode_record(event)
    assert headers == [("content-type", STRUCTURED)]
    assert decode_record(headers, value) == event


def test_headers_that_are_not_the_events_are_passed_over() -> None:
    found = decode_record([*HEADERS, ("trace", b"x"), ("ce-id", b"2")], b"data")
    assert found == Event(CORE, b"data")


def test_a_null_value_is_an_event_without_data() -> None:
    assert decode_record(HEADERS, None) == Event(CORE, None)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ([], "header 'ce_specversion' is missing"),
        (HEADERS[1:], "header 'ce_specversion' is missing"),
        ([*HEADERS[:1], ("ce_id", b""), *HEADERS[2:]], "header 'ce_id' is empty"),
        ([("ce_specversion", b"0.3"), *HEADERS[1:]], "'ce_specversion' is '0.3'"),
        ([*HEADERS, ("ce_Upper", b"x")], "header 'ce_Upper'"),
        ([*HEADERS, ("ce_data", b"x")], "no attribute may be called 'data'"),
        ([*HEADERS, ("ce_datacontenttype", b"x")], "header 'ce_datacontenttype'"),
        ([*HEADERS, ("ce_x", b"\xff")], "header 'ce_x' is .* no UTF-8"),
        ([*HEADERS, ("ce_x", None)], "header 'ce_x' is None, which is no UTF-8"),
        ([*HEADERS, ("ce_time", b"noon")], "header 'ce_time' is 'noon'"),
        ([("content-type", b"application/cloudevents-batch+json")], "only application/cloudevents"),
    ],
)
def test_what_is_no_event_says_which_header_is_wrong(
    headers: list[tuple[str, bytes | None]], message: str
) -> None:
    with pytest.raises(InvalidEvent, match=message):
        decode_record(headers, b"{}")


@pytest.mark.parametrize(
    ("headers", "claims"),
    [
        (None, False),
        ([("content-type", b"application/json")], False),
        ([("ce_specversion", b"9")], True),
        ([("content-type", b"application/cloudevents+avro")], True),
    ],
)
def test_a_record_claims_to_be_an_event_by_its_headers(
    headers: list[tuple[str, bytes | None]] | None, claims: bool
) -> None:
    assert is_event(headers) is claims
