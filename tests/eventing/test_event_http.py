"""The HTTP binding in binary, structured and batched mode, rule by rule."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventing.errors import InvalidEvent
from eventing.event import Event
from eventing.http_encoding import (
    carries_event,
    decode_http,
    encode_http_batch,
    encode_http_binary,
    encode_http_structured,
)

LEAST = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
REQUIRED = [(f"ce-{name}".encode(), value.encode()) for name, value in LEAST.items()]


def decoded(*headers: tuple[bytes, bytes], body: bytes = b"") -> Event:
    [event] = decode_http([*REQUIRED, *headers], body)
    return event


def complaint(*headers: tuple[bytes, bytes], body: bytes = b"") -> str:
    with pytest.raises(InvalidEvent) as caught:
        decode_http([*REQUIRED, *headers], body)
    return str(caught.value)


class TestBinary:
    def test_ce_headers_are_attributes_and_the_body_is_the_data(self) -> None:
        headers = [(b"host", b"here"), *REQUIRED, (b"ce-ext1", b"x"), (b"content-type", b"a/b")]
        assert decode_http(headers, b"\x00\xff") == [
            Event({**LEAST, "ext1": "x", "datacontenttype": "a/b"}, b"\x00\xff")
        ]

    def test_nothing_is_invented(self) -> None:
        assert decoded() == Event(LEAST, None)

    def test_header_names_may_be_in_any_case(self) -> None:
        headers = [(name.upper(), value) for name, value in REQUIRED]
        headers.append((b"Content-Type", b"a/b"))
        assert decode_http(headers, b"") == [Event({**LEAST, "datacontenttype": "a/b"})]

    def test_an_empty_body_is_no_data(self) -> None:
        assert decoded(body=b"").data is None

    def test_the_content_type_is_taken_as_it_stands(self) -> None:
        media_type = b'multipart/mixed; boundary="a%20b"'
        assert decoded((b"content-type", media_type)).attributes["datacontenttype"] == (
            'multipart/mixed; boundary="a%20b"'
        )

    @pytest.mark.parametrize(
        ("header", "value"),
        [
            (b"plain", "plain"),
            (b"a b", "a b"),
            (b"Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
            (b"%e2%82%ac", "€"),
            (b"%41%42", "AB"),
            (b"%2541", "%41"),
            (b"100%", "100%"),
            (b"%zz%4", "%zz%4"),
            (b"caf\xc3\xa9", "café"),
            (b'"quoted value"', "quoted value"),
            (b'"say \\"hi\\" \\\\ %41"', 'say "hi" \\ A'),
            (b'half"quoted', 'half"quoted'),
            (b'"open', '"open'),
            (b'"open\\"', '"open\\"'),
            (b'""', ""),
            (b"", ""),
        ],
    )
    def test_a_value_is_unquoted_then_percent_decoded_once(self, header: bytes, value: str) -> None:
        assert decoded((b"ce-ext", header)).attributes["ext"] == value

    @pytest.mark.parametrize("value", [b"%C0%A0", b"%ff", b"\xff", b"caf\xe9", b"%ED%A0%80"])
    def test_what_is_no_utf_8_is_refused(self, value: bytes) -> None:
        assert complaint((b"ce-ext", value)).startswith("header 'ce-ext' is b'")

    @pytest.mark.parametrize("name", [b"ce-a_b", b"ce-a-b", b"ce-", b"ce-\xe9", b"ce-a.b"])
    def test_an_invalid_attribute_name_is_refused(self, name: bytes) -> None:
        for _ in range(2):
            assert "lower-case letters" in complaint((name, b"x"))

    def test_data_is_no_attribute_name(self) -> None:
        assert "header 'ce-data'" in complaint((b"ce-data", b"x"))

    def test_ce_datacontenttype_is_refused(self) -> None:
        assert "Content-Type" in complaint((b"ce-datacontenttype", b"a/b"))

    @pytest.mark.parametrize("name", [b"ce-id", b"ce-ext", b"content-type"])
    def test_an_attribute_given_twice_is_refused(self, name: bytes) -> None:
        assert "more than once" in complaint((name, b"x"), (name, b"x"))

    @pytest.mark.parametrize("name", ["id", "source", "type"])
    def test_a_required_attribute_must_be_there_and_not_empty(self, name: str) -> None:
        header = f"ce-{name}".encode()
        rest = [pair for pair in REQUIRED if pair[0] != header]
        with pytest.raises(InvalidEvent, match=f"header 'ce-{name}' is missing"):
            decode_http(rest, b"")
        with pytest.raises(InvalidEvent, match=f"header 'ce-{name}' is empty"):
            decode_http([*rest, (header, b"")], b"")

    def test_a_message_that_is_no_cloudevent_hears_how_to_send_one(self) -> None:
        with pytest.raises(InvalidEvent, match=r"carries no CloudEvent.*ce-specversion"):
            decode_http([(b"content-type", b"application/json")], b"{}")

    def test_values_are_held_to_the_rules_of_every_event(self) -> None:
        assert "header 'ce-time'" in complaint((b"ce-time", b"yesterday"))
        assert "header 'ce-subject' is empty" in complaint((b"ce-subject", b""))
        assert "header 'content-type'" in complaint((b"content-type", b""))

    def test_remembered_header_names_have_a_bound(self) -> None:
        for number in range(2_000):
            assert decoded((f"ce-n{number}".encode(), b"x")).attributes[f"n{number}"] == "x"
        assert decoded((b"CE-Late", b"x")).attributes["late"] == "x"


class TestStructuredAndBatched:
    BODY = json.dumps({**LEAST, "data": {"a": 1}}).encode()
    EVENT = Event({**LEAST, "datacontenttype": "application/json"}, b'{"a":1}')

    @pytest.mark.parametrize(
        "content_type",
        [
            b"application/cloudevents+json",
            b"application/cloudevents+json; charset=utf-8",
            b"application/cloudevents+json ;charset=UTF-8; x=y",
            b"Application/CloudEvents+JSON",
        ],
    )
    def test_the_content_type_makes_it_structured(self, content_type: bytes) -> None:
        assert decode_http([(b"content-type", content_type)], self.BODY) == [self.EVENT]
        assert decode_http([(b"Content-Type", content_type)], self.BODY) == [self.EVENT]

    @pytest.mark.parametrize(
        "content_type",
        [b"application/cloudevents-batch+json", b"APPLICATION/cloudevents-batch+json; charset=x"],
    )
    def test_the_content_type_makes_it_a_batch(self, content_type: bytes) -> None:
        batch = b"[" + self.BODY + b"," + self.BODY + b"]"
        assert decode_http([(b"content-type", content_type)], batch) == [self.EVENT] * 2
        assert decode_http([(b"content-type", content_type)], b"[]") == []

    def test_ce_headers_count_for_nothing(self) -> None:
        headers = [
            (b"ce-id", b"other"),
            (b"ce-BAD_name", b"%ff"),
            (b"content-type", b"application/cloudevents+json"),
            (b"ce-id", b"again"),
        ]
        assert decode_http(headers, self.BODY) == [self.EVENT]

    def test_a_content_type_known_to_the_caller_is_not_searched_for(self) -> None:
        assert decode_http([], self.BODY, b"application/cloudevents+json") == [self.EVENT]
        assert decode_http(REQUIRED, b"", b"") == [Event(LEAST)]

    @pytest.mark.parametrize(
        "content_type",
        [
            b"application/cloudevents",
            b"application/cloudevents+avro",
            b"application/cloudevents+jsonx",
            b"application/cloudevents-batch",
            b"application/cloudevents\xff",
        ],
    )
    def test_an_event_format_not_known_is_refused(self, content_type: bytes) -> None:
        assert "event format" in complaint((b"content-type", content_type))

    def test_json_under_a_plain_content_type_is_no_structured_event(self) -> None:
        with pytest.raises(InvalidEvent, match=r"application/cloudevents\+json"):
            decode_http([(b"content-type", b"application/json")], self.BODY)


class TestCarriesEvent:
    @pytest.mark.parametrize(
        "headers",
        [
            [(b"Ce-SpecVersion", b"0.3")],
            [(b"content-type", b"application/cloudevents+json")],
            [(b"Content-Type", b"APPLICATION/cloudevents-batch+json")],
            [(b"content-type", b"application/cloudevents+avro")],
        ],
    )
    def test_what_means_to_be_an_event_does(self, headers: list[tuple[bytes, bytes]]) -> None:
        assert carries_event(headers)

    @pytest.mark.parametrize(
        "headers", [[], [(b"content-type", b"application/json")], [(b"ce-id", b"1")]]
    )
    def test_any_other_message_does_not(self, headers: list[tuple[bytes, bytes]]) -> None:
        assert not carries_event(headers)


class TestEncoding:
    @pytest.mark.parametrize(
        ("value", "header"),
        [
            ("plain!#$&'()*+,-./:;<=>?@[\\]^_`{|}~", b"plain!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"),
            ('a "b" 100%', b"a%20%22b%22%20100%25"),
            ("Euro € 😀", b"Euro%20%E2%82%AC%20%F0%9F%98%80"),
            ("\r\n\t\x00\x7f\x80", b"%0D%0A%09%00%7F%C2%80"),
            ("", b""),
        ],
    )
    def test_a_value_is_percent_encoded(self, value: str, header: bytes) -> None:
        headers, _ = encode_http_binary(Event({**LEAST, "ext": value}))
        assert (b"ce-ext", header) in headers

    def test_the_content_type_is_written_as_it_stands(self) -> None:
        event = Event({**LEAST, "datacontenttype": 'a/b; c="d e"'}, b"x")
        assert encode_http_binary(event) == ([*REQUIRED, (b"content-type", b'a/b; c="d e"')], b"x")

    def test_no_data_is_an_empty_body(self) -> None:
        assert encode_http_binary(Event(LEAST)) == (REQUIRED, b"")

    def test_an_event_within_an_event_goes_out_structured(self) -> None:
        inner = json.dumps(LEAST).encode()
        event = Event({**LEAST, "datacontenttype": "Application/CloudEvents+json"}, inner)
        assert decode_http(*encode_http_binary(event))[0].attributes == event.attributes

    def test_structured_and_batch_name_their_formats(self) -> None:
        headers, body = encode_http_structured(Event(LEAST))
        assert headers == [(b"content-type", b"application/cloudevents+json")]
        assert json.loads(body) == LEAST
        headers, body = encode_http_batch([Event(LEAST)] * 2)
        assert headers == [(b"content-type", b"application/cloudevents-batch+json")]
        assert json.loads(body) == [LEAST, LEAST]


text = st.text(st.characters(codec="utf-8"))
extensions = st.dictionaries(st.from_regex(r"x[a-z0-9]{0,9}", fullmatch=True), text, max_size=5)


@given(extensions, st.none() | st.binary(min_size=1))
def test_a_binary_event_comes_back_as_it_was(attributes: dict[str, str], data: bytes) -> None:
    event = Event({**LEAST, **attributes}, data)
    headers, body = encode_http_binary(event)
    assert decode_http(headers, body) == [event]
    for name, value in headers:
        assert name.isascii()
        assert all(0x21 <= byte <= 0x7E for byte in value)


header_names = st.one_of(
    st.sampled_from([name for name, _ in REQUIRED]),
    st.sampled_from([b"content-type", b"Content-Type", b"ce-time", b"CE-ext", b"ce-data", b"ce-"]),
    st.binary(max_size=12),
    st.binary(max_size=8).map(lambda rest: b"ce-" + rest),
)
header_values = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [
            b"1.0",
            b"application/cloudevents+json",
            b"application/cloudevents-batch+json; charset=utf-8",
            b"2018-04-05T17:31:00Z",
            b'"%41\\"',
            b"%ff",
        ]
    ),
)
bodies = st.binary(max_size=40) | st.sampled_from(
    [json.dumps(LEAST).encode(), json.dumps([LEAST]).encode(), b"{}", b"[]", b"[{}]"]
)


@given(st.lists(st.tuples(header_names, header_values), max_size=10), st.booleans(), bodies)
def test_arbitrary_messages_raise_nothing_but_invalid_event(
    headers: list[tuple[bytes, bytes]], complete: bool, body: bytes
) -> None:
    if complete:
        headers = [*headers, *REQUIRED]
    try:
        events = decode_http(headers, body)
    except InvalidEvent as error:
        assert str(error)
    else:
        for event in events:
            assert decode_http(*encode_http_binary(event))[0].attributes == event.attributes
            assert decode_http(*encode_http_structured(event))[0].attributes == event.attributes
