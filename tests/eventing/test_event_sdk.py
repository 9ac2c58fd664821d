"""Our encodings held against the official SDK's, in both directions.

Where the SDK departs from the specification, a test named for it at the end says how; the events
generated here stay clear of those places.
"""

import json
import re
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cloudevents.core.bindings import http as sdk_http
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from eventing.errors import InvalidEvent
from eventing.event import Event
from eventing.http_encoding import (
    decode_http,
    encode_http_batch,
    encode_http_binary,
    encode_http_structured,
)
from eventing.json_format import decode_json, encode_json

LEAST = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
FORMAT = JSONFormat()

# A header's value is freed of the white space around it by HTTP itself, but ours and the SDK's
# encode every space; control characters included, any text goes.
text = st.text(st.characters(codec="utf-8"))
filled = text.filter(bool)
extension_names = st.from_regex(r"x[a-z0-9]{0,19}", fullmatch=True)
offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=offsets)
json_types = st.sampled_from(["application/json", "application/a+json; charset=utf-8"])
text_types = st.sampled_from(["text/plain", "text/csv; charset=utf-8", "application/xml"])
other_types = st.sampled_from(["application/octet-stream", "image/png"])
# The SDK writes integers of any size and floats as its json module reads them.
json_objects = st.dictionaries(
    text,
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | text,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


@st.composite
def attributes(draw: st.DrawFn) -> dict[str, Any]:
    """The SDK's attributes: `time` is a datetime, and invented where it is missing."""
    made: dict[str, Any] = {
        "specversion": "1.0",
        "id": draw(filled),
        "source": draw(filled),
        "type": draw(filled),
        "time": draw(times),
    }
    if draw(st.booleans()):
        made["subject"] = draw(filled)
    if draw(st.booleans()):
        made["dataschema"] = draw(st.sampled_from(["https://example.com/s?a=b#c", "urn:x:y"]))
    return made


def strings(members: dict[str, Any]) -> dict[str, str]:
    """The SDK's attributes in canonical form."""
    canonical = {}
    for name, value in members.items():
        if isinstance(value, datetime):
            canonical[name] = re.sub(r"\+00:00$", "Z", value.isoformat())
        elif isinstance(value, bool):
            canonical[name] = "true" if value else "false"
        else:
            canonical[name] = str(value)
    return canonical


def sdk_attributes(event: Event) -> dict[str, Any]:
    """Our attributes as the SDK holds them."""
    members: dict[str, Any] = dict(event.attributes)
    if "time" in members:
        members["time"] = datetime.fromisoformat(members["time"])
    return members


def headers_of(message: sdk_http.HTTPMessage) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in message.headers.items()]


def message_of(encoded: tuple[list[tuple[bytes, bytes]], bytes]) -> sdk_http.HTTPMessage:
    headers, body = encoded
    return sdk_http.HTTPMessage({name.decode(): value.decode() for name, value in headers}, body)


string_extensions = st.dictionaries(extension_names, text, max_size=4)
typed_extensions = st.dictionaries(
    extension_names, text | st.integers(-(2**31), 2**31 - 1) | st.booleans(), max_size=4
)


class TestFromTheSdk:
    @given(attributes(), string_extensions, json_objects, json_types)
    def test_binary_json(
        self, core: dict[str, Any], more: dict[str, str], data: dict[str, Any], media_type: str
    ) -> None:
        theirs = CloudEvent({**core, **more, "datacontenttype": media_type}, data)
        message = sdk_http.to_binary(theirs, FORMAT)
        [ours] = decode_http(headers_of(message), message.body)
        assert ours.attributes == strings(theirs.get_attributes())
        assert ours.data == message.body
        assert json.loads(ours.data) == data

    @given(
        attributes(), string_extensions, st.binary() | text | st.none(), other_types | text_types
    )
    def test_binary_other(
        self, core: dict[str, Any], more: dict[str, str], data: bytes | str | None, media_type: str
    ) -> None:
        theirs = CloudEvent({**core, **more, "datacontenttype": media_type}, data)
        message = sdk_http.to_binary(theirs, FORMAT)
        [ours] = decode_http(headers_of(message), message.body)
        assert ours.attributes == strings(theirs.get_attributes())
        raw = data.encode() if isinstance(data, str) else data
        assert ours.data == (raw or None)

    @given(attributes(), typed_extensions, json_objects, json_types | st.none())
    def test_structured_json(
        self, core: dict[str, Any], more: dict[str, Any], data: dict[str, Any], media_type: str
    ) -> None:
        if media_type is not None:
            core = {**core, "datacontenttype": media_type}
        theirs = CloudEvent({**core, **more}, data)
        message = sdk_http.to_structured(theirs, FORMAT)
        [ours] = decode_http(headers_of(message), message.body)
        # Without a content type, JSON format means application/json; ours says so.
        implied = {"datacontenttype": media_type or "application/json"}
        assert ours.attributes == {**strings(theirs.get_attributes()), **implied}
        assert ours.data is not None
        assert json.loads(ours.data) == data

    @given(attributes(), typed_extensions, text, text_types)
    def test_structured_text(
        self, core: dict[str, Any], more: dict[str, Any], data: str, media_type: str
    ) -> None:
        theirs = CloudEvent({**core, **more, "datacontenttype": media_type}, data)
        message = sdk_http.to_structured(theirs, FORMAT)
        assert decode_http(headers_of(message), message.body) == [
            Event(strings(theirs.get_attributes()), data.encode())
        ]

    @given(attributes(), typed_extensions, st.binary() | st.none(), st.none() | other_types)
    def test_structured_binary_data(
        self, core: dict[str, Any], more: dict[str, Any], data: bytes | None, media_type: str | None
    ) -> None:
        if media_type is not None:
            core = {**core, "datacontenttype": media_type}
        theirs = CloudEvent({**core, **more}, data)
        message = sdk_http.to_structured(theirs, FORMAT)
        assert decode_http(headers_of(message), message.body) == [
            Event(strings(theirs.get_attributes()), data)
        ]

    @given(st.lists(st.tuples(attributes(), typed_extensions, st.binary() | st.none()), max_size=4))
    def test_a_batch_is_a_list_of_its_structured_events(
        self, parts: list[tuple[dict[str, Any], dict[str, Any], bytes | None]]
    ) -> None:
        theirs = [CloudEvent({**core, **more}, data) for core, more, data in parts]
        batch = b"[" + b",".join(FORMAT.write(event) for event in theirs) + b"]"
        assert decode_http([(b"content-type", b"application/cloudevents-batch+json")], batch) == [
            Event(strings(event.get_attributes()), data)
            for event, (_, _, data) in zip(theirs, parts, strict=True)
        ]


