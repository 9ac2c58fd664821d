"""Kafka records and Redis entries as events, as Knative's sources make them."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.redis.entry import encode_entry, texts
from eventing.errors import InvalidEvent
from eventing.event import Event, validate_event
from eventing.sources import entry_event, record_event
from eventing.sources.entry_event import Entry
from eventing.sources.offset_window import OffsetWindow
from eventing.sources.record_event import Record
from eventing.sources.source import UNREADABLE

SOURCE = "/apis/v1/namespaces/shop/kafkasources/orders"
REDIS = "redis://localhost:6379/orders"


def record(**more: object) -> Record:
    given = {"milliseconds": 1_700_000_000_123, "key": None, "value": b"tea", "headers": ()}
    return Record("orders", 2, 41, **{**given, **more})


def event(**more: object) -> Event:
    return record_event.record_event(record(**more), SOURCE)


def test_a_plain_record() -> None:
    assert event(headers=[("Content-Type", b"Application/JSON")]) == Event(
        {
            "specversion": "1.0",
            "id": "partition:2/offset:41",
            "source": f"{SOURCE}#orders",
            "type": "dev.knative.kafka.event",
            "subject": "partition:2#41",
            "time": "2023-11-14T22:13:20.123Z",
            "datacontenttype": "application/json",
            "knativekafkapartition": "2",
            "knativekafkaoffset": "41",
        },
        b"tea",
    )


def test_a_record_without_a_timestamp_has_no_time() -> None:
    assert "time" not in event(milliseconds=None).attributes


@pytest.mark.parametrize(
    ("type", "key", "text"),
    [
        ("string", b"k\xc3\xa9", "ké"),
        ("string", b"\xff", "�"),
        ("int", struct.pack(">i", -7), "-7"),
        ("int", b"12", "12"),
        ("float", struct.pack(">f", 1.1), "1.1"),
        ("float", struct.pack(">d", 0.1), "0.1"),
        ("float", struct.pack(">f", float("nan")), "NaN"),
        ("float", struct.pack(">d", float("-inf")), "-Infinity"),
        ("float", b"abc", "abc"),
        ("byte-array", b"\x00\xff", "AP8="),
    ],
)
def test_the_key_is_read_as_the_label_says(type, key, text) -> None:
    attributes = record_event.record_event(record(key=key), SOURCE, type).attributes
    assert attributes["key"] == attributes["partitionkey"] == text


@pytest.mark.parametrize("key", [None, b""])
def test_no_key_is_no_extension(key) -> None:
    assert not {"key", "partitionkey"} & set(event(key=key).attributes)


def test_headers_become_extensions_with_names_that_events_may_have() -> None:
    headers = [("Trace-ID", b"x"), ("ünit_1", b"\xff"), ("nothing", None)]
    attributes = event(headers=headers).attributes
    found = {name: value for name, value in attributes.items() if name.startswith("kafkaheader")}
    assert found == {"kafkaheadertraceid": "x", "kafkaheadernit1": "�"}


def test_a_tombstone_is_an_event_without_data() -> None:
    assert event(value=None, key=b"k").data is None


CE = [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/s"), ("ce_type", b"t")]


def test_a_cloudevent_passes_and_tells_where_it_was() -> None:
    found = event(headers=[*CE, ("other", b"x")], key=b"ignored")
    assert found.attributes == {
        "specversion": "1.0",
        "id": "1",
        "source": "/s",
        "type": "t",
        "knativekafkapartition": "2",
        "knativekafkaoffset": "41",
    }


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        (CE[:2], b"x"),
        ([*CE, ("ce_time", b"yesterday")], b"x"),
        ([*CE, ("ce_sub ject", b"x")], b"x"),
        ([("content-type", b"application/cloudevents+json")], b"{"),
        ([("content-type", b"application/cloudevents+json")], None),
        ([("content-type", b"te\nxt")], b"x"),
    ],
)
def test_what_is_no_event_is_kept_whole_with_its_reason(headers, value) -> None:
    with pytest.raises(InvalidEvent) as raised:
        event(headers=headers, value=value)
    kept = record_event.unreadable_event(
        record(headers=headers, value=value, key=b"k"), SOURCE, str(raised.value)
    )
    validate_event(kept)
    told = kept.attributes
    assert (told["type"], told["topic"], told["partition"], told["offset"]) == (
        UNREADABLE,
        "orders",
        "2",
        "41",
    )
    assert told["reason"] == str(raised.value) and kept.data == value and told["key"] == "k"


@given(
    st.binary(),
    st.lists(st.tuples(st.text(max_size=20), st.none() | st.binary(max_size=20)), max_size=5),
    st.none() | st.binary(max_size=20),
)
def test_any_record_is_an_event_or_is_kept(value, headers, key) -> None:
    found = record(headers=headers, value=value, key=key)
    try:
        validate_event(record_event.record_event(found, SOURCE))
    except InvalidEvent as error:
        validate_event(record_event.unreadable_event(found, SOURCE, str(error)))


# Redis


def test_a_plain_entry_is_the_array_of_its_fields() -> None:
    entry = Entry("5-0", [b"a", b"1", b"a", b"2", b"b", "é".encode()])
    found = entry_event.entry_event(entry, REDIS)
    assert found.attributes == {
        "specversion": "1.0",
        "id": "5-0",
        "source": REDIS,
        "type": "dev.knative.sources.redisstream",
        "datacontenttype": "application/json",
    }
    assert json.loads(found.data) == ["a", "1", "a", "2", "b", "é"]


def test_an_entry_that_is_a_cloudevent_passes() -> None:
    sent = Event(
        {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "datacontenttype": "x/y"},
        b"\x00\xff",
    )
    entry = Entry("5-0", texts(encode_entry(sent)))
    assert entry_event.entry_event(entry, REDIS) == sent


@pytest.mark.parametrize(
    "fields", [[b"a", b"\xff"], [b"ce_specversion", b"1.0"], [b"ce_specversion", b"\xff"]]
)
def test_an_entry_that_is_no_event_is_kept_with_its_reason(fields) -> None:
    entry = Entry("5-0", fields)
    with pytest.raises(InvalidEvent) as raised:
        entry_event.entry_event(entry, REDIS)
    kept = entry_event.unreadable_event(entry, REDIS, "orders", str(raised.value))
    validate_event(kept)
    told = kept.attributes
    assert (told["type"], told["stream"], told["entry"]) == (UNREADABLE, "orders", "5-0")
    assert json.loads(kept.data)[0] == fields[0].decode()


# Offsets


def test_what_may_be_committed_never_passes_what_is_open() -> None:
    window = OffsetWindow()
    assert window.committable is None
    for offset in (10, 11, 13, 20):
        window.add(offset)
    assert window.committable == 10
    window.settle(13)
    window.settle(11)
    assert window.committable == 10 and window.open == 4
    window.settle(10)
    assert window.committable == 20
    window.settle(20)
    assert window.committable == 21 and window.open == 0


@given(st.permutations(range(30)))
def test_settled_in_any_order_it_is_the_lowest_that_is_open(order) -> None:
    window = OffsetWindow()
    for offset in range(30):
        window.add(offset)
    left = set(range(30))
    for offset in order:
        window.settle(offset)
        left.discard(offset)
        assert window.committable == min(left, default=30)
