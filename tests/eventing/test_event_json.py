"""The JSON format and its batches, rule by rule."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventing.errors import InvalidEvent
from eventing.event import Event
from eventing.json_format import (
    decode_json,
    decode_json_batch,
    decode_object,
    encode_json,
    encode_json_batch,
    encode_object,
)

LEAST = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


def decoded(**members: Any) -> Event:
    return decode_json(json.dumps({**LEAST, **members}).encode())


def complaint(**members: Any) -> str:
    with pytest.raises(InvalidEvent) as caught:
        decoded(**members)
    return str(caught.value)


def encoded(data: bytes | None, **attributes: str) -> dict[str, Any]:
    members = json.loads(encode_json(Event({**LEAST, **attributes}, data)))
    return {name: value for name, value in members.items() if name not in LEAST}


class TestAttributes:
    def test_strings_are_kept_as_they_are(self) -> None:
        event = decoded(subject="Ünï %41 \u2603", time="2018-04-05T17:31:00.10+00:00")
        assert event == Event(
            {**LEAST, "subject": "Ünï %41 \u2603", "time": "2018-04-05T17:31:00.10+00:00"}
        )

    def test_no_time_is_invented(self) -> None:
        assert decoded().attributes == LEAST

    def test_integers_and_booleans_of_extensions_become_canonical_strings(self) -> None:
        attributes = decoded(a=5, b=-(2**31), c=2**31 - 1, d=True, e=False, f=0).attributes
        assert attributes == {
            **LEAST,
            "a": "5",
            "b": "-2147483648",
            "c": "2147483647",
            "d": "true",
            "e": "false",
            "f": "0",
        }

    @pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 2**63])
    def test_an_integer_beyond_32_bits_is_refused(self, number: int) -> None:
        assert "member 'ext' is " in complaint(ext=number)
        assert "as a string" in complaint(ext=number)

    @pytest.mark.parametrize("value", [1.0, 1.5, [], ["x"], {}, {"a": 1}, 2**70])
    def test_any_other_type_is_refused_by_name(self, value: object) -> None:
        assert "member 'ext' is" in complaint(ext=value)

    @pytest.mark.parametrize("name", ["specversion", "id", "source", "type", "subject", "time"])
    @pytest.mark.parametrize("value", [1, 1.0, True, [], {}])
    def test_a_core_attribute_must_be_a_string(self, name: str, value: object) -> None:
        assert f"member '{name}' is" in complaint(**{name: value})
        assert "must be a JSON string" in complaint(**{name: value})

    def test_null_means_absent(self) -> None:
        assert decoded(subject=None, time=None, ext=None).attributes == LEAST
        assert "member 'id' is missing" in complaint(id=None)

    @pytest.mark.parametrize("name", ["Ext", "my_ext", "my-ext", "", "é", "Data", "SpecVersion"])
    def test_an_invalid_name_is_refused(self, name: str) -> None:
        assert "lower-case letters" in complaint(**{name: "x"})

    def test_values_are_held_to_the_rules_of_every_event(self) -> None:
        assert "member 'time'" in complaint(time="yesterday")
        assert "member 'subject' is empty" in complaint(subject="")
        assert "member 'type' is empty" in complaint(type="")
        assert "member 'datacontenttype'" in complaint(datacontenttype="a\nb")


class TestData:
    def test_json_is_kept_as_canonical_bytes(self) -> None:
        head = b'{"specversion":"1.0","id":"1","source":"/s","type":"t",'
        body = head + b'"data": {"b" : [1, 1.5], "a":"\\u00e9"} }'
        assert decode_json(body).data == '{"b":[1,1.5],"a":"é"}'.encode()

    @pytest.mark.parametrize("value", ["text", "", 0, 1.5, True, False, [], {}, [None], None])
    def test_any_json_value_may_be_data(self, value: object) -> None:
        event = decoded(data=value, datacontenttype="application/json")
        assert event.data is not None
        assert json.loads(event.data) == value

    @pytest.mark.parametrize(
        "number",
        [
            "18446744073709551616",
            "-9223372036854775809",
            "3.14159265358979323846264338327950288",
            "1.0000000000000000000001",
            "0.1000000000000000055511151231257827",
            "123456789012345678901234567890e-10",
        ],
    )
    def test_numbers_keep_every_digit(self, number: str) -> None:
        head = b'{"specversion":"1.0","id":"1","source":"/s","type":"t","data":'
        for data in (number, f'{{"n":[{number}]}}'):
            assert decode_json(head + data.encode() + b"}").data == data.encode()
            batch = b"[" + head + data.encode() + b"}]"
            assert [event.data for event in decode_json_batch(batch)] == [data.encode()]

    def test_without_datacontenttype_data_is_json_and_says_so(self) -> None:
        event = decoded(data="text")
        assert event == Event({**LEAST, "datacontenttype": "application/json"}, b'"text"')

    def test_without_data_no_datacontenttype_is_invented(self) -> None:
        assert decoded() == Event(LEAST, None)

    def test_without_datacontenttype_nothing_is_assumed_of_data_base64(self) -> None:
        assert decoded(data_base64="e30=") == Event(LEAST, b"{}")

    def test_a_string_under_another_content_type_is_kept_as_its_utf_8(self) -> None:
        assert decoded(data="<é/>", datacontenttype="application/xml").data == "<é/>".encode()

    def test_a_string_under_a_json_content_type_stays_a_json_string(self) -> None:
        assert decoded(data="{}", datacontenttype="application/a+json").data == b'"{}"'

    def test_another_value_under_another_content_type_is_kept_as_json(self) -> None:
        assert decoded(data={"a": 1}, datacontenttype="text/plain").data == b'{"a":1}'

    def test_null_is_a_value_in_json_and_no_data_elsewhere(self) -> None:
        assert decoded(data=None, datacontenttype="application/json").data == b"null"
        assert decoded(data=None, datacontenttype="text/plain").data is None

    def test_data_base64_is_decoded(self) -> None:
        event = decoded(data_base64="AAH/", datacontenttype="application/octet-stream")
        assert event.data == b"\x00\x01\xff"

    def test_empty_data_is_not_the_same_as_no_data(self) -> None:
        assert decoded(data_base64="").data == b""
        assert decoded(data_base64=None).data is None

    @pytest.mark.parametrize("value", ["?", "YQ", "YQ==YQ==", "YW E=", "_-__", "é", 5, [], True])
    def test_bad_base64_is_refused(self, value: object) -> None:
        assert "'data_base64'" in complaint(data_base64=value)

    def test_both_data_and_data_base64_are_refused(self) -> None:
        assert "both" in complaint(data="x", data_base64="eA==")

    def test_of_null_and_base64_the_base64_counts(self) -> None:
        assert decoded(data=None, data_base64="eA==").data == b"x"

    def test_nesting_beyond_what_can_be_written_is_refused(self) -> None:
        head = b'{"specversion":"1.0","id":"1","source":"/s","type":"t","data":'
        assert decode_json(head + b"[" * 253 + b"]" * 253 + b"}").data == b"[" * 253 + b"]" * 253
        for depth in (300, 1_000):
            for number in (b"", b"1234567890123456789012"):
                with pytest.raises(InvalidEvent, match="nested"):
                    decode_json(head + b"[" * depth + number + b"]" * depth + b"}")


class TestDocument:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"nope",
            b'{"id": NaN}',
            b"\xff",
            b'{"id":"\\ud800"}',
            b"\xef\xbb\xbf{}",
            b"[" * 2_000,
        ],
    )
    def test_bad_json_is_refused(self, body: bytes) -> None:
        with pytest.raises(InvalidEvent, match="no valid JSON"):
            decode_json(body)

    @pytest.mark.parametrize("body", [b"[]", b'"x"', b"1", b"null", b"true"])
    def test_an_event_is_an_object(self, body: bytes) -> None:
        with pytest.raises(InvalidEvent, match="is an object, not"):
            decode_json(body)

    def test_an_object_parsed_elsewhere_is_decoded_the_same_and_left_alone(self) -> None:
        members = {**LEAST, "data": {"a": 1}, "ext": 5}
        assert decode_object(members) == decoded(data={"a": 1}, ext=5)
        assert members == {**LEAST, "data": {"a": 1}, "ext": 5}

    @pytest.mark.parametrize(
        "members",
        [
            {5: "x"},
            {**LEAST, "data": float},
            {**LEAST, "data": "\ud800"},
            {**LEAST, "data": "\ud800", "datacontenttype": "text/plain"},
            {**LEAST, "ext": b"x"},
            {**LEAST, "ext": "\ud800"},
            None,
        ],
    )
    def test_an_object_no_json_could_hold_is_refused(self, members: object) -> None:
        with pytest.raises(InvalidEvent):
            decode_object(members)


class TestBatch:
    def test_the_events_come_in_order(self) -> None:
        batch = json.dumps([{**LEAST, "id": str(number)} for number in range(3)]).encode()
        assert [event.attributes["id"] for event in decode_json_batch(batch)] == ["0", "1", "2"]

    def test_it_may_be_empty(self) -> None:
        assert decode_json_batch(b"[]") == []
        assert encode_json_batch([]) == b"[]"

    def test_a_bad_event_is_named_by_its_index(self) -> None:
        batch = json.dumps([LEAST, {**LEAST, "id": ""}]).encode()
        with pytest.raises(InvalidEvent, match=r"^event \[1\] of the batch: member 'id' is empty"):
            decode_json_batch(batch)

    @pytest.mark.parametrize("body", [b"{}", b"null", b'"[]"'])
    def test_it_is_an_array(self, body: bytes) -> None:
        with pytest.raises(InvalidEvent, match="is a JSON array"):
            decode_json_batch(body)

    @pytest.mark.parametrize("item", [None, [], "x", 1])
    def test_of_objects(self, item: object) -> None:
        with pytest.raises(InvalidEvent, match=r"event \[0\] of the batch: an event in JSON"):
            decode_json_batch(json.dumps([item]).encode())


class TestEncoding:
    def test_no_data_is_no_member(self) -> None:
        assert encoded(None) == {}
        assert encoded(None, datacontenttype="text/plain") == {"datacontenttype": "text/plain"}

    def test_json_is_written_as_it_is(self) -> None:
        event = Event({**LEAST, "datacontenttype": "application/json"}, b'{"n": 1.10, "n2": 1e2}')
        assert b'"data":{"n": 1.10, "n2": 1e2}' in encode_json(event)
        assert encode_object(event)["data"] == {"n": 1.1, "n2": 100.0}

    @pytest.mark.parametrize("data", [b"", b"{", b"NaN", b"\xff", b"1 2"])
    def test_what_only_claims_to_be_json_is_kept_as_base64(self, data: bytes) -> None:
        members = encoded(data, datacontenttype="application/json")
        assert base64.b64decode(members["data_base64"]) == data
        assert "data" not in members

    @pytest.mark.parametrize(
        "media_type", ["text/plain", "Text/CSV; charset=UTF-8", "application/xml", "image/svg+xml"]
    )
    def test_text_is_written_as_a_string(self, media_type: str) -> None:
        assert encoded("é".encode(), datacontenttype=media_type)["data"] == "é"

    @pytest.mark.parametrize("media_type", ["text/plain; charset=latin-1", "image/png", "a/b"])
    def test_anything_else_is_written_as_base64(self, media_type: str) -> None:
        assert encoded(b"abc", datacontenttype=media_type)["data_base64"] == "YWJj"
        assert encoded(b"\xff", datacontenttype="text/plain")["data_base64"] == "/w=="

    def test_without_datacontenttype_nothing_is_assumed(self) -> None:
        assert encoded(b"{}") == {"data_base64": "e30="}

    def test_knativeerrorcode_is_an_integer(self) -> None:
        assert encoded(None, knativeerrorcode="503") == {"knativeerrorcode": 503}
        assert encoded(None, other="503") == {"other": "503"}

    @pytest.mark.parametrize("code", ["", "-", "0503", "-0", "5e2", "٣", "99999999999", "x"])
    def test_a_knativeerrorcode_that_is_none_stays_a_string(self, code: str) -> None:
        assert encoded(None, knativeerrorcode=code) == {"knativeerrorcode": code}


names = st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True).filter(
    lambda name: name not in ("data", "time", "dataschema", "datacontenttype", "subject", *LEAST)
)
text = st.text(st.characters(codec="utf-8"))
media_types = st.sampled_from(
    ["application/json", "text/plain", "application/octet-stream", "image/svg+xml", "a/b+json"]
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=10,
)


@st.composite
def events(draw: st.DrawFn) -> Event:
    attributes = {**LEAST, "id": draw(text.filter(bool)), **draw(st.dictionaries(names, text))}
    if draw(st.booleans()):
        attributes["datacontenttype"] = draw(media_types)
    return Event(attributes, draw(st.none() | st.binary()))


@given(events())
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    attributes = event.attributes
    back = decode_json(encode_json(event))
    assert back.attributes == attributes
    if "json" in attributes.get("datacontenttype", "") and back.data != event.data:
        assert event.data is not None and back.data is not None
        assert json.loads(back.data) == json.loads(event.data)
    else:
        assert back.data == event.data
    assert decode_object(encode_object(event)) == back


@given(st.lists(events(), max_size=4))
def test_a_batch_is_the_list_of_its_events(batch: list[Event]) -> None:
    assert decode_json_batch(encode_json_batch(batch)) == [
        decode_json(encode_json(event)) for event in batch
    ]


@given(json_values)
def test_json_data_keeps_its_value(value: object) -> None:
    event = decoded(data=value)
    assert event.data is not None
    assert json.loads(event.data) == value


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_bytes_raise_nothing_but_invalid_event(body: bytes) -> None:
    for decode in (decode_json, decode_json_batch):
        try:
            decode(body)
        except InvalidEvent as error:
            assert str(error)


@given(
    st.dictionaries(
        st.sampled_from(
            [*LEAST, "data", "data_base64", "time", "datacontenttype", "ext", "Ext", ""]
        ),
        json_values | st.sampled_from(["1.0", "x", "eA==", "application/json"]),
    )
)
def test_arbitrary_members_raise_nothing_but_invalid_event(members: dict[str, Any]) -> None:
    body = json.dumps({**LEAST, **members}).encode()
    try:
        event = decode_json(body)
    except InvalidEvent as error:
        assert str(error)
    else:
        assert decode_json(encode_json(event)).attributes == event.attributes