@st.composite
def our_events(draw: st.DrawFn) -> Event:
    made = strings({**draw(attributes()), **draw(string_extensions)})
    media_type = draw(json_types | text_types | other_types | st.none())
    if media_type is not None:
        made["datacontenttype"] = media_type
    if media_type is not None and "json" in media_type:
        return Event(made, json.dumps(draw(json_objects), ensure_ascii=False).encode())
    if media_type is not None and media_type.startswith(("text", "application/xml")):
        return Event(made, draw(filled).encode())
    return Event(made, draw(st.none() | st.binary(min_size=1)))


class TestToTheSdk:
    @given(our_events())
    def test_binary(self, event: Event) -> None:
        message = message_of(encode_http_binary(event))
        theirs = sdk_http.from_binary(message, FORMAT, CloudEvent)
        assert theirs.get_attributes() == sdk_attributes(event)
        # Reading the body is a service of the SDK (JSON, else text, else bytes); what it reads is
        # the same where it reads the event's own bytes.
        assert message.body == (event.data or b"")
        assert theirs.get_data() == FORMAT.read_data(
            event.data or b"", event.attributes.get("datacontenttype")
        )

    @given(our_events())
    def test_structured(self, event: Event) -> None:
        message = message_of(encode_http_structured(event))
        theirs = sdk_http.from_http(message, FORMAT, CloudEvent)
        assert theirs.get_attributes() == sdk_attributes(event)
        media_type = event.attributes.get("datacontenttype", "")
        expected: Any = event.data
        if event.data is not None and "json" in media_type:
            expected = json.loads(event.data)
        elif event.data is not None and media_type.startswith(("text", "application/xml")):
            expected = event.data.decode()
        assert theirs.get_data() == expected

    @given(st.lists(our_events(), max_size=4))
    def test_a_batch_is_a_list_of_its_structured_events(self, events: list[Event]) -> None:
        _, batch = encode_http_batch(events)
        assert [json.loads(encode_json(event)) for event in events] == json.loads(batch)

    @given(our_events())
    def test_there_and_back(self, event: Event) -> None:
        theirs = FORMAT.read(CloudEvent, encode_json(event))
        back = decode_json(FORMAT.write(theirs))
        if "time" in event.attributes:
            assert datetime.fromisoformat(back.attributes["time"]) == datetime.fromisoformat(
                event.attributes["time"]
            )
        if event.data is not None and "json" in event.attributes.get("datacontenttype", ""):
            assert back.data is not None
            assert json.loads(back.data) == json.loads(event.data)
        else:
            assert back.data == event.data


class TestBothRefuse:
    @pytest.mark.parametrize(
        "change",
        [
            {"id": ""},
            {"source": ""},
            {"type": ""},
            {"specversion": "0.3"},
            {"subject": ""},
            {"dataschema": ""},
            {"datacontenttype": ""},
            {"time": "2018-04-05T17:31:00"},
            {"Upper": "x"},
            {"under_score": "x"},
            {"": "x"},
            {"id": 5},
            {"type": True},
        ],
    )
    def test_the_same_structured_event(self, change: dict[str, Any]) -> None:
        body = json.dumps({**LEAST, **change}).encode()
        with pytest.raises(InvalidEvent):
            decode_json(body)
        with pytest.raises((CloudEventValidationError, ValueError)):
            FORMAT.read(CloudEvent, body)


