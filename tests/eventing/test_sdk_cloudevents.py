"""The official SDK's CloudEvent made of an Event and back."""

from datetime import UTC, datetime

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from eventing.event import Event
from eventing.sdk.cloudevents import from_cloudevent, parse_time, to_cloudevent

REQUIRED = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1)


def test_an_event_without_time_gets_none():
    assert to_cloudevent(Event(REQUIRED)).get_attributes() == REQUIRED


def test_the_event_is_not_changed_through_the_handlers():
    event = Event(dict(REQUIRED))
    to_cloudevent(event).get_attributes()["id"] = "changed"
    assert event.attributes == REQUIRED


@pytest.mark.parametrize(
    ("written", "time"),
    [
        ("2024-01-02T03:04:05Z", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2024-01-02t03:04:05z", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2024-01-02T03:04:05.123456789Z", datetime(2024, 1, 2, 3, 4, 5, 123456, UTC)),
        ("2024-01-02T05:04:05+02:00", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_times_of_rfc_3339(written, time):
    assert parse_time(written) == time


@pytest.mark.parametrize(
    ("data", "content_type", "expected"),
    [
        (None, None, None),
        (b"", "application/json", None),
        (b'{"a":1}', None, {"a": 1}),
        (b'{"a":1}', "application/json", {"a": 1}),
        (b"[1]", "application/vnd.x+json; charset=utf-8", [1]),
        (b"no json", "application/json", "no json"),
        (b"no json", None, "no json"),
        (b"\xff", None, b"\xff"),
        (b"text", "text/plain", "text"),
        (b"\xff", "text/plain", b"\xff"),
        (b"<a/>", "application/xml", "<a/>"),
        (b"abc", "image/png", b"abc"),
        (b"abc", "application/octet-stream", b"abc"),
    ],
)
def test_data_is_what_its_type_says(data, content_type, expected):
    attributes = REQUIRED if content_type is None else {**REQUIRED, "datacontenttype": content_type}
    assert to_cloudevent(Event(attributes, data)).get_data() == expected


@given(
    st.dictionaries(st.from_regex(r"ext[a-z0-9]{1,10}", fullmatch=True), text, max_size=3),
    st.sampled_from([None, b'{"a":1}', b"text"]),
)
def test_it_is_the_event_the_sdk_reads_from_http(extensions, data):
    from urllib.parse import quote

    attributes = {**REQUIRED, "time": "2024-01-02T03:04:05Z", **extensions}
    headers = {f"ce-{name}": quote(value, safe="") for name, value in attributes.items()}
    theirs = from_http_event(HTTPMessage(headers=headers, body=data or b""))
    ours = to_cloudevent(Event(attributes, data))
    assert ours.get_attributes() == theirs.get_attributes()
    assert ours.get_data() == theirs.get_data()


@given(
    st.dictionaries(st.from_regex(r"ext[a-z0-9]{1,10}", fullmatch=True), text, max_size=3),
    st.binary(),
)
def test_an_event_that_is_returned_unchanged_stays_as_it_was(extensions, data):
    event = Event({**REQUIRED, **extensions, "datacontenttype": "image/png"}, data or None)
    assert from_cloudevent(to_cloudevent(event)) == event


def test_json_that_is_returned_unchanged_stays_json():
    for data in (b'{"a":1}', b'"text"', b"5", b"[null]"):
        event = Event({**REQUIRED, "datacontenttype": "application/json"}, data)
        assert from_cloudevent(to_cloudevent(event)).data == data


def test_the_sdks_own_events_are_taken():
    event = from_cloudevent(CloudEvent({"source": "/s", "type": "t", "size": 5}, b"\xff"))
    assert event.attributes["size"] == "5"
    assert event.attributes["time"].endswith("Z")
    assert event.data == b"\xff"
