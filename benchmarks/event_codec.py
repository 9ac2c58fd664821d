"""CPU time of decoding and encoding one event, ours beside the official SDK's.

python -m benchmarks.event_codec
"""

import time
from collections.abc import Callable

import orjson
from cloudevents.core.bindings import http as sdk
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from eventing.http_encoding import (
    decode_http,
    encode_http_batch,
    encode_http_binary,
    encode_http_structured,
)

DATA = orjson.dumps({f"field{number:02}": "x" * 20 for number in range(28)})
TRANSPORT_HEADERS = [
    (b"host", b"localhost:8080"),
    (b"user-agent", b"benchmark"),
    (b"accept", b"*/*"),
    (b"content-length", b"1024"),
]
BINARY_HEADERS = [
    *TRANSPORT_HEADERS,
    (b"content-type", b"application/json"),
    (b"ce-specversion", b"1.0"),
    (b"ce-id", b"4f3c8a2e-0d7c-4d7b-9a39-5a1f6f6a2c11"),
    (b"ce-source", b"/camera/7"),
    (b"ce-type", b"com.example.image.taken"),
    (b"ce-subject", b"images/42.jpg"),
    (b"ce-time", b"2018-04-05T17:31:00.123456Z"),
]


def nanoseconds(call: Callable[[], object], calls: int = 5_000, rounds: int = 7) -> float:
    """CPU time of one call: the best of several rounds, for the machine may be shared."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time_ns()
        for _ in range(calls):
            call()
        best = min(best, (time.process_time_ns() - start) / calls)
    return best


def main() -> None:
    [event] = decode_http(BINARY_HEADERS, DATA)
    structured_headers, structured = encode_http_structured(event)
    structured_headers = [*TRANSPORT_HEADERS, *structured_headers]
    batch_headers, batch = encode_http_batch([event] * 100)

    text_headers = {name.decode(): value.decode() for name, value in BINARY_HEADERS}
    sdk_binary = sdk.HTTPMessage(text_headers, DATA)
    sdk_structured = sdk.HTTPMessage({"content-type": "application/cloudevents+json"}, structured)
    json_format = JSONFormat()
    sdk_event = sdk.from_binary(sdk_binary, json_format, CloudEvent)

    rows: list[tuple[str, Callable[[], object], int, Callable[[], object] | None]] = [
        (
            "decode binary",
            lambda: decode_http(BINARY_HEADERS, DATA),
            1,
            lambda: sdk.from_binary(sdk_binary, json_format, CloudEvent),
        ),
        (
            "decode structured",
            lambda: decode_http(structured_headers, structured),
            1,
            lambda: sdk.from_structured(sdk_structured, json_format, CloudEvent),
        ),
        ("decode batch of 100", lambda: decode_http(batch_headers, batch), 100, None),
        (
            "encode binary",
            lambda: encode_http_binary(event),
            1,
            lambda: sdk.to_binary(sdk_event, json_format),
        ),
        (
            "encode structured",
            lambda: encode_http_structured(event),
            1,
            lambda: sdk.to_structured(sdk_event, json_format),
        ),
        ("encode batch of 100", lambda: encode_http_batch([event] * 100), 100, None),
    ]
    print(f"µs CPU an event, {len(DATA)} bytes of JSON data     ours      SDK")
    for name, ours, events, theirs in rows:
        calls = 5_000 // events
        us = nanoseconds(ours, calls) / events / 1_000
        reference = f"{nanoseconds(theirs, calls) / 1_000:8.2f}" if theirs else "       –"
        print(f"{name:<45} {us:6.2f} {reference}")
    floor = nanoseconds(lambda: orjson.loads(structured)) / 1_000
    print(f"{'for scale: orjson.loads of the structured body':<45} {floor:6.2f}")


if __name__ == "__main__":
    main()
