"""The event that engines are measured with, in each of the forms it travels in: 1 KiB of JSON."""

import json
import os
from collections.abc import Iterator

from benchmarks.load import post

TYPE = "com.example.bench"
DATA = json.dumps({"item": "x" * 1012}).encode()
_SAME = {"specversion": "1.0", "source": "/bench", "type": TYPE}


def record_headers(id: str, type: str = TYPE) -> list[tuple[str, bytes]]:
    """Of a Kafka record in binary mode, as a node writes it."""
    attributes = {**_SAME, "type": type, "id": id}
    headers = [(f"ce_{name}", value.encode()) for name, value in attributes.items()]
    return [*headers, ("content-type", b"application/json")]


def entry_fields(id: str, type: str = TYPE) -> dict[bytes, bytes]:
    """Of an entry of a Redis stream, as a node writes it."""
    fields = {name.encode(): value for name, value in record_headers(id, type)}
    return {**fields, b"data": DATA}


def ids(count: int) -> Iterator[str]:
    """Different ones at each call."""
    prefix = os.urandom(4).hex()
    return (f"{prefix}-{number}" for number in range(count))


def batch_requests(path: str, count: int, size: int = 100, type: str = TYPE) -> Iterator[bytes]:
    """HTTP requests of `size` events each (application/cloudevents-batch+json)."""
    names = list(ids(count))
    for start in range(0, count, size):
        yield batch_request(path, names[start : start + size], type)


def batch_request(path: str, names: list[str], type: str = TYPE) -> bytes:
    items = ",".join(
        f'{{"specversion":"1.0","type":"{type}","source":"/bench","id":"{name}",'
        f'"datacontenttype":"application/json","data":{DATA.decode()}}}'
        for name in names
    )
    return post(path, {"content-type": "application/cloudevents-batch+json"}, f"[{items}]".encode())