class TestWhereTheSdkDepartsFromTheSpecification:
    """Each of these pins the SDK's behaviour beside ours, so that a change of it is noticed."""

    def test_it_invents_a_time_and_ours_does_not(self) -> None:
        body = json.dumps(LEAST).encode()
        assert "time" in FORMAT.read(CloudEvent, body).get_attributes()
        assert "time" not in decode_json(body).attributes

    def test_it_invents_id_and_specversion_and_ours_refuses(self) -> None:
        body = b'{"source": "/s", "type": "t"}'
        assert FORMAT.read(CloudEvent, body).get_specversion() == "1.0"
        with pytest.raises(InvalidEvent):
            decode_json(body)

    def test_it_replaces_invalid_utf_8_in_headers_and_ours_refuses(self) -> None:
        headers = {**{f"ce-{name}": value for name, value in LEAST.items()}, "ce-ext": "%C0%A0"}
        theirs = sdk_http.from_binary(sdk_http.HTTPMessage(headers, b""), FORMAT, CloudEvent)
        assert theirs.get_extension("ext") == "\ufffd\ufffd"
        with pytest.raises(InvalidEvent):
            decode_http([(k.encode(), v.encode()) for k, v in headers.items()], b"")

    def test_it_keeps_the_quotes_of_a_quoted_header_value(self) -> None:
        headers = {**{f"ce-{name}": value for name, value in LEAST.items()}, "ce-ext": '"a b"'}
        theirs = sdk_http.from_binary(sdk_http.HTTPMessage(headers, b""), FORMAT, CloudEvent)
        assert theirs.get_extension("ext") == '"a b"'
        [ours] = decode_http([(k.encode(), v.encode()) for k, v in headers.items()], b"")
        assert ours.attributes["ext"] == "a b"

    def test_it_keeps_null_attributes_as_none(self) -> None:
        body = json.dumps({**LEAST, "ext": None}).encode()
        assert FORMAT.read(CloudEvent, body).get_attributes()["ext"] is None
        assert "ext" not in decode_json(body).attributes

    def test_it_takes_attributes_of_any_json_type(self) -> None:
        body = json.dumps({**LEAST, "ext": {"a": 1}}).encode()
        assert FORMAT.read(CloudEvent, body).get_extension("ext") == {"a": 1}
        with pytest.raises(InvalidEvent):
            decode_json(body)

    def test_it_writes_booleans_into_headers_as_python_does(self) -> None:
        event = CloudEvent({**LEAST, "ext": True})
        assert sdk_http.to_binary(event, FORMAT).headers["ce-ext"] == "True"
        assert decode_json(FORMAT.write(event)).attributes["ext"] == "true"

    def test_it_takes_null_data_for_no_data(self) -> None:
        body = json.dumps({**LEAST, "data": None}).encode()
        assert FORMAT.read(CloudEvent, body).get_data() is None
        assert decode_json(body).data == b"null"

    def test_it_takes_bad_base64(self) -> None:
        body = json.dumps({**LEAST, "data_base64": "Y?Q=="}).encode()
        assert FORMAT.read(CloudEvent, body).get_data() == b"a"
        with pytest.raises(InvalidEvent):
            decode_json(body)

    def test_it_knows_json_content_types_by_lower_case_alone(self) -> None:
        body = json.dumps(
            {**LEAST, "datacontenttype": "Application/JSON", "data": {"a": 1}}
        ).encode()
        theirs = FORMAT.read(CloudEvent, body)
        assert json.loads(FORMAT.write(theirs))["data"] == "{'a': 1}"
        assert json.loads(encode_json(decode_json(body)))["data"] == {"a": 1}

    def test_it_takes_other_iso_8601_times(self) -> None:
        body = json.dumps({**LEAST, "time": "20180405T173100Z"}).encode()
        assert FORMAT.read(CloudEvent, body).get_time() is not None
        with pytest.raises(InvalidEvent, match="RFC 3339"):
            decode_json(body)

    def test_it_lets_ce_datacontenttype_replace_the_content_type(self) -> None:
        headers = {
            **{f"ce-{name}": value for name, value in LEAST.items()},
            "content-type": "a/b",
            "ce-datacontenttype": "c/d",
        }
        theirs = sdk_http.from_binary(sdk_http.HTTPMessage(headers, b""), FORMAT, CloudEvent)
        assert theirs.get_datacontenttype() == "c/d"
        with pytest.raises(InvalidEvent, match="ce-datacontenttype"):
            decode_http([(k.encode(), v.encode()) for k, v in headers.items()], b"")

    def test_it_takes_a_structured_message_with_ce_headers_for_a_binary_one(self) -> None:
        headers = {"content-type": "application/cloudevents+json", "ce-id": "other"}
        body = json.dumps({**LEAST, "time": "2018-04-05T17:31:00Z"}).encode()
        with pytest.raises(CloudEventValidationError):
            sdk_http.from_http(sdk_http.HTTPMessage(headers, body), FORMAT, CloudEvent)
        [ours] = decode_http([(k.encode(), v.encode()) for k, v in headers.items()], body)
        assert ours.attributes["id"] == "1"
